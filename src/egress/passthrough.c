// SPDX-License-Identifier: Apache-2.0
// Relays bytes between the sandbox and the host it reached.
//
// DIAL: both ends are streams that nobody reads. RELAY: their sockets are taken out of the streams,
// and each direction moves within the kernel (splice.h) and ends on its own. What was read of the
// client before the connection was decided is written first, plainly; nothing else is ever read
// into this process. A direction waits for one thing at a time, its sender or its receiver, so a
// receiver that takes nothing stops its sender.
//
// Where a socket breaks, or an end comes of us, the other side sees a reset: no cut stream looks
// like a whole one.
#include "egress/connection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "egress/audit.h"
#include "egress/splice.h"
#include "egress/upstream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_MAX = STREAM_HIGH_MARK };

enum { CLIENT, HOST, SIDES };

struct relay;

struct side {
    struct relay *relay;
    int fd;
    bool polling; // poll is initialised
    uv_poll_t poll;
    struct splice out; // from here to the other side
    enum splice_wants wants;
};

struct relay {
    struct worker *worker;
    struct destination to;
    struct stream *client; // while dialling
    struct upstream_dial *dial;
    struct side sides[SIDES];
    struct buf first; // to be written to the host before what is spliced
    int64_t began_ms;
    int64_t active_ms;
    bool ended;
    unsigned handles; // not yet closed
    uv_timer_t idle;
    uv_timer_t turn; // the next turn of a direction that could have gone on
};

static void
on_handle_closed(uv_handle_t *handle)
{
    struct relay *r = handle->data;
    if (--r->handles > 0)
        return;
    for (int i = 0; i < SIDES; i++) {
        if (r->sides[i].fd >= 0)
            (void)close(r->sides[i].fd);
    }
    buf_done(&r->first);
    free(r);
}

static void
on_poll_closed(uv_handle_t *handle)
{
    handle->data = ((struct side *)handle->data)->relay;
    on_handle_closed(handle);
}

static void
close_handles(struct relay *r)
{
    r->ended = true;
    uv_close((uv_handle_t *)&r->idle, on_handle_closed);
    uv_close((uv_handle_t *)&r->turn, on_handle_closed);
    for (int i = 0; i < SIDES; i++) {
        splice_done(&r->sides[i].out);
        if (r->sides[i].polling)
            uv_close((uv_handle_t *)&r->sides[i].poll, on_poll_closed);
    }
}

static void
finish(struct relay *r)
{
    char up[24];
    char down[24];
    char ms[24];
    if (r->ended)
        return;
    (void)snprintf(up, sizeof up, "%" PRIu64, r->sides[CLIENT].out.bytes);
    (void)snprintf(down, sizeof down, "%" PRIu64, r->sides[HOST].out.bytes);
    (void)snprintf(ms, sizeof ms, "%" PRId64, clock_monotonic_ms() - r->began_ms);
    // Too late to undo it if the audit is full: new connections will be refused.
    (void)audit_emit(r->worker->audit, AUDIT_PASSTHROUGH, &r->to, "bytes_up", up, "bytes_down",
                     down, "ms", ms, NULL);
    r->worker->connections--;
    close_handles(r);
}

// Both sides see that it was not a regular end.
static void
abort_relay(struct relay *r)
{
    const struct linger reset = {.l_onoff = 1};
    if (r->ended)
        return;
    for (int i = 0; i < SIDES; i++) {
        if (r->sides[i].fd >= 0)
            (void)setsockopt(r->sides[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    finish(r);
}

// --- moving bytes ---

static void on_ready(uv_poll_t *poll, int status, int events);

// Interest in a socket is what the two directions that touch it want of it.
static void
update_poll(struct side *s, const struct side *other)
{
    int events = (s->wants == SPLICE_READ ? UV_READABLE : 0) |
                 (other->wants == SPLICE_WRITE ? UV_WRITABLE : 0);
    if (events != 0)
        (void)uv_poll_start(&s->poll, events, on_ready);
    else
        (void)uv_poll_stop(&s->poll);
}

static bool
may_pass(void *user, size_t size)
{
    (void)user;
    (void)size;
    return true;
}

static bool
may_leave(void *user, size_t size)
{
    struct relay *r = user;
    return worker_may_send(r->worker, size);
}

// True when there is nothing left of the first bytes.
static bool
send_first(struct relay *r, enum splice_wants *ret_wants)
{
    while (buf_size(&r->first) > 0) {
        ssize_t n = send(r->sides[HOST].fd, buf_bytes(&r->first), buf_size(&r->first),
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *ret_wants = errno == EAGAIN ? SPLICE_WRITE : SPLICE_BROKEN;
            return false;
        }
        buf_consume(&r->first, (size_t)n);
    }
    buf_done(&r->first);
    return true;
}

static void
move(struct relay *r, int from)
{
    struct side *s = &r->sides[from];
    const struct side *other = &r->sides[SIDES - 1 - from];
    uint64_t before = s->out.bytes;
    errno = 0;
    if (from == HOST || send_first(r, &s->wants))
        s->wants = splice_move(&s->out, s->fd, other->fd, from == CLIENT ? may_leave : may_pass, r);
    if (s->out.bytes != before || s->wants == SPLICE_TURN)
        r->active_ms = (int64_t)uv_now(r->worker->loop);
    if (s->wants == SPLICE_BROKEN && errno == EDQUOT)
        (void)audit_emit(r->worker->audit, AUDIT_LIMIT, &r->to, "reason", "max_tx_bytes", NULL);
}

static void on_turn(uv_timer_t *timer);

static void
settle(struct relay *r)
{
    struct side *client = &r->sides[CLIENT];
    struct side *host = &r->sides[HOST];
    if (client->wants == SPLICE_BROKEN || host->wants == SPLICE_BROKEN) {
        abort_relay(r);
        return;
    }
    if (client->wants == SPLICE_DONE && host->wants == SPLICE_DONE) {
        finish(r);
        return;
    }
    update_poll(client, host);
    update_poll(host, client);
    if (client->wants == SPLICE_TURN || host->wants == SPLICE_TURN)
        (void)uv_timer_start(&r->turn, on_turn, 0, 0);
}

static void
on_turn(uv_timer_t *timer)
{
    struct relay *r = timer->data;
    for (int i = 0; i < SIDES; i++) {
        if (r->sides[i].wants == SPLICE_TURN)
            move(r, i);
    }
    settle(r);
}

static void
on_ready(uv_poll_t *poll, int status, int events)
{
    struct side *s = poll->data;
    struct relay *r = s->relay;
    int from = s == &r->sides[CLIENT] ? CLIENT : HOST;
    // An error shows as both, and the call that meets it tells.
    bool readable = status < 0 || (events & UV_READABLE) != 0;
    bool writable = status < 0 || (events & UV_WRITABLE) != 0;
    if (readable && s->wants == SPLICE_READ)
        move(r, from);
    if (writable && r->sides[SIDES - 1 - from].wants == SPLICE_WRITE)
        move(r, SIDES - 1 - from);
    settle(r);
}

static void
on_idle(uv_timer_t *timer)
{
    struct relay *r = timer->data;
    int64_t left = r->active_ms + CONNECTION_IDLE_MS - (int64_t)uv_now(r->worker->loop);
    if (left > 0)
        (void)uv_timer_start(timer, on_idle, (uint64_t)left, 0);
    else
        abort_relay(r);
}

// --- before that ---

static int
take_socket(struct side *s, struct stream *stream)
{
    struct error err;
    s->fd = stream_detach(stream, &err);
    if (s->fd < 0) {
        stream_set_reset(stream);
        stream_close(stream);
        return -1;
    }
    if (uv_poll_init(s->relay->worker->loop, &s->poll, s->fd) < 0)
        return -1;
    s->poll.data = s;
    s->polling = true;
    s->relay->handles++;
    return 0;
}

static void
start_relay(struct relay *r, struct stream *host)
{
    size_t first = buf_size(&r->first);
    struct stream *client = r->client;
    r->client = NULL;
    stream_set_user(client, NULL, NULL);
    bool taken = take_socket(&r->sides[CLIENT], client) == 0;
    taken = take_socket(&r->sides[HOST], host) == 0 && taken;
    if (!taken || !worker_may_send(r->worker, first)) {
        (void)audit_emit(r->worker->audit, AUDIT_LIMIT, &r->to, "reason",
                         taken ? "max_tx_bytes" : "no descriptors", NULL);
        abort_relay(r);
        return;
    }
    r->sides[CLIENT].out.bytes = first;
    r->active_ms = (int64_t)uv_now(r->worker->loop);
    (void)uv_timer_start(&r->idle, on_idle, CONNECTION_IDLE_MS, 0);
    move(r, CLIENT);
    move(r, HOST);
    settle(r);
}

static void
on_dialled(void *user, struct stream *s, const struct sockaddr *peer, const struct error *err)
{
    struct relay *r = user;
    (void)peer;
    r->dial = NULL;
    if (s != NULL) {
        start_relay(r, s);
        return;
    }
    struct stream *client = r->client;
    r->client = NULL;
    deny_start(r->worker, client, &r->to, err->code == ERR_FORBIDDEN ? DENY_POLICY : DENY_UPSTREAM,
               err->msg, buf_bytes(&r->first), buf_size(&r->first));
    close_handles(r);
}

static void
on_client_close(void *user, const struct error *why)
{
    struct relay *r = user;
    (void)why;
    r->client = NULL;
    if (r->dial != NULL)
        upstream_cancel(r->dial);
    r->dial = NULL;
    finish(r);
}

static const struct stream_events dialling_events = {.on_close = on_client_close};

void
passthrough_start(struct worker *w, struct stream *client, const struct destination *to,
                  const uint8_t *first, size_t first_size)
{
    struct relay *r = xcalloc(1, sizeof *r);
    r->worker = w;
    r->to = *to;
    r->client = client;
    r->began_ms = clock_monotonic_ms();
    for (int i = 0; i < SIDES; i++)
        r->sides[i] = (struct side){.relay = r, .fd = -1};
    (void)uv_timer_init(w->loop, &r->idle);
    (void)uv_timer_init(w->loop, &r->turn);
    r->idle.data = r;
    r->turn.data = r;
    r->handles = 2;
    buf_init(&r->first, FIRST_MAX);
    stream_set_user(client, &dialling_events, r);
    if (first_size > 0 && buf_append(&r->first, first, first_size) < 0) {
        stream_close(client);
        return;
    }
    r->dial = upstream_connect(w->dialer, to, on_dialled, r);
}
