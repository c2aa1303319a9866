// SPDX-License-Identifier: Apache-2.0
// What becomes of an accepted connection. The name that the synthetic address stands for is decided
// on first; where it is not allowed, nothing more is read than a readable refusal needs. Where the
// port or a secret asks for it, the first bytes are looked at, and the name in them must be that
// same name:
//
//   80 and 443       TLS or HTTP with the right name; other bytes only if the rule names the port
//   a bound host     TLS or HTTP is intercepted on any port. Where the client stays silent, as with
//                    protocols in which the server speaks first, bytes are relayed: no secret is
//                    put into them, so none can be lost.
//   53 and 853       only if the rule names the port: DNS is the resolver's, so that it carries
//   nothing out all else         relayed at once
//
// A bare address is what the rules and the address table say of it. TLS in it that names a bound
// host is intercepted, and then goes where the name says.
#include "egress/connection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "egress/address.h"
#include "egress/audit.h"
#include "egress/intercept.h"
#include "egress/names.h"
#include "egress/sniff.h"

#include <stdlib.h>
#include <string.h>

enum {
    PORT_DNS = 53,
    PORT_DNS_TLS = 853,
    SERVER_FIRST_MS = 500, // how long a client of a bound host may be silent on another port
};
_Static_assert((int)NAME_MAX_SIZE == (int)HOSTNAME_MAX, "a destination holds any host name");

// A connection whose first bytes are awaited.
struct arrival {
    struct worker *worker;
    struct stream *client; // NULL: handed on or closed
    struct destination to;
    struct policy_decision decision;
    bool timer_closed;
    uv_timer_t timer;
    struct buf first;
    bool is_http;  // so far
    size_t needed; // bytes of first before it is worth another look
};

static void
release(struct arrival *a)
{
    if (a->client != NULL || !a->timer_closed)
        return;
    buf_done(&a->first);
    free(a);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct arrival *a = handle->data;
    a->timer_closed = true;
    release(a);
}

static struct stream *
leave(struct arrival *a)
{
    uv_close((uv_handle_t *)&a->timer, on_timer_closed);
    stream_read_stop(a->client);
    struct stream *client = a->client;
    a->client = NULL;
    return client;
}

static void
refuse(struct arrival *a, enum deny_kind kind, const char *reason)
{
    deny_start(a->worker, leave(a), &a->to, kind, reason, buf_bytes(&a->first),
               buf_size(&a->first));
}

// What cannot be audited does not happen.
static bool
audit_allow(struct arrival *a, const struct sniff *s)
{
    if (audit_emit(a->worker->audit, AUDIT_CONN_ALLOW, &a->to, "sni",
                   s != NULL && s->kind == SNIFF_TLS && s->has_name ? s->name : NULL, NULL) == 0)
        return true;
    refuse(a, DENY_POLICY, "the audit takes no more events");
    return false;
}

static void
pass(struct arrival *a, const struct sniff *s)
{
    if (audit_allow(a, s))
        passthrough_start(a->worker, leave(a), &a->to, buf_bytes(&a->first), buf_size(&a->first));
}

static void
intercept(struct arrival *a, const struct sniff *s)
{
    if (audit_allow(a, s))
        intercept_start(a->worker, leave(a), &a->to, buf_bytes(&a->first), buf_size(&a->first),
                        s->kind == SNIFF_HTTP);
}

// Gives a connection to a bare address the name in its first bytes, where that is of a bound host.
static bool
adopt_name(struct arrival *a, const struct sniff *s)
{
    const struct policy *p = a->worker->policy;
    if (!s->has_name || !policy_bound(p, s->name, s->name_size, a->to.port))
        return false;
    struct policy_decision d = policy_decide(p, s->name, s->name_size, NULL, a->to.port);
    if (!d.allowed)
        return false;
    memcpy(a->to.name, s->name, s->name_size + 1);
    a->to.name_size = s->name_size;
    a->to.rule = d.rule;
    return true;
}

static bool
names_another(const struct arrival *a, const struct sniff *s)
{
    return a->to.name_size > 0 && s->has_name &&
           (s->name_size != a->to.name_size || memcmp(s->name, a->to.name, s->name_size) != 0);
}

static void
decide_known(struct arrival *a, const struct sniff *s)
{
    if (names_another(a, s)) {
        refuse(a, DENY_MISDIRECTED,
               s->has_ech ? "its encrypted ClientHello is behind another name"
                          : "it names another host than its address stands for");
        return;
    }
    bool bound = a->to.name_size > 0
                     ? policy_bound(a->worker->policy, a->to.name, a->to.name_size, a->to.port)
                     : adopt_name(a, s);
    if (bound)
        intercept(a, s);
    else
        pass(a, s);
}

static void
decide_sniffed(struct arrival *a, const struct sniff *s)
{
    switch (s->kind) {
    case SNIFF_MORE:
        return;
    case SNIFF_TLS:
    case SNIFF_HTTP:
        decide_known(a, s);
        return;
    case SNIFF_BAD:
        if (s->is_tls || connection_is_web(a->to.port)) {
            refuse(a, DENY_POLICY, s->reason);
            return;
        }
        break;
    case SNIFF_UNKNOWN:
        break;
    }
    if (connection_is_web(a->to.port) && !a->decision.port_named)
        refuse(a, DENY_POLICY, "neither TLS nor HTTP, and no rule names this port");
    else
        pass(a, NULL);
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct arrival *a = user;
    struct sniff s;
    if (buf_append(&a->first, data, size) < 0) {
        refuse(a, DENY_POLICY, "its first bytes tell nothing");
        return;
    }
    // Of a head that drips in, only the end of a line can tell anything new.
    if (buf_size(&a->first) < a->needed ||
        (a->is_http && buf_size(&a->first) < SNIFF_MAX && memchr(data, '\n', size) == NULL))
        return;
    sniff_bytes(buf_bytes(&a->first), buf_size(&a->first), &s);
    a->needed = s.needed < SNIFF_MAX ? s.needed : SNIFF_MAX;
    a->is_http = s.is_http;
    decide_sniffed(a, &s);
}

static void
on_end(void *user)
{
    refuse(user, DENY_POLICY, "it ended before it said what it is");
}

static void
on_close(void *user, const struct error *why)
{
    struct arrival *a = user;
    (void)why;
    a->client = NULL;
    a->worker->connections--;
    uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

static const struct stream_events arrival_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void
on_timeout(uv_timer_t *timer)
{
    struct arrival *a = timer->data;
    if (!connection_is_web(a->to.port) && buf_size(&a->first) == 0)
        pass(a, NULL);
    else
        refuse(a, DENY_POLICY, "it did not say what it is in time");
}

// The time runs from the connection on, whatever drips in; only the end of a silence that is
// allowed to a client on another port turns it into the time to say all.
static void
on_silence(uv_timer_t *timer)
{
    struct arrival *a = timer->data;
    if (connection_is_web(a->to.port) || buf_size(&a->first) > 0)
        (void)uv_timer_start(timer, on_timeout, SNIFF_TIMEOUT_MS - SERVER_FIRST_MS, 0);
    else
        on_timeout(timer);
}

static void
await_first_bytes(struct arrival *a)
{
    stream_set_user(a->client, &arrival_events, a);
    (void)uv_timer_start(&a->timer, on_silence, SERVER_FIRST_MS, 0);
    stream_read_start(a->client);
}

static void
decide(struct arrival *a, const struct in6_addr *addr)
{
    struct worker *w = a->worker;
    names_touch(w->names, addr, clock_monotonic_ms());
    (void)names_lookup(w->names, addr, a->to.name, &a->to.name_size);
    a->decision = policy_decide(w->policy, a->to.name, a->to.name_size, addr, a->to.port);
    a->to.rule = a->decision.rule;
    if (!a->decision.allowed)
        refuse(a, DENY_POLICY, a->decision.reason);
    else if ((a->to.port == PORT_DNS || a->to.port == PORT_DNS_TLS) && !a->decision.port_named)
        refuse(a, DENY_POLICY, "DNS is answered inside, and no rule names this port");
    else if (connection_is_web(a->to.port) ||
             (a->to.name_size > 0 &&
              policy_bound(w->policy, a->to.name, a->to.name_size, a->to.port)))
        await_first_bytes(a);
    else
        pass(a, NULL);
}

void
decide_accepted(struct worker *w, int fd, const struct sockaddr *destination)
{
    struct error err;
    struct stream *client;
    struct in6_addr addr;
    in_port_t port;
    if (stream_from_fd(w->loop, fd, &client, &err) < 0)
        return;
    struct arrival *a = xcalloc(1, sizeof *a);
    a->worker = w;
    a->client = client;
    buf_init(&a->first, SNIFF_MAX);
    (void)uv_timer_init(w->loop, &a->timer);
    a->timer.data = a;
    a->to.conn = ++w->next_connection;
    w->connections++;
    stream_set_user(client, &arrival_events, a);
    if (!address_from_sockaddr(destination, &addr, &port)) {
        stream_close(client);
        return;
    }
    address_to_sockaddr(&addr, port, &a->to.addr);
    a->to.port = port;
    decide(a, &addr);
}
