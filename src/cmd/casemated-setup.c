// SPDX-License-Identifier: Apache-2.0
// The state folder belongs to root, so that whoever takes casemated over cannot put other files in
// place of the launcher's. What casemated itself writes there is the audit file, opened beforehand,
// and STATE/dev.env: a link into STATE/api, which is casemated's own and reached through a
// descriptor.
#include "cmd/casemated-setup.h"

#include "base/cleanup.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LAUNCHER_SOCKET = 3,
    DESCRIPTORS_MAX = 65536, // connections, and several a sandbox
};

static int
check_program(const struct options *o, const char *name, struct error *err)
{
    char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/%s", o->binaries, name);
    if (access(path, X_OK) < 0)
        return error_set(err, ERR_INVALID_CONFIG, "%s is missing in %.100s; build it with make",
                         name, o->binaries);
    return 0;
}

static int
check_user(const char *option, const char *name, uid_t *ret_uid, gid_t *ret_gid, struct error *err)
{
    const struct passwd *user = getpwnam(name);
    if (user == NULL)
        return error_set(err, ERR_INVALID_CONFIG,
                         "the user %.32s does not exist; run tools/install-deps run, or give "
                         "another one with --%s",
                         name, option);
    if (user->pw_uid == 0 || user->pw_gid == 0)
        return error_set(err, ERR_INVALID_CONFIG, "--%s %.32s: must not be root", option, name);
    *ret_uid = user->pw_uid;
    *ret_gid = user->pw_gid;
    return 0;
}

static int
check_file(const char *path, const char *hint, struct error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return error_set_errno(err, errno, "%.120s: %s", path, hint);
    if (!S_ISREG(st.st_mode) || access(path, R_OK) < 0)
        return error_set(err, ERR_INVALID_CONFIG, "%.120s is not a readable file: %s", path, hint);
    return 0;
}

int
setup_check(const struct options *o, struct setup *s, struct error *err)
{
    uid_t worker_uid;
    gid_t worker_gid;
    if (geteuid() != 0)
        return error_set(err, ERR_FORBIDDEN,
                         "must be started as root; it gives root up before it listens");
    if (check_user("user", o->user, &s->uid, &s->gid, err) < 0 ||
        check_user("worker-user", o->worker_user, &worker_uid, &worker_gid, err) < 0)
        return -1;
    if (s->uid == worker_uid)
        return error_set(err, ERR_INVALID_CONFIG, "--user and --worker-user must be two users");
    static const char *const programs[] = {"casemate-launcher", "casemate-init", "casemate-fetch",
                                           "casemate-proxy"};
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
        if (check_program(o, programs[i], err) < 0)
            return -1;
    if (check_file(o->image, "make the base image with image/build, or give --image FILE", err) < 0)
        return -1;
    if (o->egress_ca != NULL && check_file(o->egress_ca, "of --egress-ca", err) < 0)
        return -1;
    const char *slash = strrchr(o->image, '/');
    int folder = slash != NULL ? (int)(slash - o->image) : 1;
    (void)snprintf(s->image_bundle, sizeof s->image_bundle, "%.*s/ca-certificates.crt", folder,
                   slash != NULL ? o->image : ".");
    if (access(s->image_bundle, R_OK) < 0)
        s->image_bundle[0] = '\0';
    return 0;
}

// A folder of the given owner and mode, made if need be; returns a descriptor.
static int
make_folder(const char *path, uid_t uid, gid_t gid, mode_t mode, struct error *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "make the folder %.120s", path);
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "open the folder %.120s", path);
    if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
        return error_set_errno(err, errno, "set owner and mode of %.120s", path);
    return TAKE_FD(fd);
}

// A line that a crash of the host cut short gets an end, so that it does not swallow the next.
static int
end_last_line(int fd)
{
    char last;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0)
        return size < 0 ? -errno : 0;
    if (pread(fd, &last, 1, size - 1) != 1)
        return -EIO;
    return last != '\n' ? fd_write_all(fd, "\n", 1) : 0;
}

static int
make_audit_file(const struct setup *s, struct error *err)
{
    cleanup_fd int fd =
        open(s->audit_file, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_set_errno(err, errno, "open %.120s", s->audit_file);
    int r = end_last_line(fd);
    if (r < 0)
        return error_set_errno(err, -r, "end the last line of %.120s", s->audit_file);
    if (fchown(fd, s->uid, s->gid) < 0 || fchmod(fd, 0640) < 0)
        return error_set_errno(err, errno, "set owner and mode of %.120s", s->audit_file);
    return 0;
}

int
setup_state(const struct options *o, struct setup *s, struct error *err)
{
    char path[PATH_MAX + 16];
    cleanup_fd int state_fd = make_folder(o->state, 0, 0, 0711, err);
    if (state_fd < 0)
        return -1;
    if (realpath(o->state, s->state) == NULL)
        return error_set_errno(err, errno, "resolve %.120s", o->state);
    if (snprintf(s->audit_file, sizeof s->audit_file, "%s/audit.jsonl", s->state) >=
        (int)sizeof s->audit_file)
        return error_set(err, ERR_INVALID_CONFIG, "--state: the path is too long");
    (void)snprintf(path, sizeof path, "%s/api", s->state);
    cleanup_fd int private_dir = make_folder(path, s->uid, s->gid, 0700, err);
    if (private_dir < 0)
        return -1;
    if (flock(private_dir, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, ERR_CONFLICT,
                         "another casemated uses %.120s; stop it or give another --state",
                         s->state);
    (void)unlinkat(private_dir, "dev.env", 0);
    (void)unlinkat(state_fd, "dev.env", 0);
    if (symlinkat("api/dev.env", state_fd, "dev.env") < 0)
        return error_set_errno(err, errno, "make %.120s/dev.env", s->state);
    if (make_audit_file(s, err) < 0)
        return -1;
    s->private_dir = TAKE_FD(private_dir);
    return 0;
}

// In the child. A process group of its own: the terminal's ^C is for casemated, which then ends it.
static void
exec_launcher(const struct options *o, const struct setup *s, int sock)
{
    char program[PATH_MAX + 32];
    char init[PATH_MAX + 32];
    char fetch[PATH_MAX + 32];
    char worker[PATH_MAX + 32];
    char sandboxes[16];
    (void)snprintf(sandboxes, sizeof sandboxes, "%u", o->sandboxes_max);
    (void)snprintf(program, sizeof program, "%s/casemate-launcher", o->binaries);
    (void)snprintf(init, sizeof init, "%s/casemate-init", o->binaries);
    (void)snprintf(fetch, sizeof fetch, "%s/casemate-fetch", o->binaries);
    (void)snprintf(worker, sizeof worker, "%s/casemate-proxy", o->binaries);
    char *argv[] = {program,
                    (char *)(uintptr_t) "--state",
                    (char *)(uintptr_t)s->state,
                    (char *)(uintptr_t) "--image",
                    (char *)(uintptr_t)o->image,
                    (char *)(uintptr_t) "--init",
                    init,
                    (char *)(uintptr_t) "--fetch",
                    fetch,
                    (char *)(uintptr_t) "--worker",
                    worker,
                    (char *)(uintptr_t) "--worker-user",
                    (char *)(uintptr_t)o->worker_user,
                    (char *)(uintptr_t) "--max-sandboxes",
                    sandboxes,
                    (char *)(uintptr_t) "--log-level",
                    (char *)(uintptr_t)log_level_name(o->log_level),
                    NULL};
    if (setpgid(0, 0) < 0)
        _exit(126);
    if (sock == LAUNCHER_SOCKET ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, LAUNCHER_SOCKET) < 0)
        _exit(126);
    (void)execv(program, argv);
    _exit(127);
}

int
setup_launcher(const struct options *o, struct setup *s, struct error *err)
{
    int pair[2];
    int r = fd_socketpair(SOCK_SEQPACKET, pair);
    if (r < 0)
        return error_set_errno(err, -r, "make a socket pair for casemate-launcher");
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    r = fd_set_nonblock(ours);
    if (r < 0)
        return error_set_errno(err, -r, "set up the socket to casemate-launcher");
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "fork casemate-launcher");
    if (pid == 0)
        exec_launcher(o, s, theirs);
    s->launcher = pid;
    s->launcher_socket = TAKE_FD(ours);
    s->launcher_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (s->launcher_pidfd < 0)
        return error_set_errno(err, errno, "pidfd_open (Linux 5.3 or later is needed)");
    return 0;
}

static int
raise_descriptors(struct error *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return error_set_errno(err, errno, "getrlimit");
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return error_set_errno(err, errno, "setrlimit");
    return 0;
}

static int
drop_capabilities(struct error *err)
{
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
            return error_set_errno(err, errno, "drop capability %d", cap);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "clear ambient capabilities");
    return 0;
}

int
setup_drop(const struct setup *s, struct error *err)
{
    const struct rlimit none = {0, 0};
    if (raise_descriptors(err) < 0 || drop_capabilities(err) < 0)
        return -1;
    // Changing to a user other than root clears every capability set but the bounding one.
    if (setgroups(0, NULL) < 0 || setresgid(s->gid, s->gid, s->gid) < 0 ||
        setresuid(s->uid, s->uid, s->uid) < 0)
        return error_set_errno(err, errno, "change to the user of --user");
    if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
        return error_set(err, ERR_INTERNAL, "root came back after it was given up");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "give up new privileges and core dumps");
    return 0;
}

int
setup_write_dev_env(const struct setup *s, const char *token, const char *url, struct error *err)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "DENO_DEPLOY_TOKEN=%s\nDENO_DEPLOY_ENDPOINT=%s\nDENO_SANDBOX_ENDPOINT=%s\n",
                   token, url, url);
    (void)unlinkat(s->private_dir, "dev.env.new", 0);
    cleanup_fd int fd =
        openat(s->private_dir, "dev.env.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "make dev.env");
    int r = fd_write_all(fd, text, strlen(text));
    explicit_bzero(text, sizeof text);
    if (r < 0)
        return error_set_errno(err, -r, "write dev.env");
    if (renameat(s->private_dir, "dev.env.new", s->private_dir, "dev.env") < 0)
        return error_set_errno(err, errno, "rename dev.env");
    return 0;
}

void
setup_remove_dev_env(const struct setup *s)
{
    (void)unlinkat(s->private_dir, "dev.env", 0);
}
