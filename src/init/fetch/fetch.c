// SPDX-License-Identifier: Apache-2.0
// A fetch is pending (its call waits for the head), then flowing (its stream goes to the client),
// then gone, at which its process is killed if it still runs.
//
// Back-pressure: frames are parsed only while the stream has room, the program's pipe is read only
// when all that was read is parsed, and the program reads from the network only what its pipe
// takes. So a client that does not read costs OUTQUEUE_HIGH and one buffer here, and the pipe.
//
// The request's body goes through a feed: what the program does not take waits in memory, then on
// the sandbox's disk.
//
// Invariants: call != NULL xor the head was answered; out != NULL only while a body flows; source
// is cleared before instream.c frees it.
#include "init/fetch/fetch-internal.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "init/feed.h"
#include "init/guest.h"
#include "init/identity.h"
#include "init/outqueue.h"
#include "init/process/process.h"
#include "init/process/spawn.h"
#include "wire/pack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const redirects[] = {"follow", "manual", "error", NULL};

const struct param fetch_params[] = {
    {"url", PARAM_NAME},
    {"method", PARAM_NAME, .optional = true},
    {"redirect", PARAM_CHOICE, .optional = true, .choices = redirects},
    {"abortId", PARAM_INDEX, .optional = true},
    {"bodyStreamId", PARAM_INDEX, .optional = true},
    {"pid", PARAM_INDEX, .optional = true},
    {0},
};

struct fetch {
    struct list link; // in owner.all
    struct fetches *owner;
    struct loop *loop;
    const struct channel *channel;
    bool abortable;
    uint64_t abort_id;
    struct call *call;
    struct outqueue *out;
    struct instream *source;
    struct feed *feed;
    int pidfd;
    struct loop_watch output;
    bool greeted;
    bool ended; // the program has closed its end
    bool full;  // the stream takes no more for now
    struct buf in;
};

struct fetches *
fetches_new(int program)
{
    struct fetches *fs = xcalloc(1, sizeof *fs);
    fs->program = program;
    fs->own = -1;
    list_init(&fs->all);
    return fs;
}

static void
fetch_free(struct fetch *f)
{
    struct instream *source = f->source;
    f->source = NULL;
    if (source != NULL)
        instream_refuse(source, NULL);
    feed_free(f->feed);
    if (f->output.fd >= 0) {
        loop_watch_remove(f->loop, &f->output);
        (void)close(f->output.fd);
    }
    if (f->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, f->pidfd, SIGKILL, NULL, 0);
        (void)close(f->pidfd);
    }
    list_remove(&f->link);
    f->owner->count--;
    buf_done(&f->in);
    free(f);
}

// Fails the call, or the stream that it became, with an error object (taken); frees the fetch.
static void
fetch_fail_with(struct fetch *f, json_t *error)
{
    if (f->call != NULL)
        call_fail(f->call, error);
    else if (f->out != NULL)
        outqueue_fail(f->out, error);
    else
        json_decref(error);
    fetch_free(f);
}

static void
fetch_fail(struct fetch *f, const char *message)
{
    fetch_fail_with(f, error_object("TypeError", NULL, message));
}

// The response.

static void arm(struct fetch *f);
static bool parse(struct fetch *f);

static void
stream_wanted(void *user)
{
    struct fetch *f = user;
    f->full = false;
    if (parse(f))
        arm(f);
}

static void
stream_gone(void *user)
{
    struct fetch *f = user;
    f->out = NULL;
    fetch_free(f);
}

static const struct outqueue_events stream_events = {.wanted = stream_wanted, .gone = stream_gone};

// False: the fetch is over and freed.
static bool
take_head(struct fetch *f, const uint8_t *data, size_t size)
{
    bool has_body = false;
    json_t *value = f->call != NULL ? fetch_head_json(data, size, &has_body) : NULL;
    if (value == NULL) {
        fetch_fail(f, "The response's head makes no sense or is too large");
        return false;
    }
    struct call *call = f->call;
    if (!has_body) {
        const uint32_t none = 0;
        f->call = NULL;
        call_ok_streams(call, value, &none, 1);
        fetch_free(f);
        return false;
    }
    f->out = outqueue_new(call->channel, &stream_events, f);
    if (f->out == NULL) {
        json_decref(value);
        fetch_fail(f, "Too many streams wait for the client");
        return false;
    }
    f->call = NULL;
    f->full = true; // until the client is ready for the stream
    outqueue_answer(f->out, call, value);
    return true;
}

static void
take_failure(struct fetch *f, const uint8_t *text, size_t size)
{
    cleanup_free char *message = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(message, text, size);
    fetch_fail(f, message);
}

static bool
take_frame(struct fetch *f, enum fetch_kind kind, const uint8_t *data, size_t size)
{
    bool in_order = kind == FETCH_HELLO ? !f->greeted && size == 0 : f->greeted;
    if (kind == FETCH_DATA || kind == FETCH_END)
        in_order = in_order && f->out != NULL;
    if (!in_order) {
        fetch_fail(f, "The response makes no sense");
        return false;
    }
    if (kind == FETCH_HELLO) {
        f->greeted = true;
    } else if (kind == FETCH_HEAD) {
        return take_head(f, data, size);
    } else if (kind == FETCH_DATA) {
        if (size > 0)
            f->full = !outqueue_push(f->out, data, size);
    } else if (kind == FETCH_FAIL) {
        take_failure(f, data, size);
        return false;
    } else {
        outqueue_end(f->out);
        fetch_free(f);
        return false;
    }
    return true;
}

// Takes the whole frames that there are and have room. False: the fetch is over and freed.
static bool
parse(struct fetch *f)
{
    while (!f->full && buf_size(&f->in) >= FETCH_FRAME_HEADER) {
        struct unpack u;
        unpack_init(&u, buf_bytes(&f->in), buf_size(&f->in));
        uint8_t kind = unpack_u8(&u);
        uint32_t size = unpack_u32(&u);
        if (kind >= FETCH_KIND_MAX || size > FETCH_CHUNK_MAX) {
            fetch_fail(f, "The response makes no sense");
            return false;
        }
        if (size > u.size)
            break;
        if (!take_frame(f, (enum fetch_kind)kind, u.data, size))
            return false;
        buf_consume(&f->in, FETCH_FRAME_HEADER + size);
    }
    if (!f->ended || f->full)
        return true;
    fetch_fail(f, f->greeted
                      ? "The request was ended from within the sandbox"
                      : "fetch cannot run in this image: it needs the library libcurl.so.4, of "
                        "Debian's package libcurl4");
    return false;
}

static void
arm(struct fetch *f)
{
    if (!f->full && !f->ended)
        loop_watch_change(f->loop, &f->output, EPOLLIN | EPOLLONESHOT);
}

static void
output_ready(void *user, uint32_t events)
{
    (void)events;
    struct fetch *f = user;
    uint8_t *room = buf_reserve(&f->in, FETCH_CHUNK_MAX);
    if (room == NULL)
        abort(); // the buffer holds less than a frame whenever the pipe is read
    ssize_t n = read(f->output.fd, room, FETCH_CHUNK_MAX);
    if (n > 0)
        buf_commit(&f->in, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        f->ended = true;
    if (parse(f))
        arm(f);
}

// The request's body.

static bool
source_data(void *user, const uint8_t *data, size_t size)
{
    struct fetch *f = user;
    int r = feed_push(f->feed, data, size);
    if (r == 0)
        return true;
    f->source = NULL; // whoever calls tells the client to stop
    if (r == -ENOSPC)
        fetch_fail(f, "The request's body does not fit the sandbox's disk");
    return false;
}

static void
source_end(void *user)
{
    struct fetch *f = user;
    f->source = NULL;
    feed_finish(f->feed);
}

static void
source_error(void *user, const json_t *error)
{
    struct fetch *f = user;
    const char *given = json_is_string(error)
                            ? json_string_value(error)
                            : json_string_value(json_object_get(error, "message"));
    cleanup_free char *message =
        xasprintf("The request's body failed: %.512s", given != NULL ? given : "no reason given");
    f->source = NULL;
    fetch_fail(f, message);
}

static void
source_gone(void *user)
{
    struct fetch *f = user;
    f->source = NULL; // the call or the stream goes with the client, too
}

static const struct instream_events source_events = {
    .data = source_data,
    .end = source_end,
    .error = source_error,
    .gone = source_gone,
};

// Start.

static void
on_input(void *user)
{
    (void)user;
}

struct pipes {
    int child[3];
    int own[2];
};

static void
pipes_close(struct pipes *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(p->child); i++)
        if (p->child[i] >= 0)
            (void)close(p->child[i]);
    for (size_t i = 0; i < ARRAY_SIZE(p->own); i++)
        if (p->own[i] >= 0)
            (void)close(p->own[i]);
}

static int
pipes_open(struct pipes *p)
{
    int ends[2];
    p->child[2] = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (p->child[2] < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    p->child[0] = ends[0];
    p->own[0] = ends[1];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    p->own[1] = ends[0];
    p->child[1] = ends[1];
    int r = fd_set_nonblock(p->own[0]);
    return r < 0 ? r : fd_set_nonblock(p->own[1]);
}

static int
run_program(struct fetch *f, const struct guest *guest, const struct pipes *p)
{
    static char name[] = "casemate-fetch";
    char *const argv[] = {name, NULL};
    int report;
    int program = fetch_program(f->owner);
    if (program < 0)
        return program;
    const struct spawn_plan plan = {
        .command = name,
        .argv = argv,
        .env = guest->env->entries,
        .cwd = "/",
        .stdio = {p->child[0], p->child[1], p->child[2]},
        .program = program,
    };
    pid_t pid = spawn_process(&plan, &report);
    if (pid < 0)
        return pid;
    // Why it does not run does not matter: that it does, it says itself.
    (void)close(report);
    f->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (f->pidfd < 0)
        (void)kill(pid, SIGKILL);
    return f->pidfd < 0 ? -EMFILE : 0;
}

// 0 or -errno.
static int
start_program(struct fetch *f, const struct guest *guest, const struct buf *request)
{
    struct pipes p __attribute__((cleanup(pipes_close))) = {{-1, -1, -1}, {-1, -1}};
    int r;
    {
        AS_APP_SCOPE();
        r = pipes_open(&p);
    }
    if (r == 0)
        r = run_program(f, guest, &p);
    if (r < 0)
        return r;
    f->output.fd = TAKE_FD(p.own[1]);
    r = loop_watch_add(f->loop, &f->output, EPOLLIN | EPOLLONESHOT);
    if (r < 0) {
        (void)close(f->output.fd);
        f->output.fd = -1;
        return r;
    }
    f->feed = feed_new(f->loop, TAKE_FD(p.own[0]), on_input, f);
    return f->feed != NULL ? feed_push(f->feed, buf_bytes(request), buf_size(request)) : -ENOMEM;
}

static void
call_stopped(struct call *call, void *user)
{
    (void)call;
    struct fetch *f = user;
    f->call = NULL;
    fetch_free(f);
}

static struct fetch *
fetch_new(struct call *call)
{
    struct fetch *f = xcalloc(1, sizeof *f);
    f->owner = call_guest(call)->fetches;
    f->loop = call_guest(call)->loop;
    f->channel = call->channel;
    f->abortable = call->abortable;
    f->abort_id = call->abort_id;
    f->call = call;
    f->pidfd = -1;
    f->output = (struct loop_watch){.fd = -1, .ready = output_ready, .user = f};
    buf_init(&f->in, 2 * (FETCH_FRAME_HEADER + FETCH_CHUNK_MAX));
    list_append(&f->owner->all, &f->link);
    f->owner->count++;
    call->stop = call_stopped;
    call->user = f;
    return f;
}

static void
begin(struct call *call, const struct buf *request, struct instream *source)
{
    const struct guest *guest = call_guest(call);
    struct fetch *f = fetch_new(call);
    f->source = source;
    int r = start_program(f, guest, request);
    if (r < 0) {
        fetch_fail_with(f, error_object_errno(-r, "fetch", NULL, NULL));
        return;
    }
    // Either may end the fetch at once.
    if (source != NULL)
        (void)instream_take(source, &source_events, f);
    else
        feed_finish(f->feed);
}

// NULL, or what is wrong with the call beside its request.
static const char *
check(const struct call *call, const json_t *params)
{
    const struct guest *guest = call_guest(call);
    uint64_t pid;
    static_assert(FETCHES_MAX == 128, "as the message tells");
    if (guest->fetches->count >= FETCHES_MAX)
        return "Too many fetches: 128 are in progress in this sandbox";
    if (param_index(params, "pid", &pid) && (pid == 0 || !processes_has(guest->processes, pid)))
        return "No such process";
    return NULL;
}

void
fetch_start(struct call *call, const json_t *params)
{
    uint64_t id;
    cleanup_buf struct buf request;
    buf_init(&request, FETCH_REQUEST_MAX + sizeof(uint32_t));
    bool has_body = param_index(params, "bodyStreamId", &id);
    struct instream *source = has_body ? instream_find(call->channel, id) : NULL;
    if (has_body && source == NULL) {
        call_fail_type(call, "Unknown stream");
        return;
    }
    const char *wrong = check(call, params);
    if (wrong == NULL)
        wrong = fetch_request_write(&request, params, has_body);
    if (wrong == NULL) {
        begin(call, &request, source);
        return;
    }
    if (source != NULL)
        instream_refuse(source, NULL);
    call_fail_type(call, wrong);
}

void
fetches_abort(struct fetches *fs, const struct channel *c, uint64_t abort_id)
{
    struct list *next;
    for (struct list *l = fs->all.next; l != &fs->all; l = next) {
        struct fetch *f = CONTAINER_OF(l, struct fetch, link);
        next = l->next;
        if (f->channel == c && f->abortable && f->abort_id == abort_id && f->call == NULL)
            fetch_fail_with(f, error_object_aborted());
    }
}
