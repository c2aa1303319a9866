// SPDX-License-Identifier: Apache-2.0
#include "launcher/loop.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    // Between LOOP_CTL_GET_FREE and LOOP_CONFIGURE another process may take the device.
    ATTACH_TRIES = 64,
    BACKING_FILE_MAX = 4096,
};

static int
configure(int loop, int file_fd, uint32_t flags)
{
    struct loop_config config = {
        .fd = (uint32_t)file_fd,
        .block_size = 4096,
        .info = {.lo_flags = flags},
    };
    return ioctl(loop, LOOP_CONFIGURE, &config) < 0 ? -errno : 0;
}

static int
configure_best(int loop, int file_fd, bool read_only)
{
    if (!read_only)
        return configure(loop, file_fd, LO_FLAGS_AUTOCLEAR);
    // Direct I/O saves a second copy of the image in the page cache, where its file system can.
    uint32_t flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY;
    int r = configure(loop, file_fd, flags | LO_FLAGS_DIRECT_IO);
    return r == -EINVAL ? configure(loop, file_fd, flags) : r;
}

int
loop_attach(int file_fd, bool read_only, char ret_path[LOOP_PATH_SIZE], int *ret_number,
            struct error *err)
{
    cleanup_fd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return error_set_errno(err, errno, "open /dev/loop-control");
    for (int tries = 0; tries < ATTACH_TRIES; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return error_set_errno(err, errno, "find a free loop device");
        char path[LOOP_PATH_SIZE];
        (void)snprintf(path, sizeof path, "/dev/loop%d", number);
        cleanup_fd int loop = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (loop < 0)
            return error_set_errno(err, errno, "open %s", path);
        int r = configure_best(loop, file_fd, read_only);
        if (r == -EBUSY)
            continue;
        if (r < 0)
            return error_set_errno(err, -r, "attach %s", path);
        memcpy(ret_path, path, sizeof path);
        *ret_number = number;
        return TAKE_FD(loop);
    }
    return error_set(err, ERR_UNAVAILABLE, "no free loop device");
}

static bool
backing_file(int number, char *out, size_t capacity)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/sys/block/loop%d/loop/backing_file", number);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, capacity - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    return true;
}

bool
loop_is_backed_by(int number, const char *prefix)
{
    char file[BACKING_FILE_MAX];
    return backing_file(number, file, sizeof file) && strncmp(file, prefix, strlen(prefix)) == 0;
}

unsigned
loop_sweep(const char *prefix)
{
    unsigned count = 0;
    DIR *dir = opendir("/sys/block");
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int number;
        char path[LOOP_PATH_SIZE];
        if (sscanf(entry->d_name, "loop%d", &number) != 1 || !loop_is_backed_by(number, prefix))
            continue;
        (void)snprintf(path, sizeof path, "/dev/loop%d", number);
        cleanup_fd int loop = open(path, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CLR_FD) == 0)
            count++;
    }
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}
