// SPDX-License-Identifier: Apache-2.0
// Refusals that can be read. What the client sends first tells how to speak to it; a refusal waits
// for no more than that, holds little, and is over in seconds whatever the client does.
#include "egress/connection.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "egress/audit.h"
#include "egress/refusal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    HEAD_MAX = 8192,   // bytes of a refused request that are waited for
    ANSWER_MAX = 1024, // a message: name, reason and advice
    REASON_MAX = 240,
    HINT_MAX = 640,          // a name, twice, and what to do with it
    PATIENCE_MS = 5000,      // for the first byte
    HEAD_PATIENCE_MS = 1000, // for the rest of a request's head, and for the client to go
    TLS_HANDSHAKE = 22,
};

static const uint8_t access_denied[] = {21, 3, 3, 0,
                                        2,  2, 49}; // RFC 8446 6.2: fatal, access_denied

struct kind_text {
    int status;
    const char *code;
    const char *advice;
};

static const struct kind_text kinds[] = {
    [DENY_POLICY] = {403, "EGRESS_DENIED", "The sandbox's allow_net decides what can be reached."},
    [DENY_MISDIRECTED] = {421, "EGRESS_DENIED",
                          "Connect to the address that the name resolves to in the sandbox."},
    [DENY_UPSTREAM] = {502, "UPSTREAM_UNREACHABLE",
                       "The network allows it, but the host could not be reached."},
    [DENY_MALFORMED] = {400, "PROXY_REQUEST",
                        "This proxy takes CONNECT host:port, and requests for http:// URLs."},
};
static_assert(ARRAY_SIZE(kinds) == DENY_KIND_MAX, "a text for every kind");

struct denial {
    struct worker *worker;
    struct stream *client; // NULL: closed
    struct destination to;
    enum deny_kind kind;
    bool answered;
    bool begun; // a head has begun; its time runs, whatever drips in
    bool timer_closed;
    uv_timer_t timer;
    char reason[REASON_MAX];
    struct buf head;
};

static void
release(struct denial *d)
{
    if (d->client != NULL || !d->timer_closed)
        return;
    buf_done(&d->head);
    free(d);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct denial *d = handle->data;
    d->timer_closed = true;
    release(d);
}

static void
on_close(void *user, const struct error *why)
{
    struct denial *d = user;
    (void)why;
    d->client = NULL;
    d->worker->connections--;
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

static void
reset(struct denial *d)
{
    stream_set_reset(d->client);
    stream_close(d->client);
}

static void
on_patience_end(uv_timer_t *timer)
{
    struct denial *d = timer->data;
    if (d->answered)
        stream_close(d->client);
    else
        reset(d);
}

// Then whatever still comes is read and dropped, for a reset could overtake the answer.
static void
answer(struct denial *d, const void *data, size_t size)
{
    d->answered = true;
    (void)uv_timer_start(&d->timer, on_patience_end, HEAD_PATIENCE_MS, 0);
    if (stream_write(d->client, data, size) >= 0)
        stream_shutdown(d->client);
}

// What the caller would have to put into its list, where it is the list that stands in the way.
static const char *
hint_for(const struct denial *d, char out[HINT_MAX])
{
    const struct destination *to = &d->to;
    if (d->kind != DENY_POLICY || to->name_size == 0 || to->rule != NULL)
        return NULL;
    struct policy_decision v =
        policy_decide(d->worker->policy, to->name, to->name_size, NULL, to->port);
    // What an operator's list or a deny rule refuses is not the caller's to allow.
    if (v.allowed || v.layer != POLICY_CALLER || v.rule != NULL)
        return NULL;
    (void)snprintf(out, HINT_MAX, "put \"%s:%u\" or \"%s\" into the sandbox's allow_net", to->name,
                   (unsigned)to->port, to->name);
    return out;
}

static void
answer_http(struct denial *d)
{
    char message[ANSWER_MAX];
    char hint[HINT_MAX];
    cleanup_buf struct buf out;
    buf_init(&out, 2 * REFUSAL_MAX);
    (void)snprintf(message, sizeof message, "Connection to %s:%u refused: %s. %s",
                   d->to.name_size > 0 ? d->to.name : "this address", (unsigned)d->to.port,
                   d->reason, kinds[d->kind].advice);
    const struct refusal r = {
        .status = kinds[d->kind].status,
        .code = kinds[d->kind].code,
        .message = message,
        .reason = d->reason,
        .hint = hint_for(d, hint),
    };
    bool head_only = buf_size(&d->head) >= 5 && memcmp(buf_bytes(&d->head), "HEAD ", 5) == 0;
    if (refusal_write(&r, &d->to, 0, head_only, &out) < 0)
        reset(d);
    else
        answer(d, buf_bytes(&out), buf_size(&out));
}

static void
consider(struct denial *d)
{
    size_t size = buf_size(&d->head);
    const uint8_t *head = buf_bytes(&d->head);
    if (size == 0)
        return;
    if (head[0] == TLS_HANDSHAKE) {
        answer(d, access_denied, sizeof access_denied);
        return;
    }
    size_t method = 0;
    while (method < size && head[method] >= 'A' && head[method] <= 'Z')
        method++;
    if (method == 0 || (method < size && head[method] != ' ')) {
        reset(d);
        return;
    }
    if (memmem(head, size, "\r\n\r\n", 4) != NULL || memmem(head, size, "\n\n", 2) != NULL ||
        size == HEAD_MAX)
        answer_http(d);
    else if (!d->begun)
        (void)uv_timer_start(&d->timer, on_patience_end, HEAD_PATIENCE_MS, 0);
    d->begun = true;
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct denial *d = user;
    if (d->answered)
        return;
    size_t room = HEAD_MAX - buf_size(&d->head);
    if (buf_append(&d->head, data, size < room ? size : room) < 0)
        reset(d);
    else
        consider(d);
}

static void
on_end(void *user)
{
    struct denial *d = user;
    if (!d->answered)
        reset(d);
}

static const struct stream_events denial_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static bool
is_readable(const struct destination *to, size_t first_size)
{
    return first_size > 0 || (to->name_size > 0 && connection_is_web(to->port));
}

static struct denial *
denial_new(struct worker *w, struct stream *client, const struct destination *to,
           enum deny_kind kind, const char *reason)
{
    struct denial *d = xcalloc(1, sizeof *d);
    d->worker = w;
    d->client = client;
    d->to = *to;
    d->kind = kind;
    (void)snprintf(d->reason, sizeof d->reason, "%s", reason);
    buf_init(&d->head, HEAD_MAX);
    (void)uv_timer_init(w->loop, &d->timer);
    d->timer.data = d;
    stream_set_user(client, &denial_events, d);
    (void)audit_emit(w->audit, AUDIT_CONN_DENY, to, "reason", d->reason, NULL);
    return d;
}

void
deny_start(struct worker *w, struct stream *client, const struct destination *to,
           enum deny_kind kind, const char *reason, const uint8_t *first, size_t first_size)
{
    struct denial *d = denial_new(w, client, to, kind, reason);
    if (!is_readable(to, first_size)) {
        reset(d);
        return;
    }
    (void)uv_timer_start(&d->timer, on_patience_end, PATIENCE_MS, 0);
    stream_read_start(client);
    if (first_size > 0)
        on_data(d, first, first_size);
}

void
deny_with(struct worker *w, struct stream *client, const struct destination *to, const char *reason,
          const uint8_t *to_send, size_t size)
{
    struct denial *d = denial_new(w, client, to, DENY_POLICY, reason);
    if (size == 0) {
        reset(d);
        return;
    }
    stream_read_start(client);
    answer(d, to_send, size);
}
