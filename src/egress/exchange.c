// SPDX-License-Identifier: Apache-2.0
// One request at a time. The request walks HEAD -> (DIAL) -> BODY -> SENT, the response NONE ->
// HEAD -> BODY -> NONE; when both are through, the next request's head is read. What the client
// sends ahead waits in in, at most IN_MAX. Bodies are never collected: a block that was read is
// written before the next is read, and a full queue on one side stops reading on the other.
//
// The client's stream decides how long the exchange lives: its on_close is the end. The upstream
// belongs to this exchange alone; it is let go (detached, closed) whenever it could hold bytes of
// an earlier exchange that the next one must not see. A request of which any byte may have been
// sent is never sent again.
//
// Ways to end: end_client (our last bytes leave, then we wait for the client to close, LINGER_MS at
// most), cut_client (at once: the client must see that the response is not whole).
#include "egress/exchange.h"

#include "base/buf.h"
#include "base/mem.h"
#include "egress/audit.h"
#include "egress/head.h"
#include "egress/origin.h"
#include "http/h1.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    IN_MAX = HEAD_MAX + 128 * 1024, // a head and what one read brings; stops pipelining without end
    FROM_MAX = 2 * HEAD_MAX,        // of upstream likewise
    OUT_MAX = 8 * 1024 * 1024, // what one block can become; redact.c bounds it before this does
    HEAD_TIME_MS = 10 * 1000,  // stops heads that trickle in
    IDLE_TIME_MS = 300 * 1000,
    TUNNEL_TIME_MS = 3600 * 1000,
    LINGER_MS = 2000,
    TICK_MS = 1000,
    INTERIM_MAX = 16,    // 1xx of one response; stops a flood of them
    METHOD_MAX = 32,     // as audited; longer than any that changes framing
    PATH_MAX_SIZE = 512, // as audited
    REFUSAL_MESSAGE_MAX = 256,
};

enum request_state { REQUEST_HEAD, REQUEST_DIAL, REQUEST_BODY, REQUEST_SENT };
enum response_state { RESPONSE_NONE, RESPONSE_HEAD, RESPONSE_BODY };

struct exchange {
    struct worker *w;
    struct destination to;
    bool plain;
    void (*done)(void *user);
    void *user;

    struct stream *client;   // until its on_close
    struct stream *upstream; // NULL: none
    struct origin *origin;   // being opened
    bool client_full;        // to be drained before upstream is read on
    bool upstream_full;
    bool client_ended; // half-closed
    bool ending;       // nothing more is read from the client but its end
    bool tunnel;       // after 101

    enum request_state request;
    enum response_state response;
    uint64_t number; // of the request on this connection
    struct h1_body request_body;
    struct h1_body response_body;
    enum head_framing framing; // of the response, towards the client
    bool answered;             // bytes of the response are out
    bool close_after;
    bool upstream_reusable;
    bool websocket;
    bool old_client; // HTTP/1.0
    bool is_head;
    unsigned interim;
    int status;
    size_t method_size;
    char method[METHOD_MAX];
    char path[PATH_MAX_SIZE + 1]; // for the audit

    struct buf in;   // from the client
    size_t searched; // of in, for the end of a line
    struct buf from; // secret, for hosts echo: a response's head from upstream
    struct buf head; // secret: a request's head with its values, until it is sent
    struct buf out;  // scratch, towards the client
    struct redact *redact;
    struct substitute_seen seen;

    bool refuse_first;
    struct refusal refusal;
    char refusal_message[REFUSAL_MESSAGE_MAX];

    uv_timer_t timer;
    uint64_t head_since_ms; // 0: no head has begun
    uint64_t active_ms;
    uint64_t ended_ms;
};

static void client_pump(struct exchange *x);

// --- small things ---

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

static void
touch(struct exchange *x)
{
    x->active_ms = uv_now(x->w->loop);
}

static void
update_reading(struct exchange *x)
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

static void
write_client(struct exchange *x, const void *data, size_t size)
{
    if (size > 0 && stream_write(x->client, data, size) == 1)
        x->client_full = true;
}

static void
write_upstream(struct exchange *x, const void *data, size_t size)
{
    if (x->upstream != NULL && size > 0 && stream_write(x->upstream, data, size) == 1)
        x->upstream_full = true;
}

static void
drop_upstream(struct exchange *x)
{
    struct stream *s = x->upstream;
    x->upstream = NULL;
    x->upstream_full = false;
    buf_clear(&x->from);
    if (s != NULL) {
        stream_set_user(s, &no_events, NULL);
        stream_close(s);
    }
    if (x->origin != NULL)
        origin_cancel(x->origin);
    x->origin = NULL;
}

static void
end_client(struct exchange *x)
{
    if (x->ending)
        return;
    x->ending = true;
    x->ended_ms = uv_now(x->w->loop);
    drop_upstream(x);
    buf_clear(&x->in);
    stream_shutdown(x->client);
    update_reading(x);
}

static void
cut_client(struct exchange *x)
{
    x->ending = true;
    drop_upstream(x);
    stream_close(x->client);
}

// --- audit ---

static int
audit_request(struct exchange *x, const char *reason)
{
    char status[16];
    char method[METHOD_MAX + 1];
    char number[24];
    (void)snprintf(status, sizeof status, "%d", x->status);
    (void)snprintf(method, sizeof method, "%.*s", (int)x->method_size, x->method);
    (void)snprintf(number, sizeof number, "%" PRIu64, x->number);
    return audit_emit(x->w->audit, AUDIT_REQUEST, &x->to, "req", number, "method",
                      x->method_size > 0 ? method : NULL, "path",
                      x->method_size > 0 ? x->path : NULL, "status", status, "reason", reason,
                      NULL);
}

static int
audit_swaps(struct exchange *x, const struct substitute *s)
{
    for (int where = 0; where < SUBSTITUTE_MAX; where++) {
        for (size_t i = 0; i < POLICY_SECRETS_MAX; i++) {
            if ((s->swapped[where] >> i & 1) != 0 &&
                audit_emit(x->w->audit, AUDIT_SWAP, &x->to, "secret",
                           policy_secret_name(x->w->policy, i), "where",
                           substitute_where_name((enum substitute_where)where), NULL) != 0)
                return -1;
        }
    }
    return 0;
}

// --- refusing ---

static void
refuse(struct exchange *x, const struct refusal *r)
{
    if (x->ending)
        return;
    if (x->answered) {
        cut_client(x);
        return;
    }
    buf_clear(&x->out);
    if (refusal_write(r, &x->to, x->number, x->is_head, &x->out) != 0) {
        cut_client(x);
        return;
    }
    write_client(x, buf_bytes(&x->out), buf_size(&x->out));
    buf_clear(&x->out);
    x->answered = true;
    x->status = r->status;
    (void)audit_request(x, r->code);
    end_client(x);
}

static void
refuse_text(struct exchange *x, int status, const char *code, const char *message)
{
    struct refusal r = {.status = status, .code = code, .message = message};
    refuse(x, &r);
}

// Upstream is of no more use: what does that mean for the request under way?
static void
lose_upstream(struct exchange *x, const char *why)
{
    drop_upstream(x);
    if (x->ending)
        return;
    if (x->tunnel)
        cut_client(x);
    else if (x->response != RESPONSE_NONE)
        refuse_text(x, 502, "UPSTREAM_FAILED", why);
    else
        update_reading(x);
}

// --- the request's way ---

static void
remember_request(struct exchange *x, const struct h1_head *head, struct h1_span target)
{
    x->method_size = head->method.size < METHOD_MAX ? head->method.size : METHOD_MAX;
    memcpy(x->method, head->method.data, x->method_size);
    size_t n = 0;
    while (n < target.size && n < PATH_MAX_SIZE && target.data[n] != '?')
        n++;
    memcpy(x->path, target.data, n);
    x->path[n] = '\0';
    x->old_client = head->minor_version == 0;
    x->close_after = !head->keep_alive || x->old_client;
    x->websocket = head_wants_websocket(head);
    x->answered = false;
    x->interim = 0;
    x->status = 0;
    h1_body_init(&x->request_body, head);
}

static void
send_head(struct exchange *x)
{
    write_upstream(x, buf_bytes(&x->head), buf_size(&x->head));
    buf_done(&x->head); // and wiped
    x->request = x->request_body.framing == H1_BODY_NONE ? REQUEST_SENT : REQUEST_BODY;
    x->response = RESPONSE_HEAD;
}

static void adopt_upstream(struct exchange *x, struct stream *s);

static void
on_origin(void *user, struct stream *s, const struct refusal *why)
{
    struct exchange *x = user;
    x->origin = NULL;
    touch(x);
    if (s == NULL) {
        refuse(x, why);
        return;
    }
    adopt_upstream(x, s);
    send_head(x);
    client_pump(x);
}

static void
refuse_misuse(struct exchange *x, const struct substitute *s, const struct refusal *r)
{
    (void)audit_emit(x->w->audit, AUDIT_MISUSE, &x->to, "secret", s->secret, "where", s->place,
                     "reason", s->reason, NULL);
    refuse(x, r);
}

// A whole head has come. False: refused.
static bool
accept_head(struct exchange *x, const struct h1_head *head)
{
    struct substitute s = {
        .policy = x->w->policy,
        .host = x->to.name,
        .host_size = x->to.name_size,
        .port = x->to.port,
        .plain = x->plain,
    };
    struct refusal r = {0};
    struct h1_span target;
    buf_clear(&x->head);
    if (head_check_request(head, &x->to, &s, &target, &r) != 0 ||
        head_write_request(head, target, redact_is_active(x->redact), &s, &x->head, &r) != 0) {
        buf_clear(&x->head);
        if (s.reason != NULL)
            refuse_misuse(x, &s, &r);
        else
            refuse(x, &r);
        return false;
    }
    remember_request(x, head, target);
    if (x->refuse_first) {
        refuse(x, &x->refusal);
        return false;
    }
    if (audit_swaps(x, &s) != 0) {
        buf_clear(&x->head);
        refuse_text(x, 503, "AUDIT_UNAVAILABLE", "the audit log does not take events");
        return false;
    }
    return true;
}

// Only when a line has ended can there be something new to parse: a client that sends byte by byte
// must not make us read its head anew each time.
static bool
has_new_line(struct exchange *x)
{
    size_t size = buf_size(&x->in);
    if (size == 0)
        return false;
    bool found = memchr(buf_bytes(&x->in) + x->searched, '\n', size - x->searched) != NULL;
    x->searched = size;
    return found || size >= HEAD_MAX;
}

// True: go on, there may be more to do.
static bool
take_head(struct exchange *x)
{
    if (buf_size(&x->in) > 0 && x->head_since_ms == 0)
        x->head_since_ms = uv_now(x->w->loop);
    if (!has_new_line(x))
        return false;
    struct h1_head head;
    struct h1_problem problem = {0};
    size_t used = 0;
    size_t limit = buf_size(&x->in) < HEAD_MAX ? buf_size(&x->in) : HEAD_MAX;
    x->is_head = false;
    x->method_size = 0;
    x->answered = false;
    switch (h1_parse_request(buf_bytes(&x->in), limit, &head, &used, &problem)) {
    case H1_MORE:
        if (limit == HEAD_MAX)
            refuse_text(x, 431, "HEADER_TOO_LARGE", "the request head is too large");
        return false;
    case H1_BAD:
        x->number++;
        refuse_text(x, problem.status, "BAD_REQUEST", problem.reason);
        return false;
    case H1_OK:
        break;
    }
    x->number++;
    x->head_since_ms = 0;
    x->is_head = h1_span_is(head.method, "HEAD");
    if (!accept_head(x, &head))
        return false;
    buf_consume(&x->in, used);
    x->searched = 0;
    if (x->upstream != NULL) {
        send_head(x);
        return true;
    }
    x->request = REQUEST_DIAL;
    x->origin = origin_open(x->w, &x->to, x->plain, on_origin, x);
    return false;
}

static void
watch_body(struct exchange *x, struct h1_span content)
{
    const char *secret = NULL;
    if (substitute_watch(&x->seen, x->w->policy, (const uint8_t *)content.data, content.size,
                         &secret))
        (void)audit_emit(x->w->audit, AUDIT_MISUSE, &x->to, "secret", secret, "where", "body",
                         "reason", "placeholder_seen", NULL);
}

static void
send_content(struct exchange *x, struct h1_span content)
{
    if (content.size == 0)
        return;
    watch_body(x, content);
    if (x->request_body.framing != H1_BODY_CHUNKED) {
        write_upstream(x, content.data, content.size);
        return;
    }
    char line[24];
    int n = snprintf(line, sizeof line, "%zx\r\n", content.size);
    write_upstream(x, line, (size_t)n);
    write_upstream(x, content.data, content.size);
    write_upstream(x, "\r\n", 2);
}

static bool
take_body(struct exchange *x)
{
    size_t used = 0;
    struct h1_span content;
    enum h1_status r =
        h1_body_feed(&x->request_body, buf_bytes(&x->in), buf_size(&x->in), &used, &content);
    if (r == H1_BAD) {
        drop_upstream(x);
        refuse_text(x, 400, "BAD_REQUEST", "the request body is not framed as it should be");
        return false;
    }
    send_content(x, content);
    buf_consume(&x->in, used);
    if (r == H1_OK) {
        if (x->request_body.framing == H1_BODY_CHUNKED)
            write_upstream(x, "0\r\n\r\n", 5);
        x->request = REQUEST_SENT;
        x->searched = 0;
        return true;
    }
    return used > 0 && buf_size(&x->in) > 0;
}

static void
client_pump(struct exchange *x)
{
    bool more = true;
    while (more && !x->ending) {
        more = false;
        if (x->tunnel) {
            write_upstream(x, buf_bytes(&x->in), buf_size(&x->in));
            buf_clear(&x->in);
        } else if (x->request == REQUEST_HEAD) {
            more = take_head(x);
        } else if (x->request == REQUEST_BODY) {
            more = take_body(x);
        }
    }
    if (x->client_ended && !x->ending && x->response == RESPONSE_NONE && !x->tunnel &&
        x->request == REQUEST_HEAD)
        end_client(x);
    update_reading(x);
}

// --- the response's way ---

static void
send_clean(struct exchange *x, struct h1_span clean, bool last)
{
    if (x->framing != HEAD_CHUNKED) {
        if (x->framing != HEAD_NO_BODY)
            write_client(x, clean.data, clean.size);
        return;
    }
    buf_clear(&x->out);
    int rc = 0;
    if (clean.size > 0)
        rc = buf_append_fmt(&x->out, "%zx\r\n", clean.size) |
             buf_append(&x->out, clean.data, clean.size) | buf_append_str(&x->out, "\r\n");
    if (last)
        rc |= buf_append_str(&x->out, "0\r\n\r\n");
    if (rc != 0)
        cut_client(x);
    else
        write_client(x, buf_bytes(&x->out), buf_size(&x->out));
    buf_clear(&x->out);
}

static void
finish_response(struct exchange *x)
{
    bool extra = buf_size(&x->from) > 0;
    bool whole = x->request == REQUEST_SENT;
    if (audit_request(x, NULL) != 0)
        x->close_after = true;
    x->response = RESPONSE_NONE;
    if (extra || !whole || !x->upstream_reusable)
        drop_upstream(x);
    if (x->close_after || !whole) {
        end_client(x);
        return;
    }
    x->request = REQUEST_HEAD;
    x->searched = 0;
    client_pump(x);
}

// Feeds a part of the body through the filter. False: the exchange has ended.
static bool
pass_content(struct exchange *x, struct h1_span content, bool last)
{
    struct h1_span clean;
    if (content.size == 0 && !last)
        return true;
    if (redact_feed(x->redact, (const uint8_t *)content.data, content.size, last, &clean) != 0) {
        cut_client(x);
        return false;
    }
    if (clean.size > 0 || last)
        send_clean(x, clean, last);
    return !x->ending;
}

static size_t
take_response_body(struct exchange *x, const uint8_t *data, size_t size)
{
    size_t at = 0;
    for (;;) {
        size_t used = 0;
        struct h1_span content;
        enum h1_status r = h1_body_feed(&x->response_body, data + at, size - at, &used, &content);
        if (r == H1_BAD) {
            lose_upstream(x, "the host's response is not framed as it should be");
            return size;
        }
        at += used;
        if (!pass_content(x, content, r == H1_OK))
            return size;
        if (r == H1_OK) {
            (void)buf_append(&x->from, data + at, size - at); // what must not be there
            finish_response(x);
            return size;
        }
        if (at == size)
            return size;
    }
}

// Frames are opaque, but a replacement of equal length does not disturb them.
static void
pass_tunnel(struct exchange *x, const uint8_t *data, size_t size)
{
    struct h1_span clean = {(const char *)data, size};
    if (redact_keeps_length(x->redact) && redact_feed(x->redact, data, size, false, &clean) != 0)
        cut_client(x);
    else
        write_client(x, clean.data, clean.size);
}

static void
start_tunnel(struct exchange *x, struct buf *rest)
{
    x->tunnel = true;
    x->status = 101;
    (void)audit_request(x, NULL);
    redact_reset(x->redact);
    pass_tunnel(x, buf_bytes(rest), buf_size(rest));
    buf_clear(rest);
    client_pump(x);
}

static enum head_framing
choose_framing(const struct exchange *x, const struct h1_head *head)
{
    if (head->framing == H1_BODY_NONE)
        return HEAD_NO_BODY;
    if (head->framing == H1_BODY_LENGTH && redact_keeps_length(x->redact))
        return HEAD_LENGTH;
    return x->old_client ? HEAD_UNTIL_CLOSE : HEAD_CHUNKED;
}

// Interim responses are passed on, if the client knows of them.
static bool
pass_interim(struct exchange *x, const struct h1_head *head)
{
    if (++x->interim > INTERIM_MAX)
        return false;
    if (x->old_client)
        return true;
    buf_clear(&x->out);
    if (head_write_response(head, x->redact, HEAD_NO_BODY, false, &x->out) != 0)
        return false;
    write_client(x, buf_bytes(&x->out), buf_size(&x->out));
    buf_clear(&x->out);
    return true;
}

static bool
begin_response(struct exchange *x, const struct h1_head *head)
{
    bool has_body = head->framing != H1_BODY_NONE;
    if (has_body && redact_is_active(x->redact) && head_is_coded(head)) {
        lose_upstream(x, "the host sent a content coding that was not asked for");
        return false;
    }
    x->framing = choose_framing(x, head);
    x->status = head->status;
    x->upstream_reusable = head->keep_alive && head->framing != H1_BODY_UNTIL_CLOSE;
    if (x->framing == HEAD_UNTIL_CLOSE || x->request != REQUEST_SENT)
        x->close_after = true;
    buf_clear(&x->out);
    if (head_write_response(head, x->redact, x->framing, x->close_after, &x->out) != 0) {
        lose_upstream(x, "the host's response head is too large");
        return false;
    }
    x->answered = true;
    write_client(x, buf_bytes(&x->out), buf_size(&x->out));
    buf_clear(&x->out);
    h1_body_init(&x->response_body, head);
    redact_reset(x->redact);
    x->response = RESPONSE_BODY;
    return true;
}

// One head of from has been parsed. True: go on with what follows it.
static bool
take_response_head(struct exchange *x)
{
    struct h1_head head;
    struct h1_problem problem = {0};
    size_t used = 0;
    struct h1_span method = {x->method, x->method_size};
    size_t size = buf_size(&x->from);
    switch (h1_parse_response(buf_bytes(&x->from), size, method, &head, &used, &problem)) {
    case H1_MORE:
        if (size >= HEAD_MAX)
            lose_upstream(x, "the host's response head is too large");
        return false;
    case H1_BAD:
        lose_upstream(x, problem.reason);
        return false;
    case H1_OK:
        break;
    }
    if (head.status == 101 ? !x->websocket : head.status < 200 && !pass_interim(x, &head)) {
        lose_upstream(x, "the host's interim response has no place here");
        return false;
    }
    bool final = head.status >= 200;
    if (final && !begin_response(x, &head))
        return false;
    if (head.status == 101 && !pass_interim(x, &head)) {
        lose_upstream(x, "the host's response head is too large");
        return false;
    }
    buf_consume(&x->from, used);
    if (head.status == 101)
        start_tunnel(x, &x->from);
    return !x->tunnel;
}

static void
upstream_pump(struct exchange *x)
{
    while (x->upstream != NULL && x->response == RESPONSE_HEAD && !x->tunnel &&
           buf_size(&x->from) > 0) {
        if (!take_response_head(x))
            return;
    }
    if (x->response == RESPONSE_BODY && x->upstream != NULL) {
        struct buf rest = x->from;
        buf_init_secret(&x->from, FROM_MAX);
        (void)take_response_body(x, buf_bytes(&rest), buf_size(&rest));
        buf_done(&rest);
    }
}

// --- events ---

static void
on_upstream_data(void *user, const uint8_t *data, size_t size)
{
    struct exchange *x = user;
    touch(x);
    if (x->tunnel) {
        pass_tunnel(x, data, size);
    } else if (x->response == RESPONSE_BODY) {
        (void)take_response_body(x, data, size);
    } else if (x->response == RESPONSE_NONE) {
        drop_upstream(x); // an answer to nothing
    } else if (buf_append(&x->from, data, size) != 0) {
        lose_upstream(x, "the host's response head is too large");
    } else {
        upstream_pump(x);
    }
    update_reading(x);
}

static void
on_upstream_end(void *user)
{
    struct exchange *x = user;
    if (x->tunnel) {
        stream_shutdown(x->client);
    } else if (x->response == RESPONSE_BODY && x->response_body.framing == H1_BODY_UNTIL_CLOSE) {
        if (pass_content(x, (struct h1_span){"", 0}, true))
            finish_response(x);
    } else {
        lose_upstream(x, "the host closed the connection");
    }
}

static void
on_upstream_close(void *user, const struct error *why)
{
    struct exchange *x = user;
    x->upstream = NULL;
    lose_upstream(x, why != NULL ? why->msg : "the host closed the connection");
}

static void
on_upstream_drain(void *user)
{
    struct exchange *x = user;
    x->upstream_full = false;
    touch(x);
    client_pump(x);
}

static const struct stream_events upstream_events = {
    .on_data = on_upstream_data,
    .on_end = on_upstream_end,
    .on_drain = on_upstream_drain,
    .on_close = on_upstream_close,
};

static void
adopt_upstream(struct exchange *x, struct stream *s)
{
    x->upstream = s;
    x->upstream_full = false;
    stream_set_user(s, &upstream_events, x);
    update_reading(x);
}

static void
on_client_data(void *user, const uint8_t *data, size_t size)
{
    struct exchange *x = user;
    touch(x);
    if (x->ending)
        return;
    if (buf_append(&x->in, data, size) != 0) {
        cut_client(x);
        return;
    }
    client_pump(x);
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
        cut_client(x); // cut short: it must not look whole to anyone
    else
        client_pump(x);
}

static void
on_client_drain(void *user)
{
    struct exchange *x = user;
    x->client_full = false;
    touch(x);
    update_reading(x);
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
    redact_free(x->redact);
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
    drop_upstream(x);
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

static const struct stream_events client_events = {
    .on_data = on_client_data,
    .on_end = on_client_end,
    .on_drain = on_client_drain,
    .on_close = on_client_close,
};

static void
on_tick(uv_timer_t *timer)
{
    struct exchange *x = timer->data;
    uint64_t now = uv_now(x->w->loop);
    uint64_t idle = now - x->active_ms;
    if (x->client == NULL)
        return;
    if (x->ending) {
        if (now - x->ended_ms >= LINGER_MS)
            stream_close(x->client);
    } else if (x->head_since_ms != 0 && now - x->head_since_ms >= HEAD_TIME_MS) {
        refuse_text(x, 408, "TIMEOUT", "the request head did not come in time");
    } else if (idle >= (x->tunnel ? TUNNEL_TIME_MS : IDLE_TIME_MS)) {
        cut_client(x);
    }
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
        client_pump(x);
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
    x->redact = redact_new(w->policy, x->to.name, x->to.name_size, x->to.port);
    if (options->refusal != NULL)
        keep_refusal(x, options->refusal);
    bool too_much = buf_append(&x->in, options->first, options->first_size) != 0;
    uv_timer_init(w->loop, &x->timer);
    x->timer.data = x;
    touch(x);
    stream_set_user(x->client, &client_events, x);
    if (options->upstream != NULL)
        adopt_upstream(x, options->upstream);
    if (too_much)
        cut_client(x);
    else
        uv_timer_start(&x->timer, on_first_tick, 0, 0);
}
