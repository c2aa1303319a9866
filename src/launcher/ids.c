// SPDX-License-Identifier: Apache-2.0
#include "launcher/ids.h"

#include "base/cleanup.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

static int
lock_slot(int ids_dir, unsigned slot)
{
    char name[16];
    (void)snprintf(name, sizeof name, "%u", slot);
    cleanup_fd int fd = openat(ids_dir, name, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int
ids_reserve(int ids_dir, unsigned *hint, uint32_t *ret_first, struct error *err)
{
    for (unsigned tried = 0; tried < IDS_SLOTS_MAX; tried++) {
        unsigned slot = *hint % IDS_SLOTS_MAX;
        *hint = slot + 1;
        int fd = lock_slot(ids_dir, slot);
        if (fd == -EWOULDBLOCK)
            continue;
        if (fd < 0)
            return error_set_errno(err, -fd, "reserve id range %u", slot);
        *ret_first = IDS_FIRST + slot * IDS_PER_SANDBOX;
        return fd;
    }
    return error_set(err, ERR_UNAVAILABLE, "all %d id ranges of this host are taken",
                     IDS_SLOTS_MAX);
}

static int
write_map(pid_t pid, const char *name, uint32_t first, struct error *err)
{
    char path[64];
    char map[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    (void)snprintf(map, sizeof map, "0 %u %d", first, IDS_PER_SANDBOX);
    int r = fd_write_file(path, map);
    return r < 0 ? error_set_errno(err, -r, "write %s", name) : 0;
}

int
ids_write_maps(pid_t pid, uint32_t first, struct error *err)
{
    if (write_map(pid, "uid_map", first, err) < 0)
        return -1;
    return write_map(pid, "gid_map", first, err);
}
