// SPDX-License-Identifier: Apache-2.0
// The loop. Three kinds of events: a request of casemated, a signal, and something about a sandbox.
#include "launcher/launcher.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "launcher/caps.h"
#include "launcher/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

enum {
    EVENTS_MAX = 64, // taken from the kernel at once
    WORD_DAEMON = SUPERVISOR_WORDS,
    WORD_SIGNAL,
    NOFILE_WANTED = 1048576,
    STOP_TIMEOUT_MS = 20 * 1000, // then what is left is for the kernel and the next start
};

struct launcher {
    int epoll_fd;
    int signal_fd;
    struct supervisor *supervisor;
    bool stopping;
};

// Raised as far as may be; the sandbox's own limits are set in it.
static void
raise_descriptor_limit(void)
{
    struct rlimit limit = {.rlim_cur = NOFILE_WANTED, .rlim_max = NOFILE_WANTED};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// no_new_privs stays off: sandboxes would inherit it, and sudo inside would not work.
static int
harden(struct error *err)
{
    (void)umask(022);
    raise_descriptor_limit();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "forbid dumps");
    // Whatever else was inherited is none of ours, and must not reach a sandbox.
    if (close_range(LAUNCHER_SOCKET + 1, UINT_MAX, 0) < 0)
        return error_set_errno(err, errno, "close inherited descriptors");
    cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0)
        return error_set_errno(err, errno, "close standard input");
    return caps_reduce_launcher(err);
}

static int
watch(const struct launcher *l, int fd, uint64_t word, struct error *err)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = word};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
        return error_set_errno(err, errno, "watch a descriptor");
    return 0;
}

static int
open_signals(struct launcher *l, struct error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return error_set_errno(err, errno, "block signals");
    l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return l->signal_fd < 0 ? error_set_errno(err, errno, "make a signal descriptor") : 0;
}

static int
open_loop(struct launcher *l, const struct workshop *shop, struct error *err)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0)
        return error_set_errno(err, errno, "make an epoll descriptor");
    // Full when casemated does not read: that ends the launcher rather than block it.
    int r = fd_set_nonblock(LAUNCHER_SOCKET);
    if (r < 0 || fcntl(LAUNCHER_SOCKET, F_SETFD, FD_CLOEXEC) < 0)
        return error_set_errno(err, r < 0 ? -r : errno, "socket to casemated");
    l->supervisor = supervisor_new(shop, l->epoll_fd, LAUNCHER_SOCKET);
    if (open_signals(l, err) < 0 || watch(l, l->signal_fd, WORD_SIGNAL, err) < 0)
        return -1;
    return watch(l, LAUNCHER_SOCKET, WORD_DAEMON, err);
}

static int
send_ready(const struct workshop *shop, struct error *err)
{
    char layout[64];
    struct launch_message m = {.type = LAUNCH_READY};
    cgroup_layout_describe(&shop->cgroups, layout, sizeof layout);
    (void)snprintf(m.detail, sizeof m.detail, "driver ns, %s", layout);
    log_info("ready", "state", shop->state_dir, "detail", m.detail);
    return launch_send(LAUNCHER_SOCKET, &m, NULL, 0, err);
}

static void
stop(struct launcher *l, const char *why)
{
    if (l->stopping)
        return;
    log_info("stopping", "why", why);
    l->stopping = true;
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, LAUNCHER_SOCKET, NULL);
    supervisor_stop(l->supervisor);
}

static int
handle_daemon(struct launcher *l, struct error *err)
{
    struct launch_message m;
    int fds[FD_PASS_MAX];
    size_t fd_count = 0;
    int r = launch_recv(LAUNCHER_SOCKET, &m, fds, &fd_count, err);
    if (r == 0) {
        stop(l, "casemated is gone");
        return 0;
    }
    if (r < 0)
        return err->sys == EAGAIN ? 0 : -1;
    return supervisor_request(l->supervisor, &m, fds, fd_count, err);
}

static int
handle_event(struct launcher *l, uint64_t word, struct error *err)
{
    if (word == WORD_DAEMON)
        return l->stopping ? 0 : handle_daemon(l, err);
    if (word < SUPERVISOR_WORDS)
        return supervisor_event(l->supervisor, word, err);
    struct signalfd_siginfo info;
    if (read(l->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        stop(l, strsignal((int)info.ssi_signo));
    return 0;
}

static int
wait_events(struct launcher *l, int timeout_ms, struct error *err)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, timeout_ms);
    if (n < 0 && errno != EINTR)
        return error_set_errno(err, errno, "wait for events");
    for (int i = 0; i < n; i++) {
        if (handle_event(l, events[i].data.u64, err) < 0)
            return -1;
    }
    supervisor_tick(l->supervisor);
    return 0;
}

static int
serve(struct launcher *l, struct error *err)
{
    while (!l->stopping) {
        if (wait_events(l, supervisor_timeout_ms(l->supervisor), err) < 0)
            return -1;
    }
    return 0;
}

// Waits for the last sandbox to go.
static void
wind_down(struct launcher *l)
{
    struct error err = {0};
    int64_t deadline = clock_monotonic_ms() + STOP_TIMEOUT_MS;
    while (!supervisor_is_empty(l->supervisor)) {
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0 || wait_events(l, (int)left, &err) < 0) {
            log_error("sandboxes are left over", "error", left <= 0 ? "too slow" : err.msg);
            return;
        }
    }
}

static int
run(struct launcher *l, struct workshop *shop, struct error *err)
{
    if (open_loop(l, shop, err) < 0 || send_ready(shop, err) < 0) {
        log_error("cannot start", "error", err->msg);
        return -1;
    }
    int r = serve(l, err);
    if (r < 0)
        log_error("fatal: every sandbox is destroyed", "error", err->msg);
    stop(l, "fatal error");
    wind_down(l);
    return r;
}

int
launcher_run(const struct launcher_options *options)
{
    struct launcher l = {.epoll_fd = -1, .signal_fd = -1};
    struct workshop shop;
    struct error err = {0};
    log_init("casemate-launcher", options->log_level);
    if (harden(&err) < 0) {
        log_error("cannot start", "error", err.msg);
        return 1;
    }
    int r = workshop_open(&shop, options, &err);
    if (r < 0)
        log_error("cannot start", "error", err.msg);
    else
        r = run(&l, &shop, &err);
    supervisor_free(l.supervisor);
    workshop_close(&shop);
    if (l.epoll_fd >= 0)
        (void)close(l.epoll_fd);
    if (l.signal_fd >= 0)
        (void)close(l.signal_fd);
    return r < 0 ? 1 : 0;
}
