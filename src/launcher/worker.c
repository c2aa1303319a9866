// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "launcher/caps.h"
#include "launcher/job.h"
#include "launcher/syscalls.h"
#include "wire/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    FDS_ABOVE = 64,
    // Values and all the forms in which an answer may hold one, of the largest policy.
    WORKER_MEMLOCK = 192 * 1024 * 1024,
    WORKER_NOFILE = 2048, // stops one sandbox's connections from eating the host's descriptors
    WORKER_FDS = CONTROL_WORKER_SENT + 1 - CONTROL_WORKER_POLICY,
};

static int
set_limit(int resource, rlim_t value, struct error *err)
{
    const struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit(resource, &limit) < 0)
        return error_set_errno(err, errno, "set resource limit %d", resource);
    return 0;
}

static int
become_worker_user(const struct workshop *shop, struct error *err)
{
    if (setgroups(0, NULL) < 0 ||
        setresgid(shop->worker_gid, shop->worker_gid, shop->worker_gid) < 0 ||
        setresuid(shop->worker_uid, shop->worker_uid, shop->worker_uid) < 0)
        return error_set_errno(err, errno, "become the worker's user");
    return 0;
}

static int
drop_all(const struct worker_plan *plan, struct error *err)
{
    // Where it may not be raised, a policy that needs more is refused by the worker.
    (void)set_limit(RLIMIT_MEMLOCK, WORKER_MEMLOCK, NULL);
    if (set_limit(RLIMIT_CORE, 0, err) < 0 || set_limit(RLIMIT_NOFILE, WORKER_NOFILE, err) < 0 ||
        caps_bound_worker(err) < 0 || become_worker_user(plan->shop, err) < 0 ||
        caps_clear(err) < 0)
        return -1;
    // After the change of user, which would forget the signal.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "confine the worker");
    if (getppid() != plan->launcher)
        return error_set(err, ERR_INTERNAL, "the launcher is gone");
    return 0;
}

static int
place_descriptors(const struct worker_plan *plan, int *exec_fd, int *sync, struct error *err)
{
    const int from[WORKER_FDS] = {plan->policy_fd,   plan->roots_fd,  plan->sockets.tcp,
                                  plan->sockets.udp, plan->events_fd, plan->capture_fd,
                                  plan->ca_fd,       plan->sent_fd};
    int high[WORKER_FDS];
    for (size_t i = 0; i < WORKER_FDS; i++) {
        high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, FDS_ABOVE);
        if (high[i] < 0)
            return error_set_errno(err, errno, "place descriptors");
    }
    int exec = fcntl(plan->shop->worker_fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int high_sync = fcntl(*sync, F_DUPFD_CLOEXEC, FDS_ABOVE);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (exec < 0 || high_sync < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(null, STDOUT_FILENO) < 0)
        return error_set_errno(err, errno, "place descriptors");
    for (int i = 0; i < WORKER_FDS; i++) {
        if (dup2(high[i], CONTROL_WORKER_POLICY + i) < 0)
            return error_set_errno(err, errno, "place descriptors");
    }
    if (close_range(CONTROL_WORKER_SENT + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        return error_set_errno(err, errno, "place descriptors");
    *exec_fd = exec;
    *sync = high_sync;
    return 0;
}

static _Noreturn void
run_child(const struct worker_plan *plan, int sync)
{
    struct error err = {0};
    int exec_fd = -1;
    char byte;
    if (recv(sync, &byte, 1, 0) != 1)
        _exit(1); // abandoned
    (void)umask(077);
    if (setsid() < 0 || chdir("/") < 0)
        (void)error_set_errno(&err, errno, "start a session");
    else if (place_descriptors(plan, &exec_fd, &sync, &err) == 0 && drop_all(plan, &err) == 0) {
        char *const argv[] = {(char[]){"casemate-proxy"}, NULL};
        char *const environment[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"LANG=C.UTF-8"},
                                     NULL};
        (void)execveat(exec_fd, "", argv, environment, AT_EMPTY_PATH);
        (void)error_set_errno(&err, errno, "execute casemate-proxy");
    }
    (void)send(sync, &err, sizeof err, MSG_NOSIGNAL);
    _exit(1);
}

int
worker_start(struct worker_child *ret, const struct worker_plan *plan, struct error *err)
{
    int pair[2];
    int r = fd_socketpair(SOCK_SEQPACKET, pair);
    if (r < 0)
        return error_set_errno(err, -r, "make a socket pair");
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_PARENT | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
    };
    pid_t pid = sys_clone3(&args);
    if (pid < 0)
        return error_set_errno(err, errno, "clone the worker");
    if (pid == 0) {
        (void)close(ours);
        run_child(plan, theirs);
    }
    *ret = (struct worker_child){.pid = pid, .pidfd = pidfd, .sync = TAKE_FD(ours)};
    return 0;
}

int
worker_go(const struct worker_child *w, struct error *err)
{
    int r = fd_send_msg(w->sync, "g", 1, NULL, 0);
    return r < 0 ? error_set_errno(err, -r, "let the worker go on") : 0;
}

int
worker_await_exec(const struct worker_child *w, struct error *err)
{
    struct error report;
    ssize_t n = recv(w->sync, &report, sizeof report, 0);
    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof report)
        return error_set(err, ERR_INTERNAL, "the worker died while it was made");
    if (err != NULL)
        *err = report;
    return error_wrap(err, "worker");
}

size_t
worker_keep_fds(const struct worker_plan *plan, int out[WORKER_FDS_MAX])
{
    const int fds[] = {plan->shop->worker_fd, plan->policy_fd,   plan->roots_fd,
                       plan->sockets.tcp,     plan->sockets.udp, plan->events_fd,
                       plan->capture_fd,      plan->ca_fd,       plan->sent_fd};
    static_assert(ARRAY_SIZE(fds) == WORKER_FDS_MAX, "room for all");
    memcpy(out, fds, sizeof fds);
    return ARRAY_SIZE(fds);
}

static int
restart(int report, const struct worker_plan *plan, struct error *err)
{
    struct worker_child child;
    if (worker_start(&child, plan, err) < 0)
        return -1;
    const struct job_report started = {.step = JOB_WORKER_STARTED};
    if (job_send(report, &started, &child.pidfd, 1, err) < 0 || worker_go(&child, err) < 0 ||
        worker_await_exec(&child, err) < 0)
        return -1;
    const struct job_report done = {.step = JOB_DONE};
    return job_send(report, &done, NULL, 0, err);
}

void
worker_restart(int report, void *plan)
{
    struct error err = {0};
    if (restart(report, plan, &err) == 0)
        return;
    const struct job_report failed = {.step = JOB_FAILED, .error = err};
    (void)job_send(report, &failed, NULL, 0, NULL);
}
