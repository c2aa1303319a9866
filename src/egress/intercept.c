// SPDX-License-Identifier: Apache-2.0
// ORIGIN (the host is dialled and verified, while the client's ClientHello waits) -> HANDSHAKE
// (with the client, under a leaf for the name) -> the exchange has both. The host is offered the
// application protocols that the client offers, and the client the one that the host chose, so
// that neither version of HTTP is ever translated into the other. A host that cannot be
// reached or verified does not stop the handshake: the client then gets its answer as HTTP, which
// is something that people can read.
#include "egress/intercept.h"

#include "base/mem.h"
#include "egress/audit.h"
#include "egress/ca.h"
#include "egress/exchange.h"
#include "egress/h2.h"
#include "egress/origin-pool.h"
#include "egress/sniff.h"
#include "net/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLIENT_HANDSHAKE_MS = 10000, // stops clients that stay silent in the handshake
    FIRST_MAX = 128 * 1024,      // a ClientHello, or the beginning of a plain request
    MESSAGE_MAX = 256,
};

static const uint8_t http11[] = "\x08http/1.1";
static const uint8_t http2[] = "\x02h2";

struct intercept {
    struct worker *w;
    struct destination to;
    struct stream *client;   // NULL once gone, or the exchange's
    struct stream *upstream; // verified, waiting for the client
    struct origin *origin;
    struct h2_idle *idle; // instead of both: waits for the client, too
    struct buf first;
    unsigned offered;              // by the client, enum origin_protocol
    enum origin_protocol protocol; // as chosen
    bool refused;                  // by or for the host; refusal tells
    struct refusal refusal;
    char message[MESSAGE_MAX];
    uv_timer_t timer;
};

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

static void
on_timer_closed(uv_handle_t *handle)
{
    struct intercept *i = handle->data;
    buf_done(&i->first);
    free(i);
}

// The connection is over.
static void
on_done(void *user)
{
    struct worker *w = user;
    w->connections--;
}

static void
let_upstream_go(struct intercept *i)
{
    if (i->upstream != NULL) {
        stream_set_user(i->upstream, &no_events, NULL);
        stream_close(i->upstream);
        i->upstream = NULL;
    }
    if (i->origin != NULL)
        origin_cancel(i->origin);
    i->origin = NULL;
    if (i->idle != NULL)
        h2_idle_give_back(i->idle);
    i->idle = NULL;
}

static void
release(struct intercept *i)
{
    let_upstream_go(i);
    uv_close((uv_handle_t *)&i->timer, on_timer_closed);
}

static void
on_client_close(void *user, const struct error *why)
{
    (void)why;
    struct intercept *i = user;
    on_done(i->w);
    release(i);
}

// The host closed while the client still shook hands: the exchange will dial again.
static void
on_upstream_close(void *user, const struct error *why)
{
    (void)why;
    struct intercept *i = user;
    i->upstream = NULL;
}

static const struct stream_events upstream_events = {.on_close = on_upstream_close};

static void
start_exchange(struct intercept *i)
{
    struct exchange_options options = {
        .to = &i->to,
        .client = i->client,
        .upstream = i->upstream,
        .refusal = i->refused ? &i->refusal : NULL,
        .done = on_done,
        .user = i->w,
    };
    exchange_start(i->w, &options);
}

static void
start_h2(struct intercept *i)
{
    struct h2_options options = {
        .to = &i->to,
        .client = i->client,
        .upstream = i->upstream,
        .idle = i->idle,
        .refusal = i->refused ? &i->refusal : NULL,
        .done = on_done,
        .user = i->w,
    };
    i->idle = NULL;
    h2_start(i->w, &options);
}

static void
on_client_open(void *user)
{
    struct intercept *i = user;
    bool h2 = i->protocol == ORIGIN_H2;
    if (audit_emit(i->w->audit, AUDIT_INTERCEPT, &i->to, "alpn", h2 ? "h2" : "http/1.1", NULL) !=
        0) {
        stream_close(i->client);
        return;
    }
    if (h2)
        start_h2(i);
    else
        start_exchange(i);
    i->client = NULL;
    i->upstream = NULL;
    release(i);
}

static const struct stream_events client_events = {
    .on_open = on_client_open,
    .on_close = on_client_close,
};

static void
on_timer(uv_timer_t *timer)
{
    struct intercept *i = timer->data;
    stream_close(i->client);
}

static void
refuse_connection(struct intercept *i, const struct error *why)
{
    if (why->code == ERR_LIMIT)
        (void)audit_emit(i->w->audit, AUDIT_LIMIT, &i->to, "reason", why->msg, NULL);
    stream_set_reset(i->client);
    stream_close(i->client);
}

static void
shake_hands(struct intercept *i)
{
    struct error err = {0};
    bool h2 = i->protocol == ORIGIN_H2;
    struct tls_options options = {
        .server = true,
        .alpn = h2 ? http2 : http11,
        .alpn_size = h2 ? sizeof http2 - 1 : sizeof http11 - 1,
        .first = buf_bytes(&i->first),
        .first_size = buf_size(&i->first),
    };
    if (ca_server_context(i->w->ca, i->to.name, i->to.name_size, &options.ctx, &err) != 0) {
        refuse_connection(i, &err);
        return;
    }
    struct stream *lower = i->client;
    stream_set_user(lower, &no_events, NULL);
    int rc = tls_stream_new(i->w->loop, lower, &options, &i->client, &err);
    SSL_CTX_free(options.ctx);
    if (rc != 0) { // lower is closed by now
        on_done(i->w);
        release(i);
        return;
    }
    buf_done(&i->first);
    stream_set_user(i->client, &client_events, i);
    uv_timer_start(&i->timer, on_timer, CLIENT_HANDSHAKE_MS, 0);
}

static void
keep_refusal(struct intercept *i, const struct refusal *why)
{
    i->refused = true;
    i->refusal = *why;
    (void)snprintf(i->message, sizeof i->message, "%s", why->message);
    i->refusal.message = i->message;
    // A refusal is told in what the client understands.
    i->protocol = (i->offered & ORIGIN_H1) != 0 ? ORIGIN_H1 : ORIGIN_H2;
}

static void
on_origin(void *user, struct stream *s, enum origin_protocol protocol, const struct refusal *why)
{
    static const struct refusal no_h2 = {
        .status = 502,
        .code = "UPSTREAM_PROTOCOL",
        .message = "the host speaks no HTTP/2, and the client nothing else",
    };
    struct intercept *i = user;
    i->origin = NULL;
    i->protocol = protocol;
    if (s != NULL) {
        i->upstream = s;
        stream_set_user(s, &upstream_events, i);
    }
    if (s == NULL) {
        keep_refusal(i, why);
    } else if ((i->offered & (unsigned)protocol) == 0) {
        let_upstream_go(i);
        keep_refusal(i, &no_h2);
    }
    shake_hands(i);
}

// A session for what the host would choose again.
static struct h2_idle *
take_idle(const struct intercept *i)
{
    if (origins_last_choice(origins_of(i->w), &i->to, i->offered) != ORIGIN_H2)
        return NULL;
    return h2_idle_take(i->w, &i->to);
}

static void
on_reuse(uv_timer_t *timer)
{
    struct intercept *i = timer->data;
    i->protocol = ORIGIN_H2;
    shake_hands(i);
}

static void
start_plain(struct worker *w, struct stream *client, const struct destination *to,
            const uint8_t *first, size_t first_size)
{
    struct exchange_options options = {
        .to = to,
        .client = client,
        .plain = true,
        .first = first,
        .first_size = first_size,
        .done = on_done,
        .user = w,
    };
    exchange_start(w, &options);
}

// Whoever offers neither gets the alert of RFC 7301 3.2 in the handshake.
static unsigned
protocols_of(const uint8_t *first, size_t first_size)
{
    struct sniff s;
    sniff_bytes(first, first_size, &s);
    unsigned protocols = (s.offers_h1 ? ORIGIN_H1 : 0) | (s.offers_h2 ? ORIGIN_H2 : 0);
    return protocols != 0 ? protocols : ORIGIN_H1;
}

void
intercept_start(struct worker *w, struct stream *client, const struct destination *to,
                const uint8_t *first, size_t first_size, bool plain)
{
    if (plain) {
        start_plain(w, client, to, first, first_size);
        return;
    }
    struct intercept *i = xcalloc(1, sizeof *i);
    i->w = w;
    i->to = *to;
    i->client = client;
    uv_timer_init(w->loop, &i->timer);
    i->timer.data = i;
    buf_init(&i->first, FIRST_MAX);
    stream_set_user(client, &client_events, i);
    if (buf_append(&i->first, first, first_size) != 0) {
        stream_close(client);
        return;
    }
    i->offered = protocols_of(first, first_size);
    i->idle = take_idle(i);
    if (i->idle != NULL)
        uv_timer_start(&i->timer, on_reuse, 0, 0);
    else
        i->origin = origin_open(w, to, false, i->offered, on_origin, i);
}
