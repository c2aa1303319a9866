// SPDX-License-Identifier: Apache-2.0
// Theory of operation
//
// All happens in the sandbox's own user and mount namespaces, by the child that later becomes its
// init. The host's tree is still there, but the child's user is nobody's in it. A small tmpfs over
// the stage holds the places for the layers and the overlay; names given to the kernel are relative
// to it, so /proc/mounts tells nothing of the host. When the host's tree is detached, layers and
// stage go with it; the overlay keeps its own references.
//
// /proc: a fresh one of the pid namespace. What would tell of the host or of other sandboxes is
// hidden behind /dev/null or an empty folder; what could change settings is read-only. Without
// CAP_SYS_ADMIN nobody inside can take these covers off again.
// /sys is not mounted: it shows the host's devices and every disk of every sandbox. Debian's
// programs, Python, Node.js and Deno do without.
#include "launcher/rootfs.h"

#include "base/cleanup.h"
#include "launcher/mounts.h"
#include "launcher/syscalls.h"
#include "launcher/workshop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { PLAIN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };

// Terminals of one sandbox: the kernel has 4096 for the whole host.
#define PTYS_MAX "256"

static int
attach_new(const char *type, const struct mount_option *options, unsigned attributes,
           const char *path, struct error *err)
{
    cleanup_fd int fd = mounts_new(type, options, attributes, err);
    if (fd < 0 || mounts_attach(fd, AT_FDCWD, path, err) < 0)
        return error_wrap(err, "/%s", path);
    return 0;
}

static int
make_dir(const char *path, mode_t mode, struct error *err)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "make /%s", path);
    return 0;
}

static int
mount_overlay(const struct rootfs_plan *plan, struct error *err)
{
    const struct mount_option stage[] = {
        {"mode", "755"}, {"size", "64k"}, {"nr_inodes", "16"}, {NULL, NULL}};
    if (attach_new("tmpfs", stage, PLAIN, WORKSHOP_STAGE, err) < 0)
        return -1;
    if (chdir(WORKSHOP_STAGE) < 0)
        return error_set_errno(err, errno, "enter the stage");
    if (make_dir("base", 0755, err) < 0 || make_dir("disk", 0755, err) < 0 ||
        make_dir("root", 0755, err) < 0 || make_dir("devices", 0755, err) < 0 ||
        mounts_attach(plan->devices_fd, AT_FDCWD, "devices", err) < 0 ||
        mounts_attach(plan->base_fd, AT_FDCWD, "base", err) < 0 ||
        mounts_attach(plan->disk_fd, AT_FDCWD, "disk", err) < 0)
        return -1;
    // volatile: the disk does not outlive a crash, so nothing need be synced for it.
    if (mount("overlay", "root", "overlay", 0,
              "lowerdir=base,upperdir=disk/upper,workdir=disk/work,userxattr,volatile") < 0)
        return error_set_errno(err, errno, "mount overlay");
    return chdir("root") < 0 ? error_set_errno(err, errno, "enter the overlay") : 0;
}

static const char *const proc_read_only[] = {"proc/sys", "proc/irq", "proc/bus"};

static const char *const proc_hidden[] = {
    "proc/acpi",          "proc/asound",        "proc/bootconfig",  "proc/cmdline",
    "proc/config.gz",     "proc/dynamic_debug", "proc/diskstats",   "proc/driver",
    "proc/interrupts",    "proc/iomem",         "proc/ioports",     "proc/kallsyms",
    "proc/kcore",         "proc/key-users",     "proc/keys",        "proc/kmsg",
    "proc/latency_stats", "proc/modules",       "proc/mtrr",        "proc/partitions",
    "proc/pressure",      "proc/sched_debug",   "proc/schedstat",   "proc/scsi",
    "proc/slabinfo",      "proc/softirqs",      "proc/swaps",       "proc/sysrq-trigger",
    "proc/timer_list",    "proc/timer_stats",   "proc/vmallocinfo", "proc/zoneinfo",
};

static int
cover_read_only(const char *path, struct error *err)
{
    if (access(path, F_OK) < 0)
        return 0;
    cleanup_fd int fd = mounts_clone(AT_FDCWD, path, err);
    if (fd < 0 || mounts_set_attributes(fd, MOUNT_ATTR_RDONLY, err) < 0)
        return -1;
    return mounts_attach(fd, AT_FDCWD, path, err);
}

static int
hide(const char *path, int empty_fd, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0;
    cleanup_fd int fd = S_ISDIR(st.st_mode) ? mounts_clone(empty_fd, "", err)
                                            : mounts_clone(AT_FDCWD, "dev/null", err);
    if (fd < 0)
        return error_wrap(err, "hide /%s", path);
    return mounts_attach(fd, AT_FDCWD, path, err);
}

static int
mount_proc(struct error *err)
{
    static const struct mount_option none[] = {{NULL, NULL}};
    if (make_dir("proc", 0555, err) < 0 ||
        attach_new("proc", none, PLAIN | MOUNT_ATTR_NOEXEC, "proc", err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(proc_read_only); i++) {
        if (cover_read_only(proc_read_only[i], err) < 0)
            return -1;
    }
    return 0;
}

// After /dev is there.
static int
hide_in_proc(struct error *err)
{
    static const struct mount_option options[] = {
        {"mode", "555"}, {"size", "4k"}, {"nr_inodes", "2"}, {NULL, NULL}};
    unsigned attributes = PLAIN | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY;
    // Attached where the first folder is hidden, since older kernels copy only what is attached.
    if (attach_new("tmpfs", options, attributes, "proc/fs", err) < 0)
        return -1;
    cleanup_fd int empty = open("proc/fs", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (empty < 0)
        return error_set_errno(err, errno, "open the empty folder");
    for (size_t i = 0; i < ARRAY_SIZE(proc_hidden); i++) {
        if (hide(proc_hidden[i], empty, err) < 0)
            return -1;
    }
    return 0;
}

static const struct device {
    const char *name;
    unsigned major;
    unsigned minor;
} devices[] = {
    {"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
    {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

int
rootfs_make_devices(struct error *err)
{
    const struct mount_option options[] = {
        {"mode", "755"}, {"size", "4k"}, {"nr_inodes", "16"}, {NULL, NULL}};
    cleanup_fd int fd = mounts_new("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
    if (fd < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        const struct device *d = &devices[i];
        if (mknodat(fd, d->name, S_IFCHR | 0666, makedev(d->major, d->minor)) < 0 ||
            fchmodat(fd, d->name, 0666, 0) < 0)
            return error_set_errno(err, errno, "make device %s", d->name);
    }
    return TAKE_FD(fd);
}

static int
bind_device(const char *name, struct error *err)
{
    char node[32];
    char path[32];
    (void)snprintf(node, sizeof node, "../devices/%s", name);
    (void)snprintf(path, sizeof path, "dev/%s", name);
    cleanup_fd int place = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (place < 0)
        return error_set_errno(err, errno, "make /%s", path);
    cleanup_fd int fd = mounts_clone(AT_FDCWD, node, err);
    if (fd < 0)
        return error_wrap(err, "device %s", name);
    return mounts_attach(fd, AT_FDCWD, path, err);
}

static int
link_devices(struct error *err)
{
    static const char *const links[][2] = {
        {"pts/ptmx", "dev/ptmx"},          {"/proc/self/fd", "dev/fd"},
        {"/proc/self/fd/0", "dev/stdin"},  {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        if (symlink(links[i][0], links[i][1]) < 0)
            return error_set_errno(err, errno, "make /%s", links[i][1]);
    }
    return 0;
}

static int
mount_dev(const struct rootfs_plan *plan, struct error *err)
{
    char size[32];
    (void)snprintf(size, sizeof size, "%um", plan->memory_mib / 2);
    const struct mount_option dev[] = {
        {"mode", "755"}, {"size", "64k"}, {"nr_inodes", "64"}, {NULL, NULL}};
    const struct mount_option pts[] = {{"newinstance", NULL}, {"ptmxmode", "0666"}, {"mode", "620"},
                                       {"gid", "5"},          {"max", PTYS_MAX},    {NULL, NULL}};
    const struct mount_option shm[] = {{"mode", "1777"}, {"size", size}, {NULL, NULL}};
    if (make_dir("dev", 0755, err) < 0 ||
        attach_new("tmpfs", dev, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "dev", err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        if (bind_device(devices[i].name, err) < 0)
            return -1;
    }
    if (make_dir("dev/pts", 0755, err) < 0 || make_dir("dev/shm", 01777, err) < 0 ||
        attach_new("devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "dev/pts", err) < 0 ||
        attach_new("tmpfs", shm, PLAIN, "dev/shm", err) < 0)
        return -1;
    return link_devices(err);
}

static int
mount_run(struct error *err)
{
    const struct mount_option run[] = {{"mode", "755"}, {"size", "16m"}, {NULL, NULL}};
    if (make_dir("run", 0755, err) < 0 || attach_new("tmpfs", run, PLAIN, "run", err) < 0 ||
        make_dir("run/lock", 01777, err) < 0)
        return -1;
    return chmod("run/lock", 01777) < 0 ? error_set_errno(err, errno, "make /run/lock") : 0;
}

int
rootfs_enter(const struct rootfs_plan *plan, struct error *err)
{
    if (mount_overlay(plan, err) < 0 || mount_proc(err) < 0 || mount_dev(plan, err) < 0 ||
        hide_in_proc(err) < 0 || mount_run(err) < 0)
        return -1;
    if (sys_pivot_root(".", ".") < 0)
        return error_set_errno(err, errno, "change the root");
    // The old root lies on top of the new one now.
    if (umount2(".", MNT_DETACH) < 0)
        return error_set_errno(err, errno, "let go of the host's tree");
    return chdir("/") < 0 ? error_set_errno(err, errno, "enter the new root") : 0;
}
