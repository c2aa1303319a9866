// SPDX-License-Identifier: Apache-2.0
// One request at a time. The request walks HEAD -> (DIAL) -> BODY -> SENT, the response NONE ->
// HEAD -> BODY -> NONE; when both are through, the next request's head is read. What the client
// sends ahead waits in in, at most IN_MAX. Bodies are never collected: a block that was read is
// written before the next is read, and a full queue on one side stops reading on the other.
//
// The client's stream decides how long the exchange lives: its on_close is the end. The upstream
// belongs to this exchange alone until then, and is given back for others (origin.h) if it ends
// between two requests; it is let go (detached, closed) whenever it could hold bytes of an earlier
// exchange that the next one must not see. A request of which any byte may have been
// sent is sent again only if it is safe (RFC 9110 9.2.1), has no body, and its host closed without
// a byte of an answer, as hosts do with connections that they were about to end; and once.
//
// Ways to end: end_client (our last bytes leave, at the client's pace as long as it reads at all,
// then we wait for it to close, LINGER_MS at most), cut_client (at once: the client must see that
// the response is not whole).
#include "egress/exchange-internal.h"

#include "base/mem.h"
#include "egress/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// --- small things ---

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

void
exchange_touch(struct exchange *x)
{
    x->active_ms = uv_now(x->w->loop);
}

void
exchange_update_reading(struct exchange *x)
{
    if (x->client != NULL) {
        bool room = buf_size(&x->in) < HEAD_MAX;
        bool wanted = x->request == REQUEST_HEAD || x->request == REQUEST_BODY || x->tunnel || room;
        if (x->ending || (wanted && !x->upstream_full))
            stream_read_start(x->client);
        else
            stream_read_stop(x->client);
    }
    if (x->upstream != NULL) {
        if (x->client_full)
            stream_read_stop(x->upstream);
        else
            stream_read_start(x->upstream);
    }
}

void
exchange_write_client(struct exchange *x, const void *data, size_t size)
{
    x->bytes_down += size;
    if (size > 0 && stream_write(x->client, data, size) == 1)
        x->client_full = true;
}

void
exchange_write_upstream(struct exchange *x, const void *data, size_t size)
{
    if (x->upstream == NULL || size == 0)
        return;
    if (!worker_may_send(x->w, size)) {
        (void)audit_emit(x->w->audit, AUDIT_LIMIT, &x->to, "reason", "max_tx_bytes", NULL);
        exchange_cut_client(x);
        return;
    }
    x->bytes_up += size;
    if (stream_write(x->upstream, data, size) == 1)
        x->upstream_full = true;
}

void
exchange_drop_upstream(struct exchange *x)
{
    struct stream *s = x->upstream;
    (void)exchange_audit_redacted(x); // of a response that ends here
    x->upstream = NULL;
    x->upstream_full = false;
    buf_clear(&x->from);
    x->from_searched = 0;
    if (s != NULL) {
        stream_set_user(s, &no_events, NULL);
        stream_close(s);
    }
    if (x->origin != NULL)
        origin_cancel(x->origin);
    x->origin = NULL;
}

// The client needs upstream no more. Between two requests it is as good as new.
static void
give_back_upstream(struct exchange *x)
{
    struct stream *s = x->upstream;
    if (s == NULL || !x->upstream_reusable || x->tunnel || x->response != RESPONSE_NONE ||
        x->request == REQUEST_BODY || buf_size(&x->from) > 0) {
        exchange_drop_upstream(x);
        return;
    }
    x->upstream = NULL;
    x->upstream_full = false;
    origin_keep(x->w, &x->to, x->plain, s);
}

void
exchange_end_client(struct exchange *x)
{
    if (x->ending)
        return;
    x->ending = true;
    x->ended_ms = uv_now(x->w->loop);
    x->unsent = stream_queued(x->client);
    give_back_upstream(x);
    buf_clear(&x->in);
    stream_shutdown(x->client);
    exchange_update_reading(x);
}

void
exchange_cut_client(struct exchange *x)
{
    x->ending = true;
    exchange_drop_upstream(x);
    stream_close(x->client);
}

// --- audit ---

int
exchange_audit_request(struct exchange *x, const char *reason)
{
    char method[METHOD_MAX + 1];
    struct audit_number number, status, up, down, ms;
    memcpy(method, x->method, x->method_size);
    method[x->method_size] = '\0';
    int r = audit_emit(
        x->w->audit, AUDIT_REQUEST, &x->to, "req", audit_number(&number, x->number), "method",
        x->method_size > 0 ? method : NULL, "path", x->method_size > 0 ? x->path : NULL, "status",
        audit_number(&status, (uint64_t)x->status), "bytes_up", audit_number(&up, x->bytes_up),
        "bytes_down", audit_number(&down, x->bytes_down), "ms",
        audit_number(&ms, x->began_ms > 0 ? uv_now(x->w->loop) - x->began_ms : 0), "reason", reason,
        NULL);
    x->bytes_up = x->bytes_down = x->began_ms = 0;
    return r;
}

int
exchange_audit_redacted(struct exchange *x)
{
    int rc = 0;
    for (size_t i = 0; i < policy_secret_count(x->w->policy); i++) {
        uint64_t count = redact_take_count(x->redact, i);
        if (x->frames != NULL)
            count += websocket_take_count(x->frames, i);
        struct audit_number times;
        if (count > 0)
            rc |= audit_emit(x->w->audit, AUDIT_REDACT, &x->to, "secret",
                             policy_secret_name(x->w->policy, i), "count",
                             audit_number(&times, count), NULL);
    }
    return rc;
}

// --- refusing ---

void
exchange_refuse(struct exchange *x, const struct refusal *r)
{
    if (x->ending)
        return;
    if (x->answered) {
        exchange_cut_client(x);
        return;
    }
    buf_clear(&x->out);
    if (refusal_write(r, &x->to, x->number, x->is_head, &x->out) != 0) {
        exchange_cut_client(x);
        return;
    }
    exchange_write_client(x, buf_bytes(&x->out), buf_size(&x->out));
    buf_clear(&x->out);
    x->answered = true;
    x->status = r->status;
    (void)exchange_audit_request(x, r->code);
    exchange_end_client(x);
}

void
exchange_refuse_text(struct exchange *x, int status, const char *code, const char *message)
{
    struct refusal r = {.status = status, .code = code, .message = message};
    exchange_refuse(x, &r);
}

// Upstream is of no more use: what does that mean for the request under way?
void
exchange_lose_upstream(struct exchange *x, const char *why)
{
    exchange_drop_upstream(x);
    if (x->ending)
        return;
    if (x->tunnel)
        exchange_cut_client(x);
    else if (x->repeatable && x->response == RESPONSE_HEAD)
        exchange_repeat(x);
    else if (x->response != RESPONSE_NONE)
        exchange_refuse_text(x, 502, "UPSTREAM_FAILED", why);
    else
        exchange_update_reading(x);
}

// --- events ---

static void
on_upstream_data(void *user, const uint8_t *data, size_t size)
{
    struct exchange *x = user;
    exchange_touch(x);
    if (x->repeatable)
        exchange_forget_head(x);
    if (x->tunnel) {
        exchange_pass_tunnel(x, data, size);
    } else if (x->response == RESPONSE_BODY) {
        exchange_take_response_body(x, data, size);
    } else if (x->response == RESPONSE_NONE) {
        exchange_drop_upstream(x); // an answer to nothing
    } else if (buf_append(&x->from, data, size) != 0) {
        exchange_lose_upstream(x, "the host's response head is too large");
    } else {
        exchange_upstream_pump(x);
    }
    exchange_update_reading(x);
}

static void
on_upstream_end(void *user)
{
    struct exchange *x = user;
    if (x->tunnel) {
        stream_shutdown(x->client);
    } else if (x->response == RESPONSE_BODY && x->response_body.framing == H1_BODY_UNTIL_CLOSE) {
        exchange_finish_until_close(x);
    } else {
        exchange_lose_upstream(x, "the host closed the connection");
    }
}

static void
on_upstream_close(void *user, const struct error *why)
{
    struct exchange *x = user;
    x->upstream = NULL;
    exchange_lose_upstream(x, why != NULL ? why->msg : "the host closed the connection");
}

static void
on_upstream_drain(void *user)
{
    struct exchange *x = user;
    x->upstream_full = false;
    exchange_touch(x);
    exchange_client_pump(x);
}

static const struct stream_events upstream_events = {
    .on_data = on_upstream_data,
    .on_end = on_upstream_end,
    .on_drain = on_upstream_drain,
    .on_close = on_upstream_close,
};

void
exchange_adopt_upstream(struct exchange *x, struct stream *s)
{
    x->upstream = s;
    x->upstream_full = false;
    x->upstream_reusable = true;
    stream_set_user(s, &upstream_events, x);
    exchange_update_reading(x);
}

static void
on_client_data(void *user, const uint8_t *data, size_t size)
{
    struct exchange *x = user;
    exchange_touch(x);
    if (x->ending)
        return;
    if (buf_append(&x->in, data, size) != 0) {
        exchange_cut_client(x);
        return;
    }
    exchange_client_pump(x);
}

static void
on_client_end(void *user)
{
    struct exchange *x = user;
    x->client_ended = true;
    if (x->ending)
        return;
    if (x->tunnel && x->upstream != NULL)
        stream_shutdown(x->upstream);
    else if (x->request == REQUEST_BODY)
        exchange_cut_client(x); // cut short: it must not look whole to anyone
    else
        exchange_client_pump(x);
}

static void
on_client_drain(void *user)
{
    struct exchange *x = user;
    x->client_full = false;
    exchange_touch(x);
    exchange_update_reading(x);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct exchange *x = handle->data;
    void (*done)(void *) = x->done;
    void *user = x->user;
    buf_done(&x->in);
    buf_done(&x->from);
    buf_done(&x->head);
    buf_done(&x->out);
    buf_done(&x->trailers);
    buf_done(&x->request_trailers);
    decode_free(x->decode);
    redact_free(x->redact);
    websocket_free(x->frames);
    free(x);
    done(user);
}

static void
on_client_close(void *user, const struct error *why)
{
    (void)why;
    struct exchange *x = user;
    x->client = NULL;
    x->ending = true;
    give_back_upstream(x);
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

static const struct stream_events client_events = {
    .on_data = on_client_data,
    .on_end = on_client_end,
    .on_drain = on_client_drain,
    .on_close = on_client_close,
};

// After our last byte was written: its time begins when the socket has taken everything, and a
// client that takes nothing has as long as any other that is idle.
static void
linger(struct exchange *x, uint64_t now)
{
    size_t unsent = stream_queued(x->client);
    if (unsent < x->unsent)
        x->ended_ms = now;
    x->unsent = unsent;
    if (now - x->ended_ms >= (unsent > 0 ? IDLE_TIME_MS : LINGER_MS))
        stream_close(x->client);
}

static void
on_tick(uv_timer_t *timer)
{
    struct exchange *x = timer->data;
    uint64_t now = uv_now(x->w->loop);
    uint64_t idle = now - x->active_ms;
    if (x->client == NULL)
        return;
    if (x->unsettled) {
        x->unsettled = false;
        exchange_settle(x);
        exchange_update_reading(x);
    }
    if (x->ending) {
        linger(x, now);
    } else if (x->head_since_ms != 0 && now - x->head_since_ms >= HEAD_TIME_MS) {
        exchange_refuse_text(x, 408, "TIMEOUT", "the request head did not come in time");
    } else if (idle >= (x->tunnel ? TUNNEL_TIME_MS : IDLE_TIME_MS)) {
        exchange_cut_client(x);
    }
}

// The ticks begin anew with it, and so do not come while the host's bytes do.
void
exchange_settle_soon(struct exchange *x)
{
    x->unsettled = true;
    uv_timer_start(&x->timer, on_tick, SETTLE_MS, TICK_MS);
}

static void
keep_refusal(struct exchange *x, const struct refusal *r)
{
    x->refuse_first = true;
    x->refusal = *r;
    (void)snprintf(x->refusal_message, sizeof x->refusal_message, "%s", r->message);
    x->refusal.message = x->refusal_message;
}

static void
on_first_tick(uv_timer_t *timer)
{
    struct exchange *x = timer->data;
    uv_timer_start(&x->timer, on_tick, TICK_MS, TICK_MS);
    if (x->client != NULL)
        exchange_client_pump(x);
}

void
exchange_start(struct worker *w, const struct exchange_options *options)
{
    struct exchange *x = xcalloc(1, sizeof *x);
    x->w = w;
    x->to = *options->to;
    x->plain = options->plain;
    x->done = options->done;
    x->user = options->user;
    x->client = options->client;
    buf_init(&x->in, IN_MAX);
    buf_init_secret(&x->from, FROM_MAX);
    buf_init_secret(&x->head, HEAD_WRITTEN_MAX);
    buf_init(&x->out, OUT_MAX);
    buf_init_secret(&x->trailers, H1_TRAILER_MAX);
    buf_init(&x->request_trailers, H1_TRAILER_MAX);
    x->redact = redact_new(w->policy, w->patterns, x->to.name, x->to.name_size);
    if (options->refusal != NULL)
        keep_refusal(x, options->refusal);
    bool too_much = buf_append(&x->in, options->first, options->first_size) != 0;
    uv_timer_init(w->loop, &x->timer);
    x->timer.data = x;
    exchange_touch(x);
    stream_set_user(x->client, &client_events, x);
    if (options->upstream != NULL)
        exchange_adopt_upstream(x, options->upstream);
    if (too_much)
        exchange_cut_client(x);
    else
        uv_timer_start(&x->timer, on_first_tick, 0, 0);
}
