// SPDX-License-Identifier: Apache-2.0
#include "launcher/workshop.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/landlock.h"
#include "launcher/loop.h"
#include "launcher/mounts.h"
#include "launcher/syscalls.h"
#include "launcher/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

enum {
    INIT_SIZE_MAX = 64 * 1024 * 1024,
    // A predecessor whose daemon was just restarted is still destroying its sandboxes.
    LOCK_WAIT_MS = 3000,
    LOCK_POLL_MS = 20,
};

#define RUN_DIR  "/run/casemate"
#define BASE_DIR RUN_DIR "/base"

// FNV-1a of the real path: instances with different state directories never share a group.
static void
instance_name(const char *state_dir, char out[CGROUP_INSTANCE_SIZE + 1])
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char *p = state_dir; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3ULL;
    (void)snprintf(out, CGROUP_INSTANCE_SIZE + 1, "%016" PRIx64, hash);
}

static int
take_lock(int fd)
{
    for (int waited_ms = 0;; waited_ms += LOCK_POLL_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK || waited_ms >= LOCK_WAIT_MS)
            return -errno;
        (void)nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
    }
}

static int
lock_state(struct workshop *w, const char *state_dir, int *ret_state_fd, struct error *err)
{
    if (realpath(state_dir, w->state_dir) == NULL)
        return error_set_errno(err, errno, "state directory %s", state_dir);
    cleanup_fd int state = open(w->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return error_set_errno(err, errno, "open %s", w->state_dir);
    cleanup_fd int lock =
        openat(state, "launcher.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return error_set_errno(err, errno, "open launcher.lock");
    int r = take_lock(lock);
    if (r == -EWOULDBLOCK)
        return error_set(err, ERR_CONFLICT, "another launcher runs on state directory %s",
                         w->state_dir);
    if (r < 0)
        return error_set_errno(err, -r, "lock launcher.lock");
    w->lock_fd = TAKE_FD(lock);
    *ret_state_fd = TAKE_FD(state);
    return 0;
}

static int
make_dir(const char *path, mode_t mode, struct error *err)
{
    struct stat st;
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "make %s", path);
    if (lstat(path, &st) < 0)
        return error_set_errno(err, errno, "look at %s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022) != 0)
        return error_set(err, ERR_FORBIDDEN, "%s must be a folder only root can change", path);
    return 0;
}

// From here on no mount of ours shows on the host, and all of them vanish with the last process.
static int
enter_mount_namespace(struct workshop *w, struct error *err)
{
    if (make_dir(RUN_DIR, 0755, err) < 0 || make_dir(RUN_DIR "/ids", 0700, err) < 0 ||
        make_dir(WORKSHOP_STAGE, 0755, err) < 0 || make_dir(BASE_DIR, 0755, err) < 0)
        return -1;
    w->ids_fd = open(RUN_DIR "/ids", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->ids_fd < 0)
        return error_set_errno(err, errno, "open " RUN_DIR "/ids");
    if (unshare(CLONE_NEWNS) < 0)
        return error_set_errno(err, errno, "make a mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(err, errno, "make the mounts private");
    return 0;
}

static int
sweep(struct workshop *w, struct error *err)
{
    unsigned groups;
    if (cgroup_layout_sweep(&w->cgroups, &groups, err) < 0)
        return -1;
    char prefix[PATH_MAX + 8];
    (void)snprintf(prefix, sizeof prefix, "%s/disks/", w->state_dir);
    unsigned loops = loop_sweep(prefix);
    int images = disk_store_sweep(&w->disks, err);
    if (images < 0)
        return -1;
    if (groups + loops + (unsigned)images > 0) {
        char text[96];
        (void)snprintf(text, sizeof text, "%u groups, %u loop devices, %d disk images", groups,
                       loops, images);
        log_warn("swept what an earlier run left", "what", text);
    }
    return 0;
}

static int
mount_base(struct workshop *w, const char *image, struct error *err)
{
    cleanup_fd int file = open(image, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return error_set_errno(err, errno, "open base image %s", image);
    char path[LOOP_PATH_SIZE];
    int number;
    cleanup_fd int loop = loop_attach(file, true, path, &number, err);
    if (loop < 0)
        return error_wrap(err, "base image %s", image);
    const struct mount_option options[] = {{"source", path}, {"ro", NULL}, {NULL, NULL}};
    cleanup_fd int fd = mounts_new("erofs", options, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, err);
    if (fd < 0)
        return error_wrap(err, "base image %s", image);
    // Kernels before 6.15 copy only mounts that are attached somewhere.
    if (mounts_attach(fd, AT_FDCWD, BASE_DIR, err) < 0)
        return -1;
    w->base_fd = TAKE_FD(fd);
    return 0;
}

static int
copy_file(int from, int to, size_t max)
{
    char block[65536];
    size_t total = 0;
    for (;;) {
        ssize_t n = read(from, block, sizeof block);
        if (n <= 0)
            return n < 0 ? -errno : 0;
        total += (size_t)n;
        if (total > max)
            return -EFBIG;
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(to, block + done, (size_t)(n - done));
            if (m < 0)
                return -errno;
            done += m;
        }
    }
}

// A program for the inside of sandboxes, as a file that nobody can change. Returns a descriptor.
static int
load_program(const char *name, const char *path, struct error *err)
{
    cleanup_fd int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return error_set_errno(err, errno, "open %s", path);
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    cleanup_fd int fd = memfd_create(name, flags | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, flags);
    if (fd < 0)
        return error_set_errno(err, errno, "make a memory file");
    int r = copy_file(file, fd, INIT_SIZE_MAX);
    if (r == 0 &&
        (fchmod(fd, 0755) < 0 ||
         fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0))
        r = -errno;
    if (r < 0)
        return error_set_errno(err, -r, "load %s", path);
    return TAKE_FD(fd);
}

static int
load_programs(struct workshop *w, const struct launcher_options *o, struct error *err)
{
    w->init_fd = load_program("casemate-init", o->init, err);
    if (w->init_fd < 0)
        return -1;
    w->fetch_fd = load_program("casemate-fetch", o->fetch, err);
    return w->fetch_fd < 0 ? -1 : 0;
}

static int
find_worker(struct workshop *w, const struct launcher_options *o, struct error *err)
{
    w->worker_fd = open(o->worker, O_PATH | O_CLOEXEC);
    if (w->worker_fd < 0)
        return error_set_errno(err, errno, "open %s", o->worker);
    const struct passwd *user = getpwnam(o->worker_user);
    if (user == NULL)
        return error_set(err, ERR_INVALID_CONFIG, "no user %s for the workers", o->worker_user);
    if (user->pw_uid == 0 || user->pw_gid == 0)
        return error_set(err, ERR_INVALID_CONFIG, "workers must not run as root");
    w->worker_uid = user->pw_uid;
    w->worker_gid = user->pw_gid;
    return 0;
}

int
workshop_open(struct workshop *ret, const struct launcher_options *options, struct error *err)
{
    struct workshop *w = ret;
    *w = (struct workshop){.sandboxes_max = options->sandboxes_max,
                           .lock_fd = -1,
                           .ids_fd = -1,
                           .base_fd = -1,
                           .init_fd = -1,
                           .fetch_fd = -1,
                           .worker_fd = -1,
                           .disks = {.disks_fd = -1, .templates_fd = -1}};
    cleanup_fd int state = -1;
    char instance[CGROUP_INSTANCE_SIZE + 1];
    if (lock_state(w, options->state_dir, &state, err) < 0)
        return -1;
    instance_name(w->state_dir, instance);
    w->landlock_abi = landlock_probe(err);
    if (w->landlock_abi < 0 || disk_store_open(&w->disks, state, err) < 0 ||
        find_worker(w, options, err) < 0 || load_programs(w, options, err) < 0 ||
        seccomp_filter_build(&w->filter, err) < 0 ||
        cgroup_layout_init(&w->cgroups, instance, err) < 0 || sweep(w, err) < 0 ||
        watchdog_start(&w->cgroups, w->lock_fd, err) < 0 || enter_mount_namespace(w, err) < 0)
        return -1;
    return mount_base(w, options->image, err);
}

void
workshop_close(struct workshop *w)
{
    const int fds[] = {w->base_fd,   w->ids_fd,         w->init_fd,           w->fetch_fd,
                       w->worker_fd, w->disks.disks_fd, w->disks.templates_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
    seccomp_filter_done(&w->filter);
    if (w->cgroups.instance[0] != '\0')
        cgroup_layout_remove(&w->cgroups);
    if (w->lock_fd >= 0) // last: the state directory is free from here on
        (void)close(w->lock_fd);
}
