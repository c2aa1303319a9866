// SPDX-License-Identifier: Apache-2.0
// (IDLE, one that waits in origin-pool.c) -> DIAL (upstream.c resolves and connects) -> HANDSHAKE
// (TLS, chain and name verified) -> handed over. Nothing of a request exists here, so a host that
// fails cannot have seen any of it, and an idle connection that turns out to have died is replaced.
//
// A handshake may resume a session in which this very name was proved (net/tls-session.h); nothing
// is ever sent before it is done (no early data).
#include "egress/origin.h"

#include "base/mem.h"
#include "egress/audit.h"
#include "egress/ca.h"
#include "egress/origin-pool.h"
#include "egress/upstream.h"
#include "net/tls.h"

#include <stdlib.h>
#include <string.h>

enum { ORIGIN_HANDSHAKE_MS = 10000 }; // stops a host that accepts and is silent

// Offers (RFC 7301 3.1), the preferred protocol first. A host that chooses none speaks HTTP/1.1.
static const uint8_t offer_both[] = "\x02h2\x08http/1.1";
static const uint8_t offer_h2[] = "\x02h2";
static const uint8_t offer_h1[] = "\x08http/1.1";

struct origin {
    struct worker *w;
    struct destination to;
    bool plain;
    unsigned protocols;
    origin_done *done; // NULL once called or cancelled
    void *user;
    struct upstream_dial *dial; // while dialling
    struct stream *tls;         // during the handshake
    bool timed_out;
    uv_timer_t timer;
};

static void
on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

// The origin frees itself once its timer is closed.
static void
release(struct origin *o)
{
    if (!uv_is_closing((uv_handle_t *)&o->timer))
        uv_close((uv_handle_t *)&o->timer, on_timer_closed);
}

static void
deliver(struct origin *o, struct stream *s, enum origin_protocol protocol,
        const struct refusal *why)
{
    origin_done *done = o->done;
    o->done = NULL;
    if (done != NULL)
        done(o->user, s, protocol, why);
    release(o);
}

static void
fail_dial(struct origin *o, const struct error *err)
{
    struct refusal r = {.status = 502, .code = "UPSTREAM_UNREACHABLE", .message = err->msg};
    if (err->code == ERR_FORBIDDEN) {
        r.status = 403;
        r.code = "EGRESS_DENIED";
    }
    deliver(o, NULL, ORIGIN_H1, &r);
}

static void
fail_tls(struct origin *o, const char *message)
{
    (void)audit_emit(o->w->audit, AUDIT_UPSTREAM_TLS_ERROR, &o->to, "reason", message, NULL);
    struct refusal r = {.status = 502, .code = "UPSTREAM_TLS_ERROR", .message = message};
    deliver(o, NULL, ORIGIN_H1, &r);
}

static void
on_open(void *user)
{
    struct origin *o = user;
    struct stream *s = o->tls;
    o->tls = NULL;
    uv_timer_stop(&o->timer);
    size_t size;
    const uint8_t *chosen = tls_stream_alpn(s, &size);
    bool h2 = size == 2 && memcmp(chosen, "h2", size) == 0;
    enum origin_protocol protocol = h2 ? ORIGIN_H2 : ORIGIN_H1;
    origins_note_choice(origins_of(o->w), &o->to, o->protocols, protocol);
    deliver(o, s, protocol, NULL);
}

static void
on_close(void *user, const struct error *why)
{
    struct origin *o = user;
    o->tls = NULL;
    if (o->timed_out)
        fail_tls(o, "no TLS handshake in time");
    else
        fail_tls(o, why != NULL ? why->msg : "connection closed");
}

static const struct stream_events events = {.on_open = on_open, .on_close = on_close};

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

static void
on_timer(uv_timer_t *timer)
{
    struct origin *o = timer->data;
    o->timed_out = true;
    stream_close(o->tls);
}

static void
choose_offer(unsigned protocols, struct tls_options *ret)
{
    bool both = protocols == (ORIGIN_H1 | ORIGIN_H2);
    ret->alpn = both ? offer_both : protocols == ORIGIN_H2 ? offer_h2 : offer_h1;
    ret->alpn_size = (both                     ? sizeof offer_both
                      : protocols == ORIGIN_H2 ? sizeof offer_h2
                                               : sizeof offer_h1) -
                     1;
}

static int
start_tls(struct origin *o, struct stream *s, struct error *err)
{
    char key[TLS_SESSION_KEY_MAX + 1];
    origins_session_key(&o->to, o->protocols, key);
    struct tls_options options = {
        .name = o->to.name,
        .sessions = origins_sessions(origins_of(o->w)),
        .session_key = key,
    };
    choose_offer(o->protocols, &options);
    if (tls_roots_context(o->w->roots, &options.ctx, err) != 0) {
        stream_set_user(s, &no_events, NULL);
        stream_close(s);
        return -1;
    }
    return tls_stream_new(o->w->loop, s, &options, &o->tls, err);
}

static void
on_dialled(void *user, struct stream *s, const struct sockaddr *peer, const struct error *err)
{
    (void)peer;
    struct origin *o = user;
    o->dial = NULL;
    if (s == NULL) {
        fail_dial(o, err);
        return;
    }
    if (o->plain) {
        deliver(o, s, ORIGIN_H1, NULL);
        return;
    }
    struct error why = {0};
    if (start_tls(o, s, &why) != 0) {
        fail_tls(o, why.msg);
        return;
    }
    stream_set_user(o->tls, &events, o);
    uv_timer_start(&o->timer, on_timer, ORIGIN_HANDSHAKE_MS, 0);
}

// Whether a connection with HTTP/1.1 is what a new one would be.
static bool
may_reuse(struct worker *w, const struct destination *to, bool plain, unsigned protocols)
{
    struct origins *all = origins_of(w);
    return origins_has_idle(all, to, plain) &&
           (plain || protocols == ORIGIN_H1 ||
            origins_last_choice(all, to, protocols) == ORIGIN_H1);
}

static void
on_reuse(uv_timer_t *timer)
{
    struct origin *o = timer->data;
    struct stream *s = origins_take_idle(origins_of(o->w), &o->to, o->plain);
    if (s != NULL)
        deliver(o, s, ORIGIN_H1, NULL);
    else
        o->dial = upstream_connect(o->w->dialer, &o->to, on_dialled, o);
}

struct origin *
origin_open(struct worker *w, const struct destination *to, bool plain, unsigned protocols,
            origin_done *done, void *user)
{
    struct origin *o = xcalloc(1, sizeof *o);
    o->w = w;
    o->to = *to;
    o->plain = plain;
    o->protocols = protocols;
    o->done = done;
    o->user = user;
    uv_timer_init(w->loop, &o->timer);
    o->timer.data = o;
    if (may_reuse(w, to, plain, protocols))
        uv_timer_start(&o->timer, on_reuse, 0, 0);
    else
        o->dial = upstream_connect(w->dialer, to, on_dialled, o);
    return o;
}

void
origin_keep(struct worker *w, const struct destination *to, bool plain, struct stream *s)
{
    origins_put_idle(origins_of(w), to, plain, s);
}

void
origin_cancel(struct origin *o)
{
    o->done = NULL;
    if (o->dial != NULL)
        upstream_cancel(o->dial);
    o->dial = NULL;
    if (o->tls != NULL) {
        stream_set_user(o->tls, &no_events, NULL);
        stream_close(o->tls);
        o->tls = NULL;
    }
    release(o);
}
