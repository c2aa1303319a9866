// SPDX-License-Identifier: Apache-2.0
// Theory of operation
//
//   ABSENT ─create─▶ BUILDING ─done─▶ RUNNING ─destroy, init or worker died─▶ KILLING
//                        └──failed, doomed, too late───────────────────────────▲  │
//   ABSENT ◀─job over─ CLEANING ◀──────────────── init, worker and job reaped ────┘
//
// Every transition is driven by an event of the loop: a request, a report or the exit of a job, the
// exit of init or worker. A worker that dies is replaced (restart_worker), as often as restart.h
// says; what the next one needs is kept: its policy and its authority's key, in sealed
// memory that the launcher never maps, its listeners and the capture. Between the two, connections
// wait in the listener, and there is no other way out. Nothing here blocks: killing is one system
// call, everything slow is a job. An event may be stale, its entry meanwhile freed or taken anew:
// handlers ask the kernel (waitid(2), receive without blocking) and believe only that.
#include "launcher/supervisor.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "launcher/ids.h"
#include "launcher/job.h"
#include "launcher/recipe.h"
#include "launcher/restart.h"
#include "launcher/teardown.h"
#include "wire/control.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
    // A build that hangs in the kernel must not hold its id and its slot for ever.
    BUILD_TIMEOUT_MS = 60 * 1000,
};

struct sandbox {
    enum sandbox_state state;
    char id[SANDBOX_ID_SIZE + 1];
    bool created; // LAUNCH_CREATED was sent
    bool doomed;  // to be destroyed when its build is over
    enum launch_reason reason;
    struct error error;  // why the build failed
    int64_t deadline_ms; // of the build
    int ids_fd;          // reservation of its range of ids
    int control_fd;      // to its init
    int init_pidfd;      // -1: none, or reaped
    int worker_pidfd;
    struct restart restart; // of the worker
    int loop;
    struct job job; // building or cleaning
    uint64_t cpu_usec;
};

struct supervisor {
    const struct workshop *shop;
    int epoll_fd;
    int daemon_sock; // -1 once stopping
    unsigned ids_hint;
    unsigned next_cpu;
    unsigned count;
    struct sandbox sandboxes[SUPERVISOR_SANDBOXES_MAX];
};

static bool
move_is_legal(enum sandbox_state from, enum sandbox_state to)
{
    static const unsigned legal[SANDBOX_STATE_MAX] = {
        [SANDBOX_ABSENT] = 1 << SANDBOX_BUILDING,
        [SANDBOX_BUILDING] = 1 << SANDBOX_RUNNING | 1 << SANDBOX_KILLING,
        [SANDBOX_RUNNING] = 1 << SANDBOX_KILLING,
        [SANDBOX_KILLING] = 1 << SANDBOX_CLEANING,
        [SANDBOX_CLEANING] = 1 << SANDBOX_ABSENT,
    };
    return (legal[from] & 1U << to) != 0;
}

static void
set_state(struct sandbox *b, enum sandbox_state to)
{
    assert(move_is_legal(b->state, to));
    b->state = to;
}

struct supervisor *
supervisor_new(const struct workshop *shop, int epoll_fd, int daemon_sock)
{
    struct supervisor *s = xcalloc(1, sizeof *s);
    s->shop = shop;
    s->epoll_fd = epoll_fd;
    s->daemon_sock = daemon_sock;
    return s;
}

void
supervisor_free(struct supervisor *s)
{
    free(s);
}

static struct sandbox *
find(struct supervisor *s, const char *id)
{
    for (size_t i = 0; i < SUPERVISOR_SANDBOXES_MAX; i++) {
        struct sandbox *b = &s->sandboxes[i];
        if (b->state != SANDBOX_ABSENT && strcmp(b->id, id) == 0)
            return b;
    }
    return NULL;
}

static struct sandbox *
take_entry(struct supervisor *s, const char *id)
{
    for (size_t i = 0; s->count < s->shop->sandboxes_max && i < SUPERVISOR_SANDBOXES_MAX; i++) {
        struct sandbox *b = &s->sandboxes[i];
        if (b->state != SANDBOX_ABSENT)
            continue;
        *b = (struct sandbox){.ids_fd = -1,
                              .control_fd = -1,
                              .init_pidfd = -1,
                              .worker_pidfd = -1,
                              .loop = -1,
                              .job = {.pidfd = -1, .sock = -1}};
        restart_init(&b->restart);
        memcpy(b->id, id, sizeof b->id);
        s->count++;
        return b;
    }
    return NULL;
}

static void
watch(struct supervisor *s, const struct sandbox *b, int fd, enum supervisor_source source)
{
    struct epoll_event e = {.events = EPOLLIN,
                            .data.u64 = (uint64_t)(b - s->sandboxes) * SOURCE_MAX + source};
    if (fd >= 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 && errno != EEXIST)
        log_error("cannot watch a descriptor", "sandbox", b->id, "error", strerror(errno));
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

// To casemated, unless the launcher is ending.
static int
answer(struct supervisor *s, const struct launch_message *m, const int *fds, size_t fd_count,
       struct error *err)
{
    return s->daemon_sock < 0 ? 0 : launch_send(s->daemon_sock, m, fds, fd_count, err);
}

static int
answer_failed(struct supervisor *s, const char *id, const struct error *cause, struct error *err)
{
    struct launch_message m = {.type = LAUNCH_FAILED, .error = *cause};
    memcpy(m.id, id, sizeof m.id);
    log_warn("create failed", "sandbox", id, "error", cause->msg);
    return answer(s, &m, NULL, 0, err);
}

static int
start_job(struct supervisor *s, struct sandbox *b, void (*run)(int, void *), void *arg,
          const int *keep, size_t keep_count, struct error *err)
{
    if (job_start(&b->job, run, arg, keep, keep_count, err) < 0)
        return -1;
    (void)fd_set_nonblock(b->job.sock);
    watch(s, b, b->job.sock, SOURCE_JOB_REPORT);
    watch(s, b, b->job.pidfd, SOURCE_JOB_EXIT);
    return 0;
}

static int
start_build(struct supervisor *s, struct sandbox *b, const struct launch_message *m, const int *fds,
            struct error *err)
{
    struct recipe r = {
        .shop = s->shop,
        .launcher = getpid(),
        .memory_mib = m->memory_mib,
        .disk_mib = m->disk_mib,
        .cpu_millis = m->cpu_millis,
        .pids_max = m->pids_max,
        .first_cpu = s->next_cpu,
        .policy_fd = fds[LAUNCH_FD_POLICY],
        .roots_fd = fds[LAUNCH_FD_ROOTS],
        .events_fd = fds[LAUNCH_FD_EVENTS],
    };
    memcpy(r.id, m->id, sizeof r.id);
    s->next_cpu += (m->cpu_millis + 999) / 1000;
    if (disk_check_space(&s->shop->disks, err) < 0)
        return -1;
    b->ids_fd = ids_reserve(s->shop->ids_fd, &s->ids_hint, &r.first_id, err);
    if (b->ids_fd < 0 ||
        restart_keep(&b->restart, fds[LAUNCH_FD_POLICY], fds[LAUNCH_FD_ROOTS], err) < 0)
        return -1;
    r.ca_fd = b->restart.ca_fd;
    r.sent_fd = b->restart.sent_fd;
    int pair[2];
    int n = fd_socketpair(SOCK_SEQPACKET, pair);
    if (n < 0)
        return error_set_errno(err, -n, "make the control socket");
    b->control_fd = pair[0];
    cleanup_fd int guest_end = pair[1];
    // A guest that does not read must not block the loop.
    (void)fd_set_nonblock(b->control_fd);
    r.control_fd = guest_end;
    int keep[RECIPE_FDS_MAX];
    size_t keep_count = recipe_keep_fds(&r, keep);
    return start_job(s, b, recipe_build, &r, keep, keep_count, err);
}

static void
release(struct supervisor *s, struct sandbox *b)
{
    job_done(&b->job);
    close_fd(&b->control_fd);
    close_fd(&b->init_pidfd);
    close_fd(&b->worker_pidfd);
    close_fd(&b->ids_fd);
    restart_done(&b->restart);
    b->state = SANDBOX_ABSENT;
    s->count--;
}

static int
handle_create(struct supervisor *s, const struct launch_message *m, const int *fds,
              struct error *err)
{
    struct error cause = {0};
    if (permit_check_limits(m, &cause) < 0)
        return answer_failed(s, m->id, &cause, err);
    struct sandbox *b = take_entry(s, m->id);
    if (b == NULL) {
        (void)error_set(&cause, ERR_UNAVAILABLE, "this host has %u sandboxes already", s->count);
        return answer_failed(s, m->id, &cause, err);
    }
    if (start_build(s, b, m, fds, &cause) < 0) {
        release(s, b);
        return answer_failed(s, m->id, &cause, err);
    }
    b->deadline_ms = clock_monotonic_ms() + BUILD_TIMEOUT_MS;
    set_state(b, SANDBOX_BUILDING);
    return 0;
}

static void
handle_channel(struct sandbox *b, int fd)
{
    const uint8_t type = CONTROL_CHANNEL;
    int r = fd_send_msg(b->control_fd, &type, sizeof type, &fd, 1);
    // The channel's end closes with us, which casemated sees.
    if (r < 0)
        log_warn("a sandbox takes no channel", "sandbox", b->id, "error", strerror(-r));
}

static int finish_killing(struct supervisor *s, struct sandbox *b, struct error *err);

static int
begin_killing(struct supervisor *s, struct sandbox *b, enum launch_reason reason, struct error *err)
{
    if (b->state == SANDBOX_RUNNING) { // its pidfds are watched already
        b->reason = reason;
    } else {
        watch(s, b, b->init_pidfd, SOURCE_INIT);
        watch(s, b, b->worker_pidfd, SOURCE_WORKER);
    }
    set_state(b, SANDBOX_KILLING);
    restart_done(&b->restart);
    if (b->job.pidfd >= 0)
        (void)pidfd_send_signal(b->job.pidfd, SIGKILL, NULL, 0);
    if (b->init_pidfd >= 0)
        (void)pidfd_send_signal(b->init_pidfd, SIGKILL, NULL, 0);
    if (b->worker_pidfd >= 0)
        (void)pidfd_send_signal(b->worker_pidfd, SIGKILL, NULL, 0);
    return finish_killing(s, b, err);
}

static int
handle_destroy(struct supervisor *s, struct sandbox *b, struct error *err)
{
    b->doomed = true; // a build takes milliseconds: it is let finish rather than cut at any point
    if (b->state == SANDBOX_RUNNING)
        return begin_killing(s, b, LAUNCH_REASON_DESTROYED, err);
    return 0;
}

static int
dispatch(struct supervisor *s, const struct launch_message *m, const int *fds, size_t fd_count,
         struct error *err)
{
    struct sandbox *b = find(s, m->id);
    enum sandbox_state state = b == NULL ? SANDBOX_ABSENT : b->state;
    if (permit_check(m, fd_count, state, err) < 0 || permit_check_fds(m, fds, err) < 0)
        return -1;
    if (m->type == LAUNCH_CREATE)
        return handle_create(s, m, fds, err);
    if (b == NULL)
        return 0; // ended meanwhile
    if (m->type == LAUNCH_DESTROY)
        return handle_destroy(s, b, err);
    if (b->state == SANDBOX_RUNNING)
        handle_channel(b, fds[0]);
    return 0;
}

int
supervisor_request(struct supervisor *s, const struct launch_message *m, int *fds, size_t fd_count,
                   struct error *err)
{
    int r = dispatch(s, m, fds, fd_count, err);
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
    return r;
}

static int
handle_built(struct supervisor *s, struct sandbox *b, const int *fds, size_t fd_count,
             struct error *err)
{
    if (b->state != SANDBOX_BUILDING)
        return 0; // took too long
    if (b->doomed) {
        (void)error_set(&b->error, ERR_CONFLICT, "destroyed while it was made");
        return 0; // until the job has ended
    }
    set_state(b, SANDBOX_RUNNING);
    b->created = true;
    watch(s, b, b->init_pidfd, SOURCE_INIT);
    watch(s, b, b->worker_pidfd, SOURCE_WORKER);
    log_info("created", "sandbox", b->id);
    struct launch_message m = {.type = LAUNCH_CREATED, .cpu_format = LAUNCH_CPU_STAT};
    memcpy(m.id, b->id, sizeof m.id);
    return answer(s, &m, fds, fd_count, err);
}

static void
take_worker(struct supervisor *s, struct sandbox *b, int *fds, size_t fd_count)
{
    if (fd_count > 0)
        b->worker_pidfd = TAKE_FD(fds[JOB_WORKER_PIDFD]);
    if (fd_count == JOB_WORKER_FDS && b->state == SANDBOX_BUILDING) {
        b->restart.sockets.tcp = TAKE_FD(fds[JOB_WORKER_TCP]);
        b->restart.sockets.udp = TAKE_FD(fds[JOB_WORKER_UDP]);
        b->restart.capture_fd = TAKE_FD(fds[JOB_WORKER_CAPTURE]);
    }
    if (b->state == SANDBOX_BUILDING)
        return; // watched once it runs
    watch(s, b, b->worker_pidfd, SOURCE_WORKER);
    if (b->state == SANDBOX_KILLING)
        (void)pidfd_send_signal(b->worker_pidfd, SIGKILL, NULL, 0);
}

static int
handle_report(struct supervisor *s, struct sandbox *b, const struct job_report *report, int *fds,
              size_t fd_count, struct error *err)
{
    switch (report->step) {
    case JOB_INIT_STARTED:
        if (fd_count == 1)
            b->init_pidfd = TAKE_FD(fds[0]);
        break;
    case JOB_WORKER_STARTED:
        take_worker(s, b, fds, fd_count);
        break;
    case JOB_DISK_ATTACHED:
        b->loop = report->loop;
        break;
    case JOB_DONE:
        if (b->state == SANDBOX_CLEANING)
            b->cpu_usec = report->cpu_usec;
        else
            return handle_built(s, b, fds, fd_count, err);
        break;
    case JOB_FAILED:
        if (b->state == SANDBOX_CLEANING)
            log_error("cleaning failed", "sandbox", b->id, "error", report->error.msg);
        else if (b->error.code == ERR_NONE)
            b->error = report->error;
        b->cpu_usec = report->cpu_usec;
        break;
    case JOB_STEP_MAX:
        break;
    }
    return 0;
}

static int
drain_reports(struct supervisor *s, struct sandbox *b, struct error *err)
{
    while (b->job.sock >= 0) {
        struct job_report report;
        int fds[FD_PASS_MAX];
        size_t fd_count = 0;
        int got = job_receive(b->job.sock, &report, fds, &fd_count, NULL);
        if (got == 0 || got == -1)
            close_fd(&b->job.sock); // its exit follows
        if (got != 1)
            break;
        int r = handle_report(s, b, &report, fds, fd_count, err);
        for (size_t i = 0; i < fd_count; i++)
            close_fd(&fds[i]);
        if (r < 0)
            return -1;
    }
    return 0;
}

static int
handle_gone(struct supervisor *s, struct sandbox *b, struct error *err)
{
    struct launch_message m = {.type = LAUNCH_ENDED, .reason = b->reason, .cpu_usec = b->cpu_usec};
    memcpy(m.id, b->id, sizeof m.id);
    bool created = b->created;
    struct error cause = b->error;
    set_state(b, SANDBOX_ABSENT);
    release(s, b);
    // A job that died between making a child and telling of it left one that nobody waits for.
    // Whichever others are reaped with it: reap() takes them for gone.
    while (!created && waitpid(-1, NULL, WNOHANG) > 0)
        ;
    if (!created)
        return answer_failed(s, m.id, &cause, err);
    log_info("ended", "sandbox", m.id, "reason", launch_reason_name(m.reason));
    return answer(s, &m, NULL, 0, err);
}

static int
begin_cleaning(struct supervisor *s, struct sandbox *b, struct error *err)
{
    set_state(b, SANDBOX_CLEANING);
    close_fd(&b->control_fd); // what a guest may have put into it would keep its disk in use
    struct teardown t = {.shop = s->shop, .loop = b->loop};
    memcpy(t.id, b->id, sizeof t.id);
    int keep[TEARDOWN_FDS_MAX];
    size_t keep_count = teardown_keep_fds(&t, keep);
    struct error cause = {0};
    if (start_job(s, b, teardown_run, &t, keep, keep_count, &cause) == 0)
        return 0;
    // Left for the sweep of the next start.
    log_error("cannot clean up", "sandbox", b->id, "error", cause.msg);
    return handle_gone(s, b, err);
}

static int
finish_killing(struct supervisor *s, struct sandbox *b, struct error *err)
{
    if (b->init_pidfd >= 0 || b->worker_pidfd >= 0 || b->job.pidfd >= 0)
        return 0;
    return begin_cleaning(s, b, err);
}

// True if the process behind *pidfd is over; then it is reaped, and *pidfd closed.
static bool
reap(int *pidfd)
{
    siginfo_t info = {0};
    if (*pidfd < 0)
        return false;
    int r = waitid(P_PIDFD, (id_t)*pidfd, &info, WEXITED | WNOHANG);
    if ((r == 0 && info.si_pid == 0) || (r < 0 && errno == EINTR))
        return false;
    close_fd(pidfd);
    return true;
}

// Another one is started, now or a little later; too many times, and the sandbox ends.
static int
worker_lost(struct supervisor *s, struct sandbox *b, struct error *err)
{
    log_warn("worker died", "sandbox", b->id, "error",
             b->error.msg[0] != '\0' ? b->error.msg : NULL);
    b->error = (struct error){0};
    if (!restart_grant(&b->restart, clock_monotonic_ms()))
        return begin_killing(s, b, LAUNCH_REASON_WORKER_DIED, err);
    return 0;
}

static int
restart_worker(struct supervisor *s, struct sandbox *b, struct error *err)
{
    int pair[2];
    int n = fd_socketpair(SOCK_SEQPACKET, pair);
    if (n < 0)
        return error_set_errno(err, -n, "make an event socket");
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    struct worker_plan plan = restart_plan(&b->restart, s->shop, theirs);
    struct launch_message m = {.type = LAUNCH_WORKER};
    memcpy(m.id, b->id, sizeof m.id);
    int keep[WORKER_FDS_MAX];
    size_t keep_count = worker_keep_fds(&plan, keep);
    if (answer(s, &m, &ours, 1, err) < 0)
        return -1;
    return start_job(s, b, worker_restart, &plan, keep, keep_count, err);
}

static void
restart_if_due(struct supervisor *s, struct sandbox *b, int64_t now)
{
    struct error err = {0};
    // The job that started the last one may not have been reaped.
    if (b->state != SANDBOX_RUNNING || b->restart.at_ms == 0 || b->restart.at_ms > now ||
        b->job.pidfd >= 0)
        return;
    b->restart.at_ms = 0;
    if (restart_worker(s, b, &err) == 0)
        return;
    log_error("cannot start a worker", "sandbox", b->id, "error", err.msg);
    (void)begin_killing(s, b, LAUNCH_REASON_WORKER_DIED, &err);
}

static int
handle_job_exit(struct supervisor *s, struct sandbox *b, struct error *err)
{
    if (!reap(&b->job.pidfd))
        return 0;
    if (drain_reports(s, b, err) < 0)
        return -1;
    job_done(&b->job);
    if (b->state == SANDBOX_CLEANING)
        return handle_gone(s, b, err);
    if (b->state == SANDBOX_KILLING)
        return finish_killing(s, b, err);
    if (b->state == SANDBOX_RUNNING && b->worker_pidfd < 0 && b->restart.at_ms == 0)
        return worker_lost(s, b, err); // starting it failed
    if (b->state != SANDBOX_BUILDING)
        return 0;
    if (b->error.code == ERR_NONE)
        (void)error_set(&b->error, ERR_INTERNAL, "the building job died");
    return begin_killing(s, b, LAUNCH_REASON_NONE, err);
}

static int
handle_death(struct supervisor *s, struct sandbox *b, int *pidfd, enum launch_reason reason,
             struct error *err)
{
    if (!reap(pidfd))
        return 0;
    if (b->state == SANDBOX_RUNNING && reason == LAUNCH_REASON_WORKER_DIED)
        return worker_lost(s, b, err);
    if (b->state == SANDBOX_RUNNING)
        return begin_killing(s, b, reason, err);
    return b->state == SANDBOX_KILLING ? finish_killing(s, b, err) : 0;
}

int
supervisor_event(struct supervisor *s, uint64_t word, struct error *err)
{
    struct sandbox *b = &s->sandboxes[word / SOURCE_MAX];
    if (b->state == SANDBOX_ABSENT)
        return 0;
    switch ((enum supervisor_source)(word % SOURCE_MAX)) {
    case SOURCE_JOB_REPORT:
        return drain_reports(s, b, err);
    case SOURCE_JOB_EXIT:
        return handle_job_exit(s, b, err);
    case SOURCE_INIT:
        return handle_death(s, b, &b->init_pidfd, LAUNCH_REASON_INIT_DIED, err);
    case SOURCE_WORKER:
        return handle_death(s, b, &b->worker_pidfd, LAUNCH_REASON_WORKER_DIED, err);
    case SOURCE_MAX:
        break;
    }
    return 0;
}

int
supervisor_timeout_ms(const struct supervisor *s)
{
    int64_t first = -1;
    for (size_t i = 0; i < SUPERVISOR_SANDBOXES_MAX; i++) {
        const struct sandbox *b = &s->sandboxes[i];
        if (b->state == SANDBOX_BUILDING && (first < 0 || b->deadline_ms < first))
            first = b->deadline_ms;
        // One whose last job still runs waits for that, not for the clock.
        if (b->state == SANDBOX_RUNNING && b->restart.at_ms > 0 && b->job.pidfd < 0 &&
            (first < 0 || b->restart.at_ms < first))
            first = b->restart.at_ms;
    }
    if (first < 0)
        return -1;
    int64_t left = first - clock_monotonic_ms();
    return left > 0 ? (int)left : 0;
}

void
supervisor_tick(struct supervisor *s)
{
    int64_t now = clock_monotonic_ms();
    for (size_t i = 0; i < SUPERVISOR_SANDBOXES_MAX; i++) {
        struct sandbox *b = &s->sandboxes[i];
        restart_if_due(s, b, now);
        if (b->state != SANDBOX_BUILDING || b->deadline_ms > now)
            continue;
        (void)error_set(&b->error, ERR_UNAVAILABLE, "making it took longer than %d s",
                        BUILD_TIMEOUT_MS / 1000);
        (void)begin_killing(s, b, LAUNCH_REASON_NONE, NULL);
    }
}

void
supervisor_stop(struct supervisor *s)
{
    s->daemon_sock = -1;
    for (size_t i = 0; i < SUPERVISOR_SANDBOXES_MAX; i++) {
        struct sandbox *b = &s->sandboxes[i];
        if (b->state != SANDBOX_ABSENT)
            (void)handle_destroy(s, b, NULL);
    }
}

bool
supervisor_is_empty(const struct supervisor *s)
{
    return s->count == 0;
}
