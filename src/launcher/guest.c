// SPDX-License-Identifier: Apache-2.0
#include "launcher/guest.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/ident.h"
#include "launcher/caps.h"
#include "launcher/landlock.h"
#include "launcher/rootfs.h"
#include "launcher/syscalls.h"
#include "wire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { GO_FDS = 3, FDS_ABOVE = 64, STACK_SOFT = 8 * 1024 * 1024 };
enum { NOFILE_SOFT = 65536, NOFILE_HARD = 1048576 };

// Spreads n CPUs from first on over those that the launcher itself may use.
static int
set_affinity(unsigned count, unsigned first, struct error *err)
{
    cpu_set_t have;
    cpu_set_t want;
    if (sched_getaffinity(0, sizeof have, &have) < 0)
        return error_set_errno(err, errno, "read the CPU affinity");
    unsigned usable = (unsigned)CPU_COUNT(&have);
    unsigned order = 0;
    CPU_ZERO(&want);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &have))
            continue;
        unsigned distance = (order++ + usable - first % usable) % usable;
        if (distance < count)
            CPU_SET(cpu, &want);
    }
    if (sched_setaffinity(0, sizeof want, &want) < 0)
        return error_set_errno(err, errno, "set the CPU affinity");
    return 0;
}

static int
set_limit(int resource, rlim_t soft, rlim_t hard, struct error *err)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0)
        return error_set_errno(err, errno, "read resource limit %d", resource);
    // Raising a hard limit is the launcher's business at start-up.
    limit.rlim_max = hard < limit.rlim_max ? hard : limit.rlim_max;
    limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
    if (setrlimit(resource, &limit) < 0)
        return error_set_errno(err, errno, "set resource limit %d", resource);
    return 0;
}

static int
set_limits(struct error *err)
{
    if (set_limit(RLIMIT_CORE, 0, 0, err) < 0 ||
        set_limit(RLIMIT_NOFILE, NOFILE_SOFT, NOFILE_HARD, err) < 0)
        return -1;
    return set_limit(RLIMIT_STACK, STACK_SOFT, RLIM_INFINITY, err);
}

static int
set_hostname(const char *id, struct error *err)
{
    char name[SANDBOX_ID_SIZE + 1];
    size_t size = strlen(id);
    for (size_t i = 0; i <= size; i++)
        name[i] = id[i] == '_' ? '-' : id[i];
    if (sethostname(name, size) < 0)
        return error_set_errno(err, errno, "set the host name");
    return 0;
}

static int
become_root_inside(struct error *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return error_set_errno(err, errno, "become the sandbox's root");
    (void)umask(022);
    if (setsid() < 0)
        return error_set_errno(err, errno, "start a session");
    return 0;
}

// Dies with the launcher until init first changes its user; from then on the watchdog sees to that.
// Had the launcher died before, the far end of the control socket, which only it holds, would be
// closed.
static int
tie_to_launcher(const struct guest_plan *plan, struct error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "ask to die with the launcher");
    struct pollfd p = {.fd = plan->control_fd, .events = POLLIN};
    if (poll(&p, 1, 0) != 0)
        return error_set(err, ERR_INTERNAL, "the launcher is gone");
    return 0;
}

static int
receive_go(int sync, struct rootfs_plan *ret, struct error *err)
{
    char byte;
    int fds[FD_PASS_MAX];
    size_t count = 0;
    ssize_t n = fd_recv_msg(sync, &byte, 1, fds, &count);
    if (n != 1 || count != GO_FDS)
        return error_set(err, ERR_INTERNAL, "the build was abandoned");
    ret->base_fd = fds[0];
    ret->disk_fd = fds[1];
    ret->devices_fd = fds[2];
    return 0;
}

static int
await_release(int sync, struct error *err)
{
    char byte;
    if (recv(sync, &byte, 1, 0) != 1)
        return error_set(err, ERR_INTERNAL, "the build was abandoned");
    // Only now: the namespace's root is the group that the process is in at this moment.
    if (unshare(CLONE_NEWCGROUP) < 0)
        return error_set_errno(err, errno, "make a cgroup namespace");
    return 0;
}

// The stages, in the order in which they take something away.
static int
confine(const struct guest_plan *plan, int sync, struct error *err)
{
    struct rootfs_plan root = {.memory_mib = plan->memory_mib};
    if (receive_go(sync, &root, err) < 0 || become_root_inside(err) < 0 ||
        tie_to_launcher(plan, err) < 0 || set_affinity(plan->cpus, plan->first_cpu, err) < 0 ||
        set_hostname(plan->id, err) < 0 || rootfs_enter(&root, err) < 0 || set_limits(err) < 0 ||
        await_release(sync, err) < 0 || caps_bound_sandbox(err) < 0)
        return -1;
    return landlock_restrict_self(plan->shop->landlock_abi, err);
}

// Standard streams to /dev/null of the sandbox: what a guest writes never lands in the host's log.
static int
place_descriptors(const struct guest_plan *plan, int *init_fd, int *sync, struct error *err)
{
    int control = fcntl(plan->control_fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int events = fcntl(plan->memory_events_fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int init = fcntl(plan->shop->init_fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int fetch = fcntl(plan->shop->fetch_fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int high_sync = fcntl(*sync, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (control < 0 || events < 0 || init < 0 || fetch < 0 || high_sync < 0 || null < 0)
        return error_set_errno(err, errno, "place descriptors");
    // dup2 clears close-on-exec.
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (dup2(null, fd) < 0)
            return error_set_errno(err, errno, "place standard streams");
    }
    if (dup2(control, CONTROL_SOCKET) < 0 || dup2(events, CONTROL_MEMORY_EVENTS) < 0 ||
        dup2(fetch, CONTROL_FETCH) < 0 ||
        close_range(CONTROL_FETCH + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        return error_set_errno(err, errno, "place descriptors");
    *init_fd = init;
    *sync = high_sync;
    return 0;
}

static _Noreturn void
run_child(const struct guest_plan *plan, int sync)
{
    struct error err = {0};
    int init_fd = -1;
    if (confine(plan, sync, &err) == 0 && place_descriptors(plan, &init_fd, &sync, &err) == 0 &&
        seccomp_filter_load(&plan->shop->filter, &err) == 0) {
        char *const argv[] = {(char[]){"casemate-init"}, NULL};
        char *const environment[] = {NULL};
        (void)execveat(init_fd, "", argv, environment, AT_EMPTY_PATH);
        (void)error_set_errno(&err, errno, "execute casemate-init");
    }
    (void)send(sync, &err, sizeof err, MSG_NOSIGNAL);
    _exit(1);
}

// The effective user owns the namespaces that are made. Capabilities stay in effect.
static int
set_effective_user(uid_t uid, struct error *err)
{
    if (setresuid((uid_t)-1, uid, (uid_t)-1) < 0)
        return error_set_errno(err, errno, "change the effective user");
    return caps_raise(err);
}

// A change of user makes the kernel forget it.
static int
renew_tie(pid_t launcher, struct error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "ask to die with the launcher");
    return getppid() == launcher ? 0 : error_set(err, ERR_INTERNAL, "the launcher is gone");
}

static pid_t
clone_owned(const struct guest_plan *plan, int cgroup_fd, int *ret_pidfd, struct error *err)
{
    struct clone_args args = {
        .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                 CLONE_NEWUTS | CLONE_PARENT | CLONE_PIDFD | CLONE_CLEAR_SIGHAND |
                 CLONE_INTO_CGROUP,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .cgroup = (uint64_t)cgroup_fd,
    };
    if (set_effective_user(plan->owner, err) < 0)
        return -1;
    pid_t pid = sys_clone3(&args);
    if (pid == 0)
        return 0;
    if (pid < 0)
        (void)error_set_errno(err, errno, "clone the sandbox");
    else if (set_effective_user(0, err) == 0 && renew_tie(plan->launcher, err) == 0)
        return pid;
    return -1; // the job fails, and the child, if there is one, ends with it
}

int
guest_start(struct guest *ret, const struct guest_plan *plan, int cgroup_fd, struct error *err)
{
    int pair[2];
    int r = fd_socketpair(SOCK_SEQPACKET, pair);
    if (r < 0)
        return error_set_errno(err, -r, "make a socket pair");
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    int pidfd = -1;
    pid_t pid = clone_owned(plan, cgroup_fd, &pidfd, err);
    if (pid < 0)
        return -1;
    if (pid == 0) {
        (void)close(ours);
        run_child(plan, theirs);
    }
    *ret = (struct guest){.pid = pid, .pidfd = pidfd, .sync = TAKE_FD(ours)};
    return 0;
}

int
guest_offer_to_oom(const struct guest *g, struct error *err)
{
    char path[64];
    char text[16];
    (void)snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)g->pid);
    (void)snprintf(text, sizeof text, "%d", CONTROL_INIT_OOM_SCORE);
    int r = fd_write_file(path, text);
    return r < 0 ? error_set_errno(err, -r, "set oom_score_adj") : 0;
}

int
guest_go(const struct guest *g, int base_fd, int disk_fd, int devices_fd, struct error *err)
{
    const int fds[GO_FDS] = {base_fd, disk_fd, devices_fd};
    int r = fd_send_msg(g->sync, "g", 1, fds, GO_FDS);
    return r < 0 ? error_set_errno(err, -r, "let the sandbox go on") : 0;
}

int
guest_release(const struct guest *g, struct error *err)
{
    int r = fd_send_msg(g->sync, "r", 1, NULL, 0);
    return r < 0 ? error_set_errno(err, -r, "release the sandbox") : 0;
}

int
guest_await_exec(const struct guest *g, struct error *err)
{
    struct error report;
    ssize_t n = recv(g->sync, &report, sizeof report, 0);
    if (n == 0)
        return 0; // closed by execve
    if (n != (ssize_t)sizeof report)
        return error_set(err, ERR_INTERNAL, "the sandbox died while it was made");
    if (err != NULL)
        *err = report;
    return error_wrap(err, "inside");
}
