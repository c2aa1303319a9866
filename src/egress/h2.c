// SPDX-License-Identifier: Apache-2.0
// Two nghttp2 sessions, back to back: we are the server of the client's and the client of the
// host's. A frame that comes on one side becomes, through a stream (h2-stream.c, h2-answer.c),
// something submitted on the other; after each block that was received, both sides write what they
// have (run).
//
// Bounds. Bodies: windows are given back only for what the other side took (h2-pipe.c), and frames
// are made only while the socket takes them. Heads: one at a time is received on each side, and
// streams are counted. Frames that make us answer, and carry nothing, are counted (h2-peer.c); a
// peer that does not read our answers is no longer read.
//
// The client's stream decides how long all this lives: its on_close is the end. Upstream is never
// replaced: when it ends, or says GOAWAY, the client gets GOAWAY (drain), what is under way ends,
// and the client opens a new connection. Ways to end as for HTTP/1.1 (exchange.c). When the client
// goes first and nothing is under way, upstream waits for the next one (h2-idle.c). A host may have
// ended such a session before it sees the request: one that is safe is then "not processed" to the
// client, which tries again itself, as HTTP/1.1's are tried again here.
#include "egress/h2-internal.h"

#include "base/mem.h"
#include "egress/audit.h"

#include <stdio.h>
#include <stdlib.h>

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

void
h2_touch(struct h2 *h)
{
    h->active_ms = uv_now(h->w->loop);
}

// --- ending ---

void
h2_drain(struct h2 *h)
{
    struct h2_peer *c = &h->client;
    if (h->draining || c->session == NULL || c->failed)
        return;
    h->draining = true;
    (void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(c->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
}

static void
drop_upstream(struct h2 *h)
{
    struct stream *s = h->upstream.stream;
    h->upstream.stream = NULL;
    h->upstream.full = false;
    if (s != NULL) {
        stream_set_user(s, &no_events, NULL);
        stream_close(s);
    }
}

static void
lose_stream(struct h2_stream *s, const char *why)
{
    if (s->h2->upstream.unproved && s->is_safe)
        h2_stream_upstream_closed(s, NGHTTP2_REFUSED_STREAM);
    else if (s->client_open && !h2_stream_has_response(s) && !s->refused)
        h2_stream_refuse_text(s, 502, "UPSTREAM_FAILED", why);
    h2_stream_upstream_closed(s, NGHTTP2_CANCEL);
    if (!s->client_open)
        h2_stream_free(s);
}

void
h2_lose_upstream(struct h2 *h, const char *why)
{
    drop_upstream(h);
    struct h2_stream *next;
    for (struct h2_stream *s = h->streams; s != NULL; s = next) {
        next = s->next;
        if (s->upstream_open)
            lose_stream(s, why);
    }
    h2_drain(h);
}

static void
end_client(struct h2 *h)
{
    if (h->ending)
        return;
    h->ending = true;
    h->ended_ms = uv_now(h->w->loop);
    h->unsent = stream_queued(h->client.stream);
    h2_idle_put(h);
    drop_upstream(h);
    stream_shutdown(h->client.stream);
}

static void
cut_client(struct h2 *h)
{
    h->ending = true;
    drop_upstream(h);
    stream_close(h->client.stream);
}

// --- running ---

static void
update_reading(const struct h2_peer *p)
{
    if (p->stream == NULL)
        return;
    bool deaf = p->full && p->session != NULL && !p->failed &&
                nghttp2_session_get_outbound_queue_size(p->session) > H2_FRAMES_WAITING_MAX;
    if (deaf)
        stream_read_stop(p->stream);
    else
        stream_read_start(p->stream);
}

static void
flush(struct h2 *h)
{
    bool more = true;
    while (more) {
        more = h2_peer_flush(&h->client);
        more = h2_peer_flush(&h->upstream) || more;
    }
}

// After anything that may have given a session something to say.
static void
run(struct h2 *h)
{
    if (h->ending || h->client.stream == NULL)
        return;
    flush(h);
    if (h->upstream.stream != NULL && h2_peer_is_over(&h->upstream)) {
        h2_lose_upstream(h, "the host ended the HTTP/2 session");
        flush(h);
    }
    if (h->client.abused && h->client.full)
        cut_client(h);
    else if (h2_peer_is_over(&h->client))
        end_client(h);
    if (!h->ending)
        update_reading(&h->upstream);
    update_reading(&h->client);
}

// --- events ---

static void on_tick(uv_timer_t *timer);

static void
on_upstream_data(void *user, const uint8_t *data, size_t size)
{
    struct h2 *h = user;
    h->upstream.unproved = false;
    h2_peer_receive(&h->upstream, data, size);
    run(h);
    // Streams without end must not keep the ticks from coming.
    if (h->any_paused && !h->ending && uv_now(h->w->loop) - h->tick_ms < TICK_MS)
        uv_timer_start(&h->timer, on_tick, SETTLE_MS, TICK_MS);
}

static void
lose_and_run(struct h2 *h, const char *why)
{
    h2_lose_upstream(h, why);
    run(h);
}

static void
on_upstream_end(void *user)
{
    lose_and_run(user, "the host closed the connection");
}

static void
on_upstream_close(void *user, const struct error *why)
{
    struct h2 *h = user;
    h->upstream.stream = NULL;
    lose_and_run(h, why != NULL ? why->msg : "the host closed the connection");
}

static void
on_upstream_drain(void *user)
{
    struct h2 *h = user;
    h->upstream.full = false;
    run(h);
}

static const struct stream_events upstream_events = {
    .on_data = on_upstream_data,
    .on_end = on_upstream_end,
    .on_drain = on_upstream_drain,
    .on_close = on_upstream_close,
};

static void
on_client_data(void *user, const uint8_t *data, size_t size)
{
    struct h2 *h = user;
    if (h->ending)
        return;
    h2_peer_receive(&h->client, data, size);
    run(h);
}

// It will send no more: requests that are not whole never will be.
static void
on_client_end(void *user)
{
    struct h2 *h = user;
    if (h->ending)
        return;
    for (struct h2_stream *s = h->streams; s != NULL; s = s->next) {
        if (!s->request_ended)
            h2_peer_reset(&h->client, s->client_id, NGHTTP2_CANCEL);
    }
    h2_drain(h);
    run(h);
}

static void
on_client_drain(void *user)
{
    struct h2 *h = user;
    h->client.full = false;
    h2_touch(h);
    run(h);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct h2 *h = handle->data;
    void (*done)(void *) = h->done;
    void *user = h->user;
    while (h->streams != NULL)
        h2_stream_free(h->streams);
    redact_free(h->spare);
    h2_peer_done(&h->client);
    h2_peer_done(&h->upstream);
    free(h);
    done(user);
}

static void
on_client_close(void *user, const struct error *why)
{
    (void)why;
    struct h2 *h = user;
    h->client.stream = NULL;
    h->ending = true;
    h2_idle_put(h);
    drop_upstream(h);
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}

static const struct stream_events client_events = {
    .on_data = on_client_data,
    .on_end = on_client_end,
    .on_drain = on_client_drain,
    .on_close = on_client_close,
};

// --- time ---

static void
linger(struct h2 *h, uint64_t now)
{
    size_t unsent = stream_queued(h->client.stream);
    if (unsent < h->unsent)
        h->ended_ms = now;
    h->unsent = unsent;
    if (now - h->ended_ms >= (unsent > 0 && !h->client.abused ? IDLE_TIME_MS : LINGER_MS))
        stream_close(h->client.stream);
}

static bool
is_late(const struct h2_peer *p, uint64_t now)
{
    return p->head_since_ms != 0 && now - p->head_since_ms >= HEAD_TIME_MS;
}

static void
settle(struct h2 *h)
{
    if (!h->any_paused || h->ending)
        return;
    h->any_paused = false;
    for (struct h2_stream *s = h->streams; s != NULL; s = s->next)
        h2_stream_settle(s);
    run(h);
}

static void
on_tick(uv_timer_t *timer)
{
    struct h2 *h = timer->data;
    uint64_t now = uv_now(h->w->loop);
    h->tick_ms = now;
    if (h->client.stream == NULL)
        return;
    settle(h);
    if (h->ending) {
        linger(h, now);
    } else if (is_late(&h->client, now)) {
        h2_peer_abort(&h->client, NGHTTP2_ENHANCE_YOUR_CALM);
        run(h);
    } else if (h->upstream.stream != NULL && is_late(&h->upstream, now)) {
        lose_and_run(h, "the host's response head did not come in time");
    } else if (now - h->active_ms >= IDLE_TIME_MS && h->streams == NULL) {
        h2_drain(h);
        run(h);
    } else if (now - h->active_ms >= IDLE_TIME_MS) {
        cut_client(h);
    }
}

// --- beginning ---

static void
keep_refusal(struct h2 *h, const struct refusal *r)
{
    h->refuse_all = true;
    h->refusal = *r;
    (void)snprintf(h->refusal_message, sizeof h->refusal_message, "%s", r->message);
    h->refusal.message = h->refusal_message;
}

static int
open_peers(struct h2 *h)
{
    struct error err = {0};
    h->client.h2 = h->upstream.h2 = h;
    h->client.role = H2_CLIENT;
    h->upstream.role = H2_UPSTREAM;
    if (h2_peer_open(&h->client, &err) != 0)
        return -1;
    bool fresh = h->upstream.stream != NULL && h->upstream.session == NULL;
    return fresh ? h2_peer_open(&h->upstream, &err) : 0;
}

void
h2_start(struct worker *w, const struct h2_options *options)
{
    struct h2 *h = xcalloc(1, sizeof *h);
    h->w = w;
    h->to = *options->to;
    h->done = options->done;
    h->user = options->user;
    h->client.stream = options->client;
    h->upstream.stream = options->upstream;
    if (options->refusal != NULL)
        keep_refusal(h, options->refusal);
    if (options->idle != NULL)
        h2_idle_use(options->idle, h);
    uv_timer_init(w->loop, &h->timer);
    h->timer.data = h;
    h->tick_ms = uv_now(w->loop);
    uv_timer_start(&h->timer, on_tick, TICK_MS, TICK_MS);
    h2_touch(h);
    stream_set_user(h->client.stream, &client_events, h);
    if (h->upstream.stream != NULL)
        stream_set_user(h->upstream.stream, &upstream_events, h);
    if (open_peers(h) != 0) {
        cut_client(h);
        return;
    }
    if (h->upstream.stream == NULL && !h->refuse_all)
        h2_drain(h);
    run(h);
}
