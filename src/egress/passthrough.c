// SPDX-License-Identifier: Apache-2.0
// Relays bytes between the sandbox and the host it reached. Each direction stops reading while the
// other side's queue is full, and ends on its own.
#include "egress/connection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "egress/audit.h"
#include "egress/upstream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_MAX = STREAM_HIGH_MARK };

struct relay;

struct side {
    struct relay *relay;
    struct stream *stream; // NULL: closed or not there yet
    struct side *other;
    uint64_t bytes; // read from it
    bool ended;     // it has sent its all
};

struct relay {
    struct worker *worker;
    struct destination to;
    struct side client;
    struct side host;
    struct upstream_dial *dial;
    struct buf first;
    int64_t began_ms;
    int64_t active_ms;
    bool timer_closed;
    uv_timer_t idle;
};

static void
release(struct relay *r)
{
    if (r->client.stream != NULL || r->host.stream != NULL || !r->timer_closed)
        return;
    buf_done(&r->first);
    free(r);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct relay *r = handle->data;
    r->timer_closed = true;
    release(r);
}

static void
finish(struct relay *r)
{
    char up[24];
    char down[24];
    char ms[24];
    (void)snprintf(up, sizeof up, "%" PRIu64, r->client.bytes);
    (void)snprintf(down, sizeof down, "%" PRIu64, r->host.bytes);
    (void)snprintf(ms, sizeof ms, "%" PRId64, clock_monotonic_ms() - r->began_ms);
    // Too late to undo it if the audit is full: new connections will be refused.
    (void)audit_emit(r->worker->audit, AUDIT_PASSTHROUGH, &r->to, "bytes_up", up, "bytes_down",
                     down, "ms", ms, NULL);
    r->worker->connections--;
    uv_close((uv_handle_t *)&r->idle, on_timer_closed);
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct side *s = user;
    s->bytes += size;
    s->relay->active_ms = (int64_t)uv_now(s->relay->worker->loop);
    if (s->other->stream != NULL && stream_write(s->other->stream, data, size) == 1)
        stream_read_stop(s->stream);
}

static void
on_end(void *user)
{
    struct side *s = user;
    s->ended = true;
    if (s->other->stream != NULL)
        stream_shutdown(s->other->stream);
}

static void
on_drain(void *user)
{
    struct side *s = user;
    if (s->other->stream != NULL)
        stream_read_start(s->other->stream);
}

static void
on_close(void *user, const struct error *why)
{
    struct side *s = user;
    struct relay *r = s->relay;
    s->stream = NULL;
    if (r->dial != NULL) {
        upstream_cancel(r->dial);
        r->dial = NULL;
    }
    if (s->other->stream == NULL) {
        finish(r);
        return;
    }
    // Where both have sent their all, the other one ends by itself once its queue is written. Any
    // other end is an abort, and shows as one on the other side.
    if (why == NULL && s->ended && s->other->ended)
        return;
    stream_set_reset(s->other->stream);
    stream_close(s->other->stream);
}

static const struct stream_events relay_events = {
    .on_data = on_data, .on_end = on_end, .on_drain = on_drain, .on_close = on_close};

static void
on_idle(uv_timer_t *timer)
{
    struct relay *r = timer->data;
    int64_t left = r->active_ms + CONNECTION_IDLE_MS - (int64_t)uv_now(r->worker->loop);
    if (left > 0) {
        (void)uv_timer_start(timer, on_idle, (uint64_t)left, 0);
        return;
    }
    if (r->client.stream != NULL)
        stream_close(r->client.stream);
    else if (r->host.stream != NULL)
        stream_close(r->host.stream);
}

static void
on_dialled(void *user, struct stream *s, const struct sockaddr *peer, const struct error *err)
{
    struct relay *r = user;
    (void)peer;
    r->dial = NULL;
    if (s == NULL) {
        struct stream *client = r->client.stream;
        r->client.stream = NULL;
        deny_start(r->worker, client, &r->to,
                   err->code == ERR_FORBIDDEN ? DENY_POLICY : DENY_UPSTREAM, err->msg,
                   buf_bytes(&r->first), buf_size(&r->first));
        uv_close((uv_handle_t *)&r->idle, on_timer_closed);
        return;
    }
    r->host.stream = s;
    stream_set_user(s, &relay_events, &r->host);
    r->active_ms = (int64_t)uv_now(r->worker->loop);
    (void)uv_timer_start(&r->idle, on_idle, CONNECTION_IDLE_MS, 0);
    stream_read_start(s);
    r->client.bytes = buf_size(&r->first);
    if (buf_size(&r->first) == 0 || stream_write(s, buf_bytes(&r->first), buf_size(&r->first)) == 0)
        stream_read_start(r->client.stream);
    buf_done(&r->first);
}

void
passthrough_start(struct worker *w, struct stream *client, const struct destination *to,
                  const uint8_t *first, size_t first_size)
{
    struct relay *r = xcalloc(1, sizeof *r);
    r->worker = w;
    r->to = *to;
    r->began_ms = clock_monotonic_ms();
    r->client = (struct side){.relay = r, .stream = client, .other = &r->host};
    r->host = (struct side){.relay = r, .other = &r->client};
    (void)uv_timer_init(w->loop, &r->idle);
    r->idle.data = r;
    buf_init(&r->first, FIRST_MAX);
    stream_set_user(client, &relay_events, &r->client);
    if (first_size > 0 && buf_append(&r->first, first, first_size) < 0) {
        stream_close(client);
        return;
    }
    r->dial = upstream_connect(w->dialer, to, on_dialled, r);
}
