// SPDX-License-Identifier: Apache-2.0
// What the kernel must offer. Tries run in a child (doctor_try) and return a positive errno.
#include "base/cleanup.h"
#include "base/fd.h"
#include "cmd/doctor-internal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

enum { LANDLOCK_ABI_MIN = 2 }; // REFER: renames between folders

static enum doctor_result
report(int error, char detail[DOCTOR_DETAIL_MAX])
{
    if (error != 0)
        (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%s", strerror(error));
    return error == 0 ? DOCTOR_OK : DOCTOR_MISSING;
}

static enum doctor_result
check_release(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    struct utsname u;
    unsigned major = 0;
    unsigned minor = 0;
    (void)o;
    if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
        return report(errno, detail);
    (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%.100s", u.release);
    return major > 5 || (major == 5 && minor >= 19) ? DOCTOR_OK : DOCTOR_MISSING;
}

static int
write_text(const char *path, const char *text)
{
    return -fd_write_file(path, text);
}

// A mount namespace of our own, in which nothing spreads.
static int
leave_mounts(int also)
{
    if (unshare(CLONE_NEWNS | also) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno;
    return 0;
}

static int
become_root_of_namespace(void)
{
    char map[64];
    unsigned uid = geteuid();
    unsigned gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return errno;
    (void)snprintf(map, sizeof map, "0 %u 1", uid);
    int r = write_text("/proc/self/uid_map", map);
    if (r == 0)
        r = write_text("/proc/self/setgroups", "deny");
    (void)snprintf(map, sizeof map, "0 %u 1", gid);
    return r != 0 ? r : write_text("/proc/self/gid_map", map);
}

static int
try_user_namespace(const void *argument)
{
    (void)argument;
    return become_root_of_namespace();
}

static enum doctor_result
check_user_namespace(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    return report(doctor_try(try_user_namespace, NULL), detail);
}

static int
try_overlay(const void *argument)
{
    static const char *const folders[] = {"/tmp/lower", "/tmp/upper", "/tmp/work", "/tmp/merged"};
    (void)argument;
    int r = become_root_of_namespace();
    if (r != 0)
        return r;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0)
        return errno;
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (mkdir(folders[i], 0700) < 0)
            return errno;
    if (mount("overlay", "/tmp/merged", "overlay", 0,
              "userxattr,lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work") < 0)
        return errno;
    return 0;
}

static enum doctor_result
check_overlay(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    return report(doctor_try(try_overlay, NULL), detail);
}

// Known file systems refuse what is no block device; of unknown ones the kernel says ENODEV, after
// it has tried to load the module.
static int
try_filesystem(const void *type)
{
    int r = leave_mounts(0);
    if (r != 0)
        return r;
    if (mount("/dev/null", "/tmp", type, MS_RDONLY, NULL) == 0 || errno == ENOTBLK)
        return 0;
    return errno;
}

static enum doctor_result
check_filesystems(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    static const char *const types[] = {"erofs", "ext4"};
    (void)o;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        int error = doctor_try(try_filesystem, types[i]);
        if (error != 0) {
            (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%s: %s", types[i], strerror(error));
            return DOCTOR_MISSING;
        }
    }
    return DOCTOR_OK;
}

static enum doctor_result
check_loop(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    cleanup_fd int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    return report(fd < 0 ? errno : 0, detail);
}

// A user namespace with a map, held by a process that waits for us.
static int
open_user_namespace(pid_t *ret_pid)
{
    char path[64];
    int pipes[2];
    char byte;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        int failed = unshare(CLONE_NEWUSER) < 0;
        (void)!write(pipes[1], "x", (size_t)!failed);
        (void)close(pipes[1]);
        (void)pause();
        _exit(0);
    }
    *ret_pid = pid;
    (void)close(pipes[1]);
    ssize_t n = read(pipes[0], &byte, 1);
    (void)close(pipes[0]);
    if (n != 1)
        return -EPERM;
    (void)snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid);
    int r = write_text(path, "0 100000 65536");
    (void)snprintf(path, sizeof path, "/proc/%d/gid_map", (int)pid);
    if (r == 0)
        r = write_text(path, "0 100000 65536");
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    int fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    return fd >= 0 ? fd : r != 0 ? -r : -errno;
}

static int
idmap_mount_of(const char *path, int user_namespace)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user_namespace};
    int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return errno;
    return mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0 ? errno : 0;
}

static int
try_idmapped_mount(const void *argument)
{
    pid_t pid = -1;
    (void)argument;
    int r = leave_mounts(0);
    if (r != 0)
        return r;
    int user_namespace = open_user_namespace(&pid);
    r = user_namespace < 0 ? -user_namespace : 0;
    // Which file systems take part grew with time: the root's own, or tmpfs from Linux 6.3.
    if (r == 0)
        r = idmap_mount_of("/", user_namespace);
    if (r == EINVAL && mount("tmpfs", "/tmp", "tmpfs", 0, NULL) == 0)
        r = idmap_mount_of("/tmp", user_namespace);
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    return r;
}

static enum doctor_result
check_idmapped_mount(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    return report(doctor_try(try_idmapped_mount, NULL), detail);
}

// Finds where a cgroup hierarchy is mounted: type "cgroup2", or "cgroup" with this controller.
static bool
find_cgroup(const char *type, const char *controller, char ret_path[256])
{
    char line[1024];
    bool found = false;
    FILE *mounts = fopen("/proc/self/mounts", "re");
    while (mounts != NULL && !found && fgets(line, sizeof line, mounts) != NULL) {
        char path[256];
        char kind[32];
        char options[512];
        if (sscanf(line, "%*s %255s %31s %511s", path, kind, options) != 3 ||
            strcmp(kind, type) != 0)
            continue;
        char *save = NULL;
        for (char *o = strtok_r(options, ",", &save); o != NULL; o = strtok_r(NULL, ",", &save))
            found = found || controller == NULL || strcmp(o, controller) == 0;
        if (found)
            (void)snprintf(ret_path, 256, "%s", path);
    }
    if (mounts != NULL)
        (void)fclose(mounts);
    return found;
}

static bool
controller_is_v2(const char *root, const char *controller)
{
    char path[320];
    char line[512] = "";
    (void)snprintf(path, sizeof path, "%s/cgroup.controllers", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = '\0';
    (void)fclose(file);
    char *save = NULL;
    for (char *o = strtok_r(line, " \n", &save); o != NULL; o = strtok_r(NULL, " \n", &save))
        if (strcmp(o, controller) == 0)
            return true;
    return false;
}

static enum doctor_result
check_controllers(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    static const char *const wanted[] = {"memory", "cpu", "pids"};
    char v2[256] = "";
    char v1[256];
    size_t used = 0;
    (void)o;
    bool has_v2 = find_cgroup("cgroup2", NULL, v2);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        const char *version = has_v2 && controller_is_v2(v2, wanted[i]) ? "v2"
                              : find_cgroup("cgroup", wanted[i], v1)    ? "v1"
                                                                        : NULL;
        if (version == NULL) {
            (void)snprintf(detail, DOCTOR_DETAIL_MAX, "no controller %s", wanted[i]);
            return DOCTOR_MISSING;
        }
        used += (size_t)snprintf(detail + used, DOCTOR_DETAIL_MAX - used, "%s%s %s",
                                 used > 0 ? ", " : "", wanted[i], version);
    }
    return DOCTOR_OK;
}

static int
clone_into(int cgroup)
{
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0)
        return errno;
    if (pid == 0)
        _exit(0);
    (void)waitpid((pid_t)pid, NULL, 0);
    return 0;
}

static enum doctor_result
check_clone_into_cgroup(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    char root[256];
    char path[320];
    (void)o;
    if (!find_cgroup("cgroup2", NULL, root)) {
        (void)snprintf(detail, DOCTOR_DETAIL_MAX, "no cgroup2 file system is mounted");
        return DOCTOR_MISSING;
    }
    (void)snprintf(path, sizeof path, "%s/casemate-doctor-%d", root, (int)getpid());
    if (mkdir(path, 0700) < 0)
        return report(errno, detail);
    cleanup_fd int cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = cgroup < 0 ? errno : clone_into(cgroup);
    if (rmdir(path) < 0 && error == 0)
        error = errno;
    return report(error, detail);
}

static enum doctor_result
check_sk_lookup(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    // r0 = SK_PASS; exit
    static const struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_SK_LOOKUP,
        .expected_attach_type = BPF_SK_LOOKUP,
        .insns = (uint64_t)(uintptr_t)program,
        .insn_cnt = ARRAY_SIZE(program),
        .license = (uint64_t)(uintptr_t) "Apache-2.0",
    };
    (void)o;
    cleanup_fd int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
    return report(fd < 0 ? errno : 0, detail);
}

static enum doctor_result
check_seccomp(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    const uint32_t action = SECCOMP_RET_ERRNO;
    (void)o;
    return report(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? errno : 0,
                  detail);
}

static enum doctor_result
check_landlock(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0)
        return report(errno, detail);
    (void)snprintf(detail, DOCTOR_DETAIL_MAX, "ABI %ld", abi);
    return abi >= LANDLOCK_ABI_MIN ? DOCTOR_OK : DOCTOR_MISSING;
}

const struct doctor_check doctor_kernel_checks[DOCTOR_KERNEL_CHECKS] = {
    {"kernel", false, check_release, "Linux 5.19 or later is needed"},
    {"user namespaces", false, check_user_namespace,
     "sysctl user.max_user_namespaces must not be 0; unprivileged use is not needed for root"},
    {"overlay with userxattr", false, check_overlay,
     "needs CONFIG_OVERLAY_FS and Linux 5.11 or later, mountable in a user namespace"},
    {"erofs and ext4", true, check_filesystems, "needs CONFIG_EROFS_FS and CONFIG_EXT4_FS"},
    {"loop devices", true, check_loop, "needs CONFIG_BLK_DEV_LOOP; try modprobe loop"},
    {"idmapped mounts", true, check_idmapped_mount,
     "needs Linux 5.12 or later for ext4, 5.19 for erofs"},
    {"cgroup controllers", false, check_controllers,
     "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)"},
    {"clone into a cgroup", true, check_clone_into_cgroup,
     "mount -t cgroup2 none /sys/fs/cgroup; needs Linux 5.7 or later"},
    {"sk_lookup programs", true, check_sk_lookup,
     "needs CONFIG_BPF_SYSCALL, Linux 5.9 or later, and bpf(2) allowed"},
    {"seccomp", false, check_seccomp, "needs CONFIG_SECCOMP_FILTER"},
    {"Landlock", false, check_landlock,
     "needs CONFIG_SECURITY_LANDLOCK, Linux 5.19 or later, and lsm=landlock,… at boot"},
};
