// SPDX-License-Identifier: Apache-2.0
#include "launcher/disk.h"

#include "base/cleanup.h"
#include "base/ident.h"
#include "launcher/loop.h"
#include "launcher/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

enum { NAME_SIZE = 64 };

int
disk_open_private_dir(int dir_fd, const char *name, struct error *err)
{
    if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "make folder %s", name);
    cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "open folder %s", name);
    if (st.st_uid != 0 || (st.st_mode & 077) != 0)
        return error_set(err, ERR_FORBIDDEN, "folder %s must be root's alone", name);
    return TAKE_FD(fd);
}

int
disk_store_open(struct disk_store *ret, int state_fd, struct error *err)
{
    cleanup_fd int disks = disk_open_private_dir(state_fd, "disks", err);
    if (disks < 0)
        return -1;
    cleanup_fd int templates = disk_open_private_dir(state_fd, "templates", err);
    if (templates < 0)
        return -1;
    // What mkfs copies into a template's root: the overlay's two folders.
    static const char *const skeleton[] = {"skeleton", "skeleton/upper", "skeleton/work"};
    for (size_t i = 0; i < ARRAY_SIZE(skeleton); i++) {
        if (mkdirat(templates, skeleton[i], 0755) < 0 && errno != EEXIST)
            return error_set_errno(err, errno, "make folder %s", skeleton[i]);
    }
    ret->disks_fd = TAKE_FD(disks);
    ret->templates_fd = TAKE_FD(templates);
    return 0;
}

static DIR *
open_listing(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL && fd >= 0)
        (void)close(fd);
    return dir;
}

int
disk_store_sweep(const struct disk_store *store, struct error *err)
{
    DIR *dir = open_listing(store->disks_fd);
    if (dir == NULL)
        return error_set_errno(err, errno, "list the disk images");
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && unlinkat(store->disks_fd, entry->d_name, 0) == 0)
            count++;
    }
    (void)closedir(dir);
    return count;
}

int
disk_check_space(const struct disk_store *store, struct error *err)
{
    struct statvfs fs;
    if (fstatvfs(store->disks_fd, &fs) < 0)
        return error_set_errno(err, errno, "look for free disk space");
    uint64_t free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
    if (free_mib < DISK_FREE_MIN_MIB)
        return error_set(err, ERR_UNAVAILABLE, "only %llu MiB of disk space are free, need %d",
                         (unsigned long long)free_mib, DISK_FREE_MIN_MIB);
    return 0;
}

// In a child: mkfs.ext4 over descriptors, so that no path can be swapped under it.
static _Noreturn void
exec_mkfs(pid_t parent, int image_fd, int skeleton_fd)
{
    char image[32];
    char skeleton[32];
    (void)snprintf(image, sizeof image, "/proc/self/fd/%d", image_fd);
    (void)snprintf(skeleton, sizeof skeleton, "/proc/self/fd/%d/.", skeleton_fd);
    char *const environment[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};
    const char *const argv[] = {
        "mkfs.ext4", "-q", "-F", "-m", "0", "-I", "256", "-b", "4096",
        // No journal: a disk does not outlive a crash of its host. Metadata first, in one piece,
        // and none of it zeroed, so that a template is small and quick to copy.
        "-O", "^has_journal,^resize_inode,^metadata_csum,uninit_bg", "-E",
        "root_owner=0:0,lazy_itable_init=1,packed_meta_blocks=1,nodiscard", "-d", skeleton, image,
        NULL};
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(127);
    if (fcntl(image_fd, F_SETFD, 0) == 0 && fcntl(skeleton_fd, F_SETFD, 0) == 0)
        (void)execve("/sbin/mkfs.ext4", (char *const *)(uintptr_t)argv, environment);
    _exit(127);
}

static int
run_mkfs(int image_fd, int skeleton_fd, struct error *err)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "start mkfs.ext4");
    if (pid == 0)
        exec_mkfs(parent, image_fd, skeleton_fd);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return error_set_errno(err, errno, "wait for mkfs.ext4");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, ERR_SYSTEM, "mkfs.ext4 failed with status %d", status);
    return 0;
}

static unsigned
count_templates(int templates_fd)
{
    unsigned count = 0;
    DIR *dir = open_listing(templates_fd);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += strstr(entry->d_name, ".ext4") != NULL;
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static int
make_template(int templates_fd, const char *name, uint32_t size_mib, struct error *err)
{
    static const char temporary[] = "unfinished";
    if (count_templates(templates_fd) >= DISK_TEMPLATES_MAX)
        return error_set(err, ERR_LIMIT, "disks of more than %d sizes", DISK_TEMPLATES_MAX);
    cleanup_fd int image =
        openat(templates_fd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (image < 0 || ftruncate(image, (off_t)size_mib << 20) < 0)
        return error_set_errno(err, errno, "make a disk template");
    cleanup_fd int skeleton = openat(templates_fd, "skeleton", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (skeleton < 0)
        return error_set_errno(err, errno, "open the skeleton of disk templates");
    if (run_mkfs(image, skeleton, err) < 0)
        return -1;
    if (renameat(templates_fd, temporary, templates_fd, name) < 0)
        return error_set_errno(err, errno, "name a disk template");
    return 0;
}

static int
open_template(int templates_fd, uint32_t size_mib, struct error *err)
{
    char name[NAME_SIZE];
    (void)snprintf(name, sizeof name, "%u-mib.ext4", size_mib);
    int fd = openat(templates_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    // One maker at a time; who waited finds it made.
    cleanup_fd int lock = openat(templates_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return error_set_errno(err, errno, "lock the disk templates");
    fd = openat(templates_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && make_template(templates_fd, name, size_mib, err) < 0)
        return -1;
    if (fd < 0)
        fd = openat(templates_fd, name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "open disk template %s", name) : fd;
}

static int
copy_range(int from, int to, off_t at, off_t end)
{
    loff_t in = at;
    loff_t out = at;
    while (in < end) {
        ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - in), 0);
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ENODATA;
    }
    return 0;
}

static int
copy_sparse(int from, int to, off_t size)
{
    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (ftruncate(to, size) < 0)
        return -errno;
    for (off_t at = 0; at < size;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -errno; // nothing but a hole follows
        off_t hole = lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        int r = copy_range(from, to, data, hole);
        if (r < 0)
            return r;
        at = hole;
    }
    return 0;
}

static void
image_name(const char *id, char out[NAME_SIZE])
{
    (void)snprintf(out, NAME_SIZE, "%.*s.ext4", SANDBOX_ID_SIZE, id);
}

int
disk_create(const struct disk_store *store, const char *id, uint32_t size_mib, struct error *err)
{
    cleanup_fd int from = open_template(store->templates_fd, size_mib, err);
    if (from < 0)
        return -1;
    char name[NAME_SIZE];
    image_name(id, name);
    cleanup_fd int to =
        openat(store->disks_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return error_set_errno(err, errno, "make disk image %s", name);
    int r = copy_sparse(from, to, (off_t)size_mib << 20);
    if (r < 0)
        return error_set_errno(err, -r, "copy the disk template");
    return TAKE_FD(to);
}

int
disk_unlink(const struct disk_store *store, const char *id, struct error *err)
{
    char name[NAME_SIZE];
    image_name(id, name);
    if (unlinkat(store->disks_fd, name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "remove disk image %s", name);
    return 0;
}

int
disk_mount(int image_fd, int *ret_loop, struct error *err)
{
    char path[LOOP_PATH_SIZE];
    int number;
    cleanup_fd int loop = loop_attach(image_fd, false, path, &number, err);
    if (loop < 0)
        return -1;
    const struct mount_option options[] = {
        {"source", path},
        {"errors", "remount-ro"},
        {"noinit_itable", NULL}, // no kernel thread that zeroes inode tables behind the sandbox
        {"nobarrier", NULL},     // a disk that does not outlive a crash needs no order on the way
        {NULL, NULL},
    };
    int mount = mounts_new("ext4", options, MOUNT_ATTR_NODEV, err);
    if (mount < 0)
        return error_wrap(err, "disk image on %s", path);
    *ret_loop = number;
    return mount;
}
