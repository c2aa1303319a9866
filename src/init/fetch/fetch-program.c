// SPDX-License-Identifier: Apache-2.0
// The launcher's file is one for all sandboxes. A process can lock (flock(2)) and watch its own
// program, through /proc/self/exe; on a common file sandboxes could signal each other that way. So
// each sandbox executes a copy of its own, made at its first fetch.
#include "init/fetch/fetch-internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { PROGRAM_MODE = 0555 };

static int
copy(int from, int to)
{
    struct stat st;
    off_t at = 0;
    if (fstat(from, &st) < 0)
        return -errno;
    while (at < st.st_size) {
        ssize_t n = sendfile(to, from, &at, (size_t)(st.st_size - at));
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
    }
    return 0;
}

int
fetch_program(struct fetches *fs)
{
    if (fs->own >= 0)
        return fs->own;
    if (fs->program < 0)
        return -ENOENT;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    cleanup_fd int fd = memfd_create("casemate-fetch", flags | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("casemate-fetch", flags);
    if (fd < 0)
        return -errno;
    int r = copy(fs->program, fd);
    if (r < 0)
        return r;
    if (fchmod(fd, PROGRAM_MODE) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -errno;
    (void)close(fs->program);
    fs->program = -1;
    fs->own = TAKE_FD(fd);
    return fs->own;
}
