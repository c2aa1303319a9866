// SPDX-License-Identifier: Apache-2.0
// processWait answers after the output that the process itself wrote: at exit, each stream is told
// to report when it has sent what is in its pipe by then. Who else holds the pipe (a grandchild in
// the background) does not delay the answer; the stream goes on until the end of the file.
//
// Output may not flow before the client is ready to take it, which its processWait tells. A client
// that neither waits nor writes is given PROCESS_GATE_MS.
#include "init/process/process-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "init/guest.h"
#include "init/process/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REAP_A_TURN = 256, // a fork bomb's corpses do not hold up clients
    SIGNAL_CODE_BASE = 128,
};

struct waiter {
    struct list link;
    struct process *process;
    struct call *call;
};

static void
process_maybe_free(struct process *p)
{
    if (p->in_table || p->starting || p->out[0] != NULL || p->out[1] != NULL ||
        !list_is_empty(&p->waiters))
        return;
    loop_timer_stop(&p->gate);
    feed_free(p->feed);
    if (p->pidfd >= 0)
        (void)close(p->pidfd);
    free(p->command);
    free(p->cwd);
    free(p);
}

void
process_forget(struct process *p)
{
    if (p->in_table) {
        (void)map_remove(&p->owner->by_pid, p->pid);
        p->in_table = false;
        if (!list_is_empty(&p->link))
            p->owner->exited_count--;
        list_remove(&p->link);
    }
    process_maybe_free(p);
}

static struct process *
find(const struct processes *ps, uint64_t pid)
{
    return map_get(&ps->by_pid, pid);
}

bool
processes_has(const struct processes *ps, uint64_t pid)
{
    const struct process *p = find(ps, pid);
    return p != NULL && !p->exited && !p->starting;
}

void *
process_role_user(const struct processes *ps, uint64_t pid, const struct process_role *role)
{
    const struct process *p = processes_has(ps, pid) ? find(ps, pid) : NULL;
    return p != NULL && p->role == role ? p->role_user : NULL;
}

void
process_terminate(const struct processes *ps, uint64_t pid)
{
    if (processes_has(ps, pid))
        (void)syscall(SYS_pidfd_send_signal, find(ps, pid)->pidfd, SIGKILL, NULL, 0);
}

void
process_end_role(struct process *p)
{
    const struct process_role *role = p->role;
    p->role = NULL;
    if (role != NULL)
        role->ended(p->role_user);
}

void
process_insert(struct process *p)
{
    struct process *old = find(p->owner, p->pid);
    if (old != NULL)
        process_forget(old);
    p->in_table = map_put(&p->owner->by_pid, p->pid, p) == 0;
}

bool
process_oom_count(const struct processes *ps, uint64_t *ret)
{
    char text[1024];
    ssize_t n = ps->memory_events < 0 ? -1 : pread(ps->memory_events, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    for (char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "oom_kill ", 9) == 0) {
            *ret = strtoull(line + 9, NULL, 10);
            return true;
        }
    }
    return false;
}

static json_t *
status_json(const struct process *p)
{
    char name[SIGNAL_NAME_MAX];
    return json_pack("{s:b, s:i, s:s?, s:s?}", "success", p->code == 0, "code", p->code, "signal",
                     p->signal > 0 ? signal_text(p->signal, name) : NULL, "oom",
                     p->oom ? "high-confidence" : NULL);
}

static bool
has_output_for(const struct process *p, const struct channel *c)
{
    for (size_t i = 0; i < 2; i++)
        if (p->out[i] != NULL && p->out[i]->port.channel == c && !p->out[i]->drained)
            return true;
    return false;
}

// Answers those who wait, as far as all output is on its way to them.
static void
answer_waiters(struct process *p)
{
    struct list *next;
    for (struct list *l = p->waiters.next; p->exited && l != &p->waiters; l = next) {
        struct waiter *w = CONTAINER_OF(l, struct waiter, link);
        next = l->next;
        if (has_output_for(p, w->call->channel))
            continue;
        struct call *call = w->call;
        list_remove(&w->link);
        free(w);
        call_ok(call, status_json(p));
    }
}

static void
stream_drained(void *user)
{
    answer_waiters(user);
}

static void
stream_ended(struct process *p, size_t index)
{
    p->out[index] = NULL;
    answer_waiters(p);
    process_maybe_free(p);
}

static void
stdout_ended(void *user, struct outstream *s)
{
    (void)s;
    stream_ended(user, 0);
}

static void
stderr_ended(void *user, struct outstream *s)
{
    (void)s;
    stream_ended(user, 1);
}

const struct outstream_events process_stream_events[2] = {
    {.drained = stream_drained, .ended = stdout_ended},
    {.drained = stream_drained, .ended = stderr_ended},
};

void
process_open_gate(struct process *p, const struct channel *c)
{
    for (size_t i = 0; i < 2; i++)
        if (p->out[i] != NULL && p->out[i]->port.channel != NULL &&
            (c == NULL || p->out[i]->port.channel == c))
            outstream_open(p->out[i]);
}

// Exit.

static void
process_exited(struct process *p, const siginfo_t *info)
{
    struct processes *ps = p->owner;
    bool killed = info->si_code != CLD_EXITED;
    uint64_t oom_count;
    p->exited = true;
    p->signal = killed ? info->si_status : 0;
    p->code = killed ? SIGNAL_CODE_BASE + info->si_status : info->si_status;
    p->oom = p->code == SIGNAL_CODE_BASE + SIGKILL && p->has_oom_count &&
             process_oom_count(ps, &oom_count) && oom_count > p->oom_count;
    (void)close(p->pidfd);
    p->pidfd = -1;
    feed_free(p->feed);
    p->feed = NULL;
    process_end_role(p);
    list_append(&ps->exited, &p->link);
    if (++ps->exited_count > PROCESS_EXITED_MAX)
        process_forget(CONTAINER_OF(ps->exited.next, struct process, link));
    for (size_t i = 0; i < 2; i++)
        if (p->out[i] != NULL)
            outstream_expect_end(p->out[i]);
    answer_waiters(p);
}

static bool
reap(void *user)
{
    struct processes *ps = user;
    for (int i = 0; i < REAP_A_TURN; i++) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
            return false;
        struct process *p = find(ps, (uint64_t)info.si_pid);
        if (p != NULL && !p->exited)
            process_exited(p, &info);
    }
    return true;
}

static void
child_signalled(void *user, uint32_t events)
{
    (void)events;
    struct processes *ps = user;
    struct signalfd_siginfo ignored;
    while (read(ps->child_signal.fd, &ignored, sizeof ignored) > 0)
        ;
    loop_task_stop(&ps->reap);
    if (reap(ps))
        loop_task_start(ps->loop, &ps->reap);
}

struct processes *
processes_new(struct loop *loop, int memory_events)
{
    struct processes *ps = xcalloc(1, sizeof *ps);
    ps->loop = loop;
    ps->memory_events = memory_events;
    map_init(&ps->by_pid, PROCESSES_MAX);
    list_init(&ps->exited);
    list_init(&ps->reap.link);
    ps->reap.step = reap;
    ps->reap.user = ps;
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    ps->child_signal = (struct loop_watch){.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK),
                                           .ready = child_signalled,
                                           .user = ps};
    if (loop_watch_add(loop, &ps->child_signal, EPOLLIN) < 0)
        abort();
    return ps;
}

// Methods.

const struct param process_wait_params[] = {{"pid", PARAM_INTEGER}, {0}};

static void
waiter_stop(struct call *call, void *user)
{
    (void)call;
    struct waiter *w = user;
    struct process *p = w->process;
    list_remove(&w->link);
    free(w);
    process_maybe_free(p);
}

void
process_wait(struct call *call, const json_t *params)
{
    double pid = 0;
    (void)param_number(params, "pid", &pid);
    struct process *p = pid > 0 ? find(call_guest(call)->processes, (uint64_t)pid) : NULL;
    if (p == NULL || p->starting) {
        call_fail(call, error_object("NotFound", "ENOENT", "No such process"));
        return;
    }
    struct waiter *w = xcalloc(1, sizeof *w);
    w->process = p;
    w->call = call;
    call->stop = waiter_stop;
    call->user = w;
    list_append(&p->waiters, &w->link);
    process_open_gate(p, call->channel);
    answer_waiters(p);
}

const struct param process_kill_params[] = {
    {"pid", PARAM_INTEGER}, {"signal", PARAM_STRING, .optional = true}, {0}};

void
process_kill(struct call *call, const json_t *params)
{
    double pid = 0;
    (void)param_number(params, "pid", &pid);
    const char *name = param_text(params, "signal");
    int number = signal_by_name(name != NULL ? name : "SIGTERM");
    if (number < 0) {
        call_fail_type(call, "Unknown signal on this system");
        return;
    }
    struct processes *ps = call_guest(call)->processes;
    (void)reap(ps); // a process that just ended is gone for the client, too
    struct process *p = pid > 0 ? find(ps, (uint64_t)pid) : NULL;
    if (p == NULL || p->exited || p->starting ||
        (syscall(SYS_pidfd_send_signal, p->pidfd, number, NULL, 0) < 0 && errno == ESRCH))
        call_fail(call,
                  error_object("TypeError", "ENOENT", "Child process has already terminated"));
    else
        call_ok_null(call);
}
