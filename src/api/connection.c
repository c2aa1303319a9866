// SPDX-License-Identifier: Apache-2.0
// Theory of operation.
//
// A connection reads a head into `in`, looks its route up, checks the token, then reads the body
// (if any) into `body`, and calls the handler. The token comes before the body, so that nobody
// unknown makes us hold one. The next request of a keep-alive connection is looked at after the
// answer.
//
// Limits: bytes of a head and of a body, time for each, connections at once, and how many
// connections may hold a large head at once: memory that a stranger can make us use is bounded by
// CONNECTIONS_MAX * HEAD_MAX + HEADS_LARGE_MAX * HEAD_CREATE_MAX, times two for growing buffers.
// Answers that the client does not read count, too: when the stream is full of them, the next
// request is neither read nor begun before it drains.
//
// After an error that leaves the framing in doubt, and after the last answer, the connection
// lingers: our direction is shut, what still comes is thrown away for a moment. Closing at once
// would make the kernel send RST, which may destroy the answer on its way.
#include "api/server-internal.h"

#include "api/routes.h"
#include "base/ident.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void
on_timer_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    server_forget(c->server, c);
    buf_done(&c->in);
    buf_done(&c->body);
    free(c);
}

static void
release(struct connection *c)
{
    c->stream = NULL;
    c->state = CONNECTION_CLOSED;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

static void
on_timeout(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    stream_close(c->stream);
}

void
connection_set_state(struct connection *c, enum connection_state next, uint64_t wait_ms)
{
    static const bool legal[CONNECTION_STATE_MAX][CONNECTION_STATE_MAX] = {
        [CONNECTION_IDLE] = {[CONNECTION_HEAD] = true, [CONNECTION_LINGER] = true},
        [CONNECTION_HEAD] =
            {[CONNECTION_BODY] = true, [CONNECTION_LINGER] = true, [CONNECTION_IDLE] = true},
        [CONNECTION_BODY] = {[CONNECTION_DEFERRED] = true,
                             [CONNECTION_IDLE] = true,
                             [CONNECTION_LINGER] = true,
                             [CONNECTION_SWITCHED] = true},
        [CONNECTION_DEFERRED] =
            {[CONNECTION_IDLE] = true, [CONNECTION_LINGER] = true, [CONNECTION_SWITCHED] = true},
    };
    assert(legal[c->state][next]);
    c->state = next;
    if (wait_ms > 0)
        (void)uv_timer_start(&c->timer, on_timeout, wait_ms, 0);
    else
        (void)uv_timer_stop(&c->timer);
}

void
connection_write(struct connection *c, const void *data, size_t size)
{
    if (stream_write(c->stream, data, size) == 1)
        c->full = true;
}

// A large head is gone: its place and its memory go back, whatever came behind it moves over.
static void
release_large(struct connection *c)
{
    struct buf rest;
    buf_init_secret(&rest, IN_MAX);
    if (buf_size(&c->in) > 0 && buf_append(&rest, buf_bytes(&c->in), buf_size(&c->in)) < 0)
        stream_close(c->stream); // out of memory
    buf_done(&c->in);
    c->in = rest;
    c->server->heads_large--;
    c->large = false;
}

void
connection_drop_head(struct connection *c)
{
    struct request *r = &c->request;
    buf_consume(&c->in, c->head_size);
    c->head_size = 0;
    c->scanned = c->tried = 0;
    if (c->large)
        release_large(c);
    r->head = (struct h1_head){0};
    r->path = r->query = r->id = (struct h1_span){"", 0};
}

static bool
is_create(const struct buf *in)
{
    static const char start[] = "GET /api/v3/sandboxes/create ";
    size_t n = sizeof start - 1;
    return buf_size(in) >= n && memcmp(buf_bytes(in), start, n) == 0;
}

// Is there room for more of this head? Answers the request if not.
static bool
head_may_grow(struct connection *c)
{
    size_t size = buf_size(&c->in);
    struct request *r = &c->request;
    if (size < HEAD_MAX)
        return true;
    if (!is_create(&c->in)) {
        request_fail(r, ERR_HEADER_TOO_LARGE, "the request's head is over %d bytes", HEAD_MAX);
        return false;
    }
    if (size >= HEAD_CREATE_MAX) {
        request_fail(r, ERR_HEADER_TOO_LARGE,
                     "the request's head is over %d bytes: x-deno-sandbox-config may hold 256 KiB",
                     HEAD_CREATE_MAX);
        return false;
    }
    if (!c->large && c->server->heads_large == HEADS_LARGE_MAX) {
        request_fail(r, ERR_UNAVAILABLE, "too many large requests at once; try again later");
        return false;
    }
    if (!c->large)
        c->server->heads_large++;
    c->large = true;
    return true;
}

// A head that comes byte by byte must not be parsed from its start each time: an attempt is made
// when its end is there, and else only when it has doubled (to refuse rubbish early).
static bool
is_worth_parsing(struct connection *c)
{
    static const char end[] = "\r\n\r\n";
    size_t size = buf_size(&c->in);
    size_t from = c->scanned > 3 ? c->scanned - 3 : 0;
    bool has_end = memmem(buf_bytes(&c->in) + from, size - from, end, sizeof end - 1) != NULL;
    c->scanned = size;
    if (!has_end && size < 2 * c->tried)
        return false;
    c->tried = size;
    return true;
}

static void
split_target(struct request *r)
{
    const char *target = r->head.target.data;
    size_t size = r->head.target.size;
    const char *mark = memchr(target, '?', size);
    r->path = (struct h1_span){target, mark != NULL ? (size_t)(mark - target) : size};
    r->query = mark != NULL ? (struct h1_span){mark + 1, size - r->path.size - 1}
                            : (struct h1_span){"", 0};
}

static bool
check_token(struct connection *c)
{
    struct request *r = &c->request;
    struct error err = {0};
    size_t count = 0;
    if (r->route->flags & ROUTE_OPEN)
        return true;
    const struct h1_field *f = h1_find(&r->head, "authorization", &count);
    bool single = count == 1;
    if (auth_check(r->api->auth, single ? f->value.data : NULL, single ? f->value.size : 0, &err) ==
        0)
        return true;
    request_answer_error(r, &err);
    return false;
}

static bool
find_route(struct connection *c)
{
    struct request *r = &c->request;
    switch (routes_find(r->head.method, r->path, &r->route, &r->id, c->allow)) {
    case ROUTE_NO_PATH:
        request_fail(r, ERR_NOT_FOUND, "there is nothing at this path");
        return false;
    case ROUTE_NO_METHOD:
        request_fail(r, ERR_METHOD_NOT_ALLOWED, "this path knows only: %s", c->allow);
        return false;
    case ROUTE_FOUND:
    default:
        return true;
    }
}

static bool
has_content(const struct h1_head *head)
{
    return head->framing == H1_BODY_CHUNKED ||
           (head->framing == H1_BODY_LENGTH && head->content_length > 0);
}

// The head is whole: c->state becomes BODY, or the request is answered.
static void
begin_request(struct connection *c)
{
    struct request *r = &c->request;
    c->keep_alive = r->head.keep_alive;
    c->is_head_method = h1_span_is(r->head.method, "HEAD");
    split_target(r);
    // An error before the body is read leaves the body in the way of the next request.
    bool has_body = has_content(&r->head);
    bool keep_alive = c->keep_alive;
    c->keep_alive = keep_alive && !has_body;
    if (!find_route(c) || !check_token(c))
        return;
    if (r->head.framing == H1_BODY_LENGTH && r->head.content_length > BODY_MAX) {
        request_fail(r, ERR_TOO_LARGE, "the request's body is over %d bytes", BODY_MAX);
        return;
    }
    c->keep_alive = keep_alive;
    h1_body_init(&c->framing, &r->head);
    connection_set_state(c, CONNECTION_BODY, BODY_WAIT_MS);
    if (r->head.expect_continue && has_body && buf_size(&c->in) == c->head_size)
        connection_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static void
start_request(struct connection *c)
{
    uint8_t raw[REQUEST_TRACE_SIZE / 2];
    struct request *r = &c->request;
    *r = (struct request){.api = c->server->api, .connection = c};
    r->path = r->query = r->id = r->body = (struct h1_span){"", 0};
    ident_random_bytes(raw, sizeof raw);
    for (size_t i = 0; i < sizeof raw; i++) {
        r->trace[2 * i] = "0123456789abcdef"[raw[i] >> 4];
        r->trace[2 * i + 1] = "0123456789abcdef"[raw[i] & 15];
    }
    c->answered = false;
    c->keep_alive = false;
    c->is_head_method = false;
    c->head_size = c->scanned = c->tried = 0;
    c->allow[0] = '\0';
    connection_set_state(c, CONNECTION_HEAD, HEAD_WAIT_MS);
}

static int
problem_code(int status)
{
    switch (status) {
    case 413:
        return ERR_TOO_LARGE;
    case 431:
    case 414:
        return ERR_HEADER_TOO_LARGE;
    case 501:
        return ERR_UNSUPPORTED;
    default:
        return ERR_INVALID_REQUEST;
    }
}

// True: go on with the next state; false: more bytes are needed.
static bool
advance_head(struct connection *c)
{
    struct h1_problem problem = {0};
    struct request *r = &c->request;
    if (!is_worth_parsing(c)) {
        (void)head_may_grow(c);
        return false;
    }
    switch (
        h1_parse_request(buf_bytes(&c->in), buf_size(&c->in), &r->head, &c->head_size, &problem)) {
    case H1_MORE:
        (void)head_may_grow(c);
        return false;
    case H1_BAD:
        r->head = (struct h1_head){0};
        c->head_size = 0;
        request_fail(r, (enum error_code)problem_code(problem.status), "%s", problem.reason);
        return false;
    case H1_OK:
    default:
        break;
    }
    if (c->head_size > HEAD_MAX && !is_create(&c->in)) {
        request_fail(r, ERR_HEADER_TOO_LARGE, "the request's head is over %d bytes", HEAD_MAX);
        return false;
    }
    begin_request(c);
    return true;
}

// The buffer may have moved while the body came in: the spans are made again.
static void
renew_head(struct connection *c)
{
    struct request *r = &c->request;
    struct h1_problem problem = {0};
    enum h1_status status =
        h1_parse_request(buf_bytes(&c->in), c->head_size, &r->head, &c->head_size, &problem);
    assert(status == H1_OK);
    split_target(r);
    (void)routes_find(r->head.method, r->path, &r->route, &r->id, c->allow);
}

static void
run_handler(struct connection *c)
{
    struct request *r = &c->request;
    if (has_content(&r->head))
        renew_head(c);
    if (buf_size(&c->body) > 0)
        r->body = (struct h1_span){(const char *)buf_bytes(&c->body), buf_size(&c->body)};
    c->in_handler = true;
    r->route->handle(r);
    c->in_handler = false;
    assert(c->answered || c->state == CONNECTION_DEFERRED);
}

// The head stays at the head of `in` while the body behind it is taken away.
static void
drop_content(struct connection *c, size_t size)
{
    uint8_t *content = buf_bytes(&c->in) + c->head_size;
    c->in.tail -= size;
    memmove(content, content + size, buf_size(&c->in) - c->head_size);
}

static bool
advance_body(struct connection *c)
{
    size_t at = c->head_size;
    for (;;) {
        size_t used = 0;
        struct h1_span content = {NULL, 0};
        enum h1_status status = h1_body_feed(&c->framing, buf_bytes(&c->in) + at,
                                             buf_size(&c->in) - at, &used, &content);
        if (status == H1_BAD ||
            (content.size > 0 && buf_append(&c->body, content.data, content.size) < 0)) {
            c->keep_alive = false;
            request_fail(&c->request, status == H1_BAD ? ERR_INVALID_REQUEST : ERR_TOO_LARGE,
                         status == H1_BAD ? "the request's body is malformed"
                                          : "the request's body is too large");
            return false;
        }
        at += used;
        if (status == H1_OK || used == 0) {
            drop_content(c, at - c->head_size);
            if (status == H1_OK)
                run_handler(c);
            return status == H1_OK;
        }
    }
}

// Goes as far as the bytes reach. A handler that answers at once comes back here with the next
// state.
void
connection_advance(struct connection *c)
{
    for (;;) {
        switch (c->state) {
        case CONNECTION_IDLE:
            if (c->full)
                stream_read_stop(c->stream);
            if (c->full || buf_size(&c->in) == 0)
                return;
            start_request(c);
            break;
        case CONNECTION_HEAD:
            if (!advance_head(c))
                return;
            break;
        case CONNECTION_BODY:
            if (!advance_body(c))
                return;
            break;
        case CONNECTION_DEFERRED:
        case CONNECTION_LINGER:
        case CONNECTION_SWITCHED:
        case CONNECTION_CLOSED:
        case CONNECTION_STATE_MAX:
        default:
            return;
        }
    }
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct connection *c = user;
    if (c->state == CONNECTION_LINGER || c->state == CONNECTION_CLOSED)
        return;
    bool early = c->state == CONNECTION_DEFERRED;
    if ((early && buf_size(&c->in) + size > EARLY_MAX) || buf_append(&c->in, data, size) < 0) {
        stream_close(c->stream); // more than any state reads: it sends without waiting for answers
        return;
    }
    connection_advance(c);
}

static void
on_drain(void *user)
{
    struct connection *c = user;
    c->full = false;
    if (c->state != CONNECTION_IDLE)
        return;
    stream_read_start(c->stream);
    connection_advance(c);
}

static void
tell_gone(struct connection *c)
{
    void (*on_gone)(void *user) = c->on_gone;
    c->on_gone = NULL;
    if (on_gone != NULL)
        on_gone(c->user);
}

static void
on_end(void *user)
{
    struct connection *c = user;
    tell_gone(c);
    stream_shutdown(c->stream);
    (void)uv_timer_start(&c->timer, on_timeout, LINGER_WAIT_MS, 0);
}

static void
on_close(void *user, const struct error *why)
{
    struct connection *c = user;
    (void)why;
    tell_gone(c);
    connection_drop_head(c);
    release(c);
}

static const struct stream_events stream_callbacks = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_close,
};

void
connection_new(struct server *s, int fd)
{
    struct error err = {0};
    struct stream *stream = NULL;
    if (stream_from_fd(s->api->loop, fd, &stream, &err) < 0) {
        log_warn("cannot take a connection", "error", err.msg);
        return;
    }
    struct connection *c = xcalloc(1, sizeof *c);
    c->server = s;
    c->stream = stream;
    buf_init_secret(&c->in, IN_MAX);
    buf_init_secret(&c->body, BODY_MAX);
    (void)uv_timer_init(s->api->loop, &c->timer);
    c->timer.data = c;
    c->next = s->connections;
    if (c->next != NULL)
        c->next->prev = c;
    s->connections = c;
    s->connection_count++;
    (void)uv_timer_start(&c->timer, on_timeout, HEAD_WAIT_MS, 0);
    stream_set_user(stream, &stream_callbacks, c);
    stream_read_start(stream);
}

void
connection_end(struct connection *c)
{
    if (c->state == CONNECTION_SWITCHED)
        c->stop(c->user);
    else if (c->state != CONNECTION_CLOSED)
        stream_close(c->stream);
}

bool
connection_is_stranger(const struct connection *c)
{
    return c->state == CONNECTION_IDLE || c->state == CONNECTION_HEAD ||
           c->state == CONNECTION_LINGER;
}

void
request_release_switched(struct connection *c)
{
    assert(c->state == CONNECTION_SWITCHED);
    release(c);
}
