// SPDX-License-Identifier: Apache-2.0
// A REPL is `deno repl --json`, which takes code and tells how it went on its descriptor 3: JSON
// behind its size in four bytes, little-endian. Its standard streams are the client's.
//
// One evaluation is under way at a time; the others wait in order. Each takes two messages: the
// client's code, and then the question for its value or for the exception that it threw.
//
// What the REPL answers is a guest's word: bounded, parsed, and good for its own client only.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "init/deno/deno-internal.h"
#include "init/guest.h"
#include "init/process/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SIZE_BYTES = 4,
    READ_SIZE = 64 * 1024,
    STACK_MAX = 16 * 1024, // of an exception, passed on
};

const struct param deno_repl_params[] = {
    {"scriptArgs", PARAM_NAMES, .optional = true},
    PROCESS_START_PARAMS,
    {0},
};
const struct param deno_repl_eval_params[] = {{"pid", PARAM_INDEX}, {"code", PARAM_STRING}, {0}};
const struct param deno_repl_call_params[] = {
    {"pid", PARAM_INDEX}, {"fn", PARAM_STRING}, {"args", PARAM_LIST, .optional = true}, {0}};

enum stage { STAGE_CODE, STAGE_VALUE, STAGE_ERROR };

struct job {
    struct list link; // in jobs
    struct repl *repl;
    struct call *call; // NULL: nobody waits
    enum stage stage;
    json_t *code;
};

struct repl {
    struct loop *loop;
    struct processes *processes;
    uint64_t pid;
    struct loop_watch socket; // fd -1: closed
    struct loop_timer end;
    struct buf in;
    struct buf out;
    struct list jobs; // the first is under way
    size_t job_count;
    size_t queued; // bytes of code
    bool closing;
};

static void
job_free(struct job *j)
{
    list_remove(&j->link);
    j->repl->job_count--;
    j->repl->queued -= json_string_length(j->code);
    json_decref(j->code);
    free(j);
}

static void
job_stop(struct call *call, void *user)
{
    (void)call;
    struct job *j = user;
    j->call = NULL; // its code may be under way
}

static struct job *
job_new(struct repl *r, struct call *call, json_t *code)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->repl = r;
    j->call = call;
    j->code = code;
    list_init(&j->link);
    list_append(&r->jobs, &j->link);
    r->job_count++;
    r->queued += json_string_length(code);
    if (call != NULL) {
        call->stop = job_stop;
        call->user = j;
    }
    return j;
}

static void
job_fail(struct job *j, json_t *error)
{
    struct call *call = j->call;
    job_free(j);
    if (call != NULL)
        call_fail(call, error);
    else
        json_decref(error);
}

static json_t *
gone_error(void)
{
    return error_object("TypeError", "ENOENT", "Child process has already terminated");
}

static void
repl_disconnect(struct repl *r)
{
    if (r->socket.fd >= 0) {
        loop_watch_remove(r->loop, &r->socket);
        (void)close(r->socket.fd);
        r->socket.fd = -1;
    }
    while (!list_is_empty(&r->jobs))
        job_fail(CONTAINER_OF(r->jobs.next, struct job, link), gone_error());
}

static void
repl_ended(void *user)
{
    struct repl *r = user;
    repl_disconnect(r);
    loop_timer_stop(&r->end);
    buf_done(&r->in);
    buf_done(&r->out);
    free(r);
}

static const struct process_role repl_role = {.ended = repl_ended};

// It broke the protocol, or does not end: its process is killed, and its end does the rest.
static void
repl_break(struct repl *r)
{
    repl_disconnect(r);
    process_terminate(r->processes, r->pid);
}

// Sending.

static void
flush(struct repl *r)
{
    while (r->socket.fd >= 0 && buf_size(&r->out) > 0) {
        ssize_t n = send(r->socket.fd, buf_bytes(&r->out), buf_size(&r->out), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        buf_consume(&r->out, (size_t)n);
    }
    if (r->socket.fd >= 0)
        loop_watch_change(r->loop, &r->socket,
                          EPOLLIN | (buf_size(&r->out) > 0 ? (unsigned)EPOLLOUT : 0));
}

// Takes code.
static void
send_code(struct repl *r, json_t *code, bool output)
{
    json_t *message = json_pack("{s:s, s:o, s:b}", "type", "Run", "code", code, "output", output);
    cleanup_free char *text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    size_t size = text != NULL ? strlen(text) : 0;
    const uint8_t head[SIZE_BYTES] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                                      (uint8_t)(size >> 24)};
    if (text == NULL || buf_append(&r->out, head, sizeof head) < 0 ||
        buf_append(&r->out, text, size) < 0)
        repl_break(r);
    else
        flush(r);
}

static void
go_on(struct repl *r)
{
    if (list_is_empty(&r->jobs))
        return;
    struct job *j = CONTAINER_OF(r->jobs.next, struct job, link);
    switch (j->stage) {
    case STAGE_CODE:
        send_code(r, json_incref(j->code), false);
        break;
    case STAGE_VALUE:
        send_code(r, json_string(repl_show_value), true);
        break;
    case STAGE_ERROR:
    default:
        send_code(r, json_string(repl_show_error), true);
        break;
    }
}

// What came back.

static json_t *
parse(const json_t *reply)
{
    const json_t *text = json_object_get(reply, "output");
    return json_loadb(json_string_value(text) != NULL ? json_string_value(text) : "",
                      json_string_length(text), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

// "Name: what is wrong", as deno tells of code that is none.
static json_t *
syntax_error(const json_t *reply)
{
    const char *text = json_string_value(json_object_get(reply, "error"));
    if (text == NULL)
        text = "Error: the REPL could not evaluate this";
    const char *colon = strstr(text, ": ");
    bool named = colon != NULL && strncmp(text, "SyntaxError", (size_t)(colon - text)) == 0;
    return error_object(named ? "SyntaxError" : "Error", NULL, named ? colon + 2 : text);
}

static json_t *
thrown_error(const json_t *reply)
{
    json_t *told = parse(reply);
    const char *constructor = json_string_value(json_object_get(told, "constructorName"));
    const char *message = json_string_value(json_object_get(told, "message"));
    const char *code = json_string_value(json_object_get(told, "code"));
    const char *name = json_string_value(json_object_get(told, "name"));
    const json_t *stack = json_object_get(told, "stack");
    if (constructor == NULL || message == NULL) {
        json_decref(told);
        return error_object("Error", NULL, "Uncaught exception that cannot be shown");
    }
    // To clients that pair says that the process is gone.
    if (code != NULL && strcmp(constructor, "TypeError") == 0 && strcmp(code, "ENOENT") == 0)
        code = NULL;
    json_t *error = error_object(constructor, code, message);
    if (name != NULL)
        (void)json_object_set_new(error, "name", json_string(name));
    if (json_is_string(stack) && json_string_length(stack) <= STACK_MAX)
        (void)json_object_set(error, "stack", json_incref(json_object_get(told, "stack")));
    json_decref(told);
    return error;
}

static void
show_value(struct job *j, const json_t *reply)
{
    json_t *value = parse(reply);
    struct call *call = j->call;
    if (value == NULL) {
        job_fail(j, error_object("Error", NULL, "The value cannot be shown as JSON"));
        return;
    }
    job_free(j);
    if (call != NULL)
        call_ok(call, value);
    else
        json_decref(value);
}

// The first job has got its answer; it goes on, or ends.
static void
take_reply(struct repl *r, const json_t *reply)
{
    const char *type = json_string_value(json_object_get(reply, "type"));
    struct job *j = CONTAINER_OF(r->jobs.next, struct job, link);
    bool success = type != NULL && strcmp(type, "RunSuccess") == 0;
    bool failure = type != NULL && strcmp(type, "RunFailure") == 0;
    if (!success && !failure)
        job_fail(j, syntax_error(reply));
    else if (j->stage == STAGE_CODE && j->call == NULL)
        job_free(j);
    else if (j->stage == STAGE_ERROR)
        job_fail(j, thrown_error(reply));
    else if (failure)
        j->stage = STAGE_ERROR;
    else if (j->stage == STAGE_CODE)
        j->stage = STAGE_VALUE;
    else
        show_value(j, reply);
    go_on(r);
}

// Whether there was a whole reply in what has come.
static bool
take_one(struct repl *r)
{
    const uint8_t *p = buf_bytes(&r->in);
    if (buf_size(&r->in) < SIZE_BYTES)
        return false;
    size_t size = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (size > DENO_REPL_REPLY_MAX || list_is_empty(&r->jobs)) {
        repl_break(r);
        return false;
    }
    if (buf_size(&r->in) - SIZE_BYTES < size)
        return false;
    json_t *reply = json_loadb((const char *)p + SIZE_BYTES, size, JSON_ALLOW_NUL, NULL);
    buf_consume(&r->in, SIZE_BYTES + size);
    if (reply == NULL) {
        repl_break(r);
        return false;
    }
    take_reply(r, reply);
    json_decref(reply);
    return r->socket.fd >= 0;
}

static void
socket_ready(void *user, uint32_t events)
{
    struct repl *r = user;
    if (events & EPOLLOUT)
        flush(r);
    uint8_t *room = buf_reserve(&r->in, READ_SIZE);
    ssize_t n = room != NULL ? recv(r->socket.fd, room, READ_SIZE, MSG_DONTWAIT) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        repl_break(r);
        return;
    }
    buf_commit(&r->in, (size_t)n);
    while (take_one(r))
        ;
}

// Methods.

static void
end_expired(void *user)
{
    repl_break(user);
}

static struct repl *
repl_new(struct call *call, int *ret_fd)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return NULL;
    struct repl *r = xcalloc(1, sizeof *r);
    r->loop = call_guest(call)->loop;
    r->processes = call_guest(call)->processes;
    r->socket = (struct loop_watch){.fd = ends[0], .ready = socket_ready, .user = r};
    loop_timer_init(&r->end, end_expired, r);
    buf_init(&r->in, DENO_REPL_REPLY_MAX + SIZE_BYTES + READ_SIZE);
    buf_init(&r->out, 8 * (size_t)DENO_REPL_QUEUED_MAX);
    list_init(&r->jobs);
    if (loop_watch_add(r->loop, &r->socket, EPOLLIN) < 0) {
        (void)close(ends[0]);
        (void)close(ends[1]);
        free(r);
        errno = EMFILE;
        return NULL;
    }
    *ret_fd = ends[1];
    return r;
}

void
deno_repl(struct call *call, const json_t *params)
{
    int fd = -1;
    struct repl *r = repl_new(call, &fd);
    if (r == NULL) {
        call_fail_errno(call, errno, "spawn", "deno");
        return;
    }
    json_t *args = json_pack("[s, s, s]", "repl", "--json", "--");
    (void)json_array_extend(args, json_object_get(params, "scriptArgs"));
    (void)job_new(r, NULL, json_string(repl_prelude));
    go_on(r);
    const struct process_request request = {
        .command = "deno", .args = args, .inherited = fd, .role = &repl_role, .user = r};
    process_start(call, params, &request);
    json_decref(args);
    (void)close(fd);
}

static struct repl *
find(const struct call *call, const json_t *params)
{
    uint64_t pid = 0;
    (void)param_index(params, "pid", &pid);
    struct repl *r = process_role_user(call_guest(call)->processes, pid, &repl_role);
    if (r != NULL)
        r->pid = pid;
    return r != NULL && !r->closing && r->socket.fd >= 0 ? r : NULL;
}

// Takes code.
static void
evaluate(struct call *call, const json_t *params, json_t *code)
{
    struct repl *r = find(call, params);
    if (r == NULL) {
        call_fail(call, gone_error());
    } else if (r->job_count >= DENO_REPL_QUEUE_MAX ||
               r->queued + json_string_length(code) > DENO_REPL_QUEUED_MAX) {
        call_fail(call, error_object("RangeError", NULL, "Too much waits for this REPL already"));
    } else {
        (void)job_new(r, call, code);
        if (r->job_count == 1)
            go_on(r);
        return;
    }
    json_decref(code);
}

void
deno_repl_eval(struct call *call, const json_t *params)
{
    evaluate(call, params, json_incref(json_object_get(params, "code")));
}

void
deno_repl_call(struct call *call, const json_t *params)
{
    const json_t *args = param_value(params, "args");
    cleanup_free char *list = json_dumps(args, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_t *text = json_string(list != NULL ? list : "[]");
    cleanup_free char *quoted = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    json_decref(text);
    // Parsed there, so that a member named __proto__ is one.
    cleanup_free char *code =
        xasprintf("await (\n%s\n)(...JSON.parse(%s))", param_text(params, "fn"), quoted);
    evaluate(call, params, json_string(code));
}

void
deno_repl_close(struct call *call, const json_t *params)
{
    struct repl *r = find(call, params);
    call_ok_null(call);
    if (r == NULL)
        return;
    r->closing = true;
    bool idle = list_is_empty(&r->jobs);
    while (!list_is_empty(&r->jobs))
        job_fail(CONTAINER_OF(r->jobs.next, struct job, link), gone_error());
    if (!idle) {
        repl_break(r);
        return;
    }
    (void)job_new(r, NULL, json_string("Deno.exit(0)"));
    go_on(r);
    loop_timer_start(r->loop, &r->end, DENO_REPL_END_MS);
}
