// SPDX-License-Identifier: Apache-2.0
#include "init/process/process-internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "init/guest.h"
#include "init/identity.h"
#include "init/process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const process_output_choices[] = {"piped", "null", "inherit", NULL};

const struct param process_spawn_params[] = {
    {"command", PARAM_NAME},
    {"args", PARAM_NAMES, .optional = true},
    PROCESS_START_PARAMS,
    {0},
};

// Both ends of the child's stdio; -1 where there is none. Freed with close_stdio.
struct stdio {
    int child[3];
    int own[3];
};

static void
close_stdio(struct stdio *s)
{
    for (int i = 0; i < 3; i++) {
        if (s->child[i] >= 0)
            (void)close(s->child[i]);
        if (s->own[i] >= 0)
            (void)close(s->own[i]);
    }
}

// Made as app: the pipe's inode then belongs to it, and /dev/stdout can be opened.
static int
make_stdio(struct stdio *s, const bool piped[3])
{
    AS_APP_SCOPE();
    for (int i = 0; i < 3; i++) {
        int ends[2];
        if (!piped[i]) {
            s->child[i] = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
            if (s->child[i] < 0)
                return -errno;
            continue;
        }
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -errno;
        s->child[i] = ends[i == 0 ? 0 : 1];
        s->own[i] = ends[i == 0 ? 1 : 0];
        int r = fd_set_nonblock(s->own[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static void
on_input(void *user)
{
    struct process *p = user;
    p->last_input_ms = clock_monotonic_ms();
}

static void
gate_expired(void *user)
{
    struct process *p = user;
    int64_t quiet = clock_monotonic_ms() - p->last_input_ms;
    if (quiet < PROCESS_GATE_MS)
        loop_timer_start(p->owner->loop, &p->gate, PROCESS_GATE_MS - quiet);
    else
        process_open_gate(p, NULL);
}

// Start-up.

static void
started(struct process *p)
{
    uint32_t streams[3] = {outstream_number(p->out[0]), outstream_number(p->out[1]), p->watcher};
    if (p->spawn_call == NULL)
        return;
    call_ok_streams(p->spawn_call, json_pack("{s:I}", "pid", (json_int_t)p->pid), streams,
                    p->has_watcher ? 3 : 2);
    p->spawn_call = NULL;
    p->last_input_ms = clock_monotonic_ms();
    loop_timer_start(p->owner->loop, &p->gate, PROCESS_GATE_MS);
}

static void
failed(struct process *p, const struct spawn_report *r)
{
    if (p->spawn_call != NULL) {
        bool cwd = r->stage == SPAWN_STAGE_CWD;
        call_fail_errno(p->spawn_call, r->sys, cwd ? "chdir" : "spawn", cwd ? p->cwd : p->command);
    }
    p->spawn_call = NULL;
    feed_free(p->feed);
    p->feed = NULL;
    for (size_t i = 0; i < 2; i++)
        if (p->out[i] != NULL)
            outstream_discard(p->out[i]);
    process_end_role(p);
    process_forget(p);
}

static void
report_ready(void *user, uint32_t events)
{
    (void)events;
    struct process *p = user;
    struct spawn_report r;
    ssize_t n = read(p->report.fd, &r, sizeof r);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    loop_watch_remove(p->owner->loop, &p->report);
    (void)close(p->report.fd);
    p->starting = false;
    if (n == (ssize_t)sizeof r)
        failed(p, &r);
    else
        started(p);
}

static void
spawn_stop(struct call *call, void *user)
{
    (void)call;
    struct process *p = user;
    p->spawn_call = NULL;
}

// Takes the descriptors of the process over into watched objects. 0 or -errno.
static int
adopt(struct process *p, struct call *call, struct stdio *stdio, struct instream *input)
{
    struct loop *loop = p->owner->loop;
    for (size_t i = 0; i < 2; i++) {
        if (stdio->own[i + 1] < 0)
            continue;
        p->out[i] =
            outstream_new(call->channel, TAKE_FD(stdio->own[i + 1]), &process_stream_events[i], p);
        if (p->out[i] == NULL)
            return -ENOMEM;
    }
    int r = loop_watch_add(loop, &p->report, EPOLLIN);
    if (r < 0 || input == NULL)
        return r;
    p->feed = feed_new(loop, TAKE_FD(stdio->own[0]), on_input, p);
    if (p->feed == NULL)
        return -ENOMEM;
    feed_connect(p->feed, input);
    return 0;
}

// 0, or -1: answered, and the role is not taken.
static int
spawn(struct call *call, const struct spawn_plan *plan, const struct process_request *r,
      struct stdio *stdio, struct instream *input)
{
    struct process *p = xcalloc(1, sizeof *p);
    p->has_watcher = r->has_watcher;
    p->watcher = r->watcher;
    p->owner = call_guest(call)->processes;
    p->has_oom_count = process_oom_count(p->owner, &p->oom_count);
    p->last_input_ms = clock_monotonic_ms();
    list_init(&p->link);
    list_init(&p->waiters);
    loop_timer_init(&p->gate, gate_expired, p);
    p->report = (struct loop_watch){.ready = report_ready, .user = p};
    pid_t pid = spawn_process(plan, &p->report.fd);
    if (pid < 0) {
        call_fail_errno(call, -pid, "spawn", plan->command);
        if (input != NULL)
            instream_refuse(input, NULL);
        free(p);
        return -1;
    }
    p->role = r->role;
    p->role_user = r->user;
    p->pid = (uint64_t)pid;
    p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    p->starting = true;
    p->command = xstrdup(plan->command);
    p->cwd = xstrdup(plan->cwd);
    p->spawn_call = call;
    call->stop = spawn_stop;
    call->user = p;
    process_insert(p);
    int sys = p->pidfd < 0 ? -EMFILE : adopt(p, call, stdio, input);
    if (sys < 0) {
        if (p->feed == NULL && input != NULL)
            instream_refuse(input, NULL);
        (void)kill(pid, SIGKILL);
        loop_watch_remove(p->owner->loop, &p->report);
        (void)close(p->report.fd);
        p->starting = false;
        failed(p, &(struct spawn_report){.sys = -sys, .stage = SPAWN_STAGE_PREPARE});
    }
    return 0;
}

// Parameters.

// 0, -EINVAL for a bad name, -E2BIG.
static int
make_env(struct env *env, const struct env *sandbox, const json_t *params)
{
    if (param_flag(params, "clearEnv", false))
        env_init(env);
    else
        env_copy(env, sandbox);
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(params, "env"), name, value)
    {
        int r = env_name_is_valid(name) ? env_set(env, name, json_string_value(value)) : -EINVAL;
        if (r < 0)
            return r;
    }
    return 0;
}

static const char **
make_argv(const char *command, const json_t *args)
{
    size_t count = json_array_size(args);
    const char **argv = xcalloc(count + 2, sizeof *argv);
    argv[0] = command;
    for (size_t i = 0; i < count; i++)
        argv[i + 1] = json_string_value(json_array_get(args, i));
    return argv;
}

static bool
is_piped(const json_t *params, const char *name)
{
    return strcmp(param_text(params, name), "null") != 0;
}

// 0, or -1: answered, and the role is not taken.
static int
start_with_input(struct call *call, const json_t *params, const struct process_request *request,
                 struct instream *input)
{
    struct env env cleanup_env = {0};
    struct app_path cwd;
    const char *cwd_text = param_text(params, "cwd");
    const bool piped[3] = {input != NULL, is_piped(params, "stdout"), is_piped(params, "stderr")};
    struct stdio stdio __attribute__((cleanup(close_stdio))) = {{-1, -1, -1}, {-1, -1, -1}};
    int r = make_env(&env, call_guest(call)->env, params);
    if (r == -EINVAL)
        call_fail_type(call, "Invalid name of an environment variable");
    else if (r == 0 && (r = app_path_set(&cwd, cwd_text != NULL ? cwd_text : APP_HOME)) < 0)
        call_fail_errno(call, -r, "chdir", cwd_text);
    else if (r < 0 || (r = make_stdio(&stdio, piped)) < 0)
        call_fail_errno(call, -r, "spawn", request->command);
    if (r < 0) {
        if (input != NULL)
            instream_refuse(input, NULL);
        return -1;
    }
    cleanup_free const char **argv = make_argv(request->command, request->args);
    struct spawn_plan plan = {
        .command = request->command,
        .argv = (char *const *)(uintptr_t)argv,
        .env = env.entries,
        .cwd = cwd.text,
        .stdio = {stdio.child[0], stdio.child[1], stdio.child[2]},
        .inherited = request->inherited,
    };
    return spawn(call, &plan, request, &stdio, input);
}

void
process_start(struct call *call, const json_t *params, const struct process_request *r)
{
    uint64_t id;
    struct instream *input = NULL;
    int result = 0;
    if (param_index(params, "stdinStreamId", &id)) {
        input = instream_find(call->channel, id);
        if (input == NULL) {
            call_fail_type(call, "Unknown stream");
            result = -1;
        }
    }
    if (result == 0)
        result = start_with_input(call, params, r, input);
    if (result < 0 && r->role != NULL)
        r->role->ended(r->user);
}

void
process_spawn(struct call *call, const json_t *params)
{
    const struct process_request r = {
        .command = param_text(params, "command"),
        .args = json_object_get(params, "args"),
    };
    process_start(call, params, &r);
}
