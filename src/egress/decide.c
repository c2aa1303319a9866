// SPDX-License-Identifier: Apache-2.0
// What becomes of an accepted connection. The name that the synthetic address stands for is decided
// on first; where it is not allowed, nothing more is read than a readable refusal needs. Where the
// port or a secret asks for it, the first bytes are looked at, and the name in them must be that
// same name:
//
//   80 and 443       TLS or HTTP with the right name; other bytes only if the rule names the port
//   a bound host     TLS or HTTP is intercepted on any port, and so it is for an inspected host.
//                    Where the client stays silent, as with protocols in which the server speaks
//                    first, bytes are relayed: no secret is put into them, so none can be lost.
//   53 and 853       only if the rule names the port: DNS is the resolver's, so that it carries
//                    nothing out
//   all else         relayed at once
//
// A bare address is what the rules and the address table say of it. TLS in it that names a bound
// host is intercepted, and then goes where the name says.
//
// A name that was asked for at the explicit proxy (proxy.h) is judged as if its address had been
// dialled, and what follows in the tunnel meets the same rules.
//
// An encrypted ClientHello hides a name behind the one that is seen. A greased one, which browsers
// send always, looks the same, so both are refused where a list of rules is to hold and the bytes
// would pass unread; a connection that is intercepted ignores it, as a server without keys does.
#include "egress/connection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "egress/audit.h"
#include "egress/intercept.h"
#include "egress/names.h"
#include "egress/proxy.h"
#include "egress/sniff.h"
#include "policy/address.h"

#include <stdlib.h>
#include <string.h>

enum {
    PORT_DNS = 53,
    PORT_DNS_TLS = 853,
    SERVER_FIRST_MS = 500,     // how long a client of a bound host may be silent on another port
    FIRST_MAX = 2 * SNIFF_MAX, // what is looked at, and what came along with the last of it
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

// What cannot be audited does not happen, unless the policy would rather go on.
static bool
audit_allow(struct arrival *a, const struct sniff *s)
{
    const char *sni = s != NULL && s->kind == SNIFF_TLS && s->has_name ? s->name : NULL;
    if (audit_emit(a->worker->audit, AUDIT_CONN_ALLOW, &a->to, "sni", sni, NULL) == 0 ||
        policy_settings(a->worker->policy)->drop_audit)
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

static bool
is_read(const struct policy *p, const char *name, size_t size, uint16_t port)
{
    return policy_bound(p, name, size, port) || policy_inspected(p, name, size, port);
}

// Gives a connection to a bare address the name in its first bytes, where that is of a host whose
// requests are read.
static bool
adopt_name(struct arrival *a, const struct sniff *s)
{
    const struct policy *p = a->worker->policy;
    if (!s->has_name || !is_read(p, s->name, s->name_size, a->to.port))
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

// Without any list everything public is allowed, and there is nothing to hide a name from.
static bool
hides_a_name(const struct arrival *a, const struct sniff *s)
{
    const struct policy *p = a->worker->policy;
    return s->has_ech && policy_tells_hosts_apart(p) && !policy_settings(p)->pass_ech;
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
    bool read = a->to.name_size > 0
                    ? is_read(a->worker->policy, a->to.name, a->to.name_size, a->to.port)
                    : adopt_name(a, s);
    if (read)
        intercept(a, s);
    else if (hides_a_name(a, s))
        refuse(a, DENY_POLICY,
               "its encrypted ClientHello (ECH) may hide another name; the policy's "
               "\"ech\": \"allow\" lets it pass");
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

// Nobody is there to wait for, but what began as HTTP or TLS may still be answered.
static void
on_end(void *user)
{
    struct arrival *a = user;
    if (buf_size(&a->first) == 0)
        deny_with(a->worker, leave(a), &a->to, "it ended before it said anything", NULL, 0);
    else
        refuse(a, DENY_POLICY, "it ended before it said what it is");
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
    else if (buf_size(&a->first) == 0) // it had its time
        deny_with(a->worker, leave(a), &a->to, "it said nothing in time", NULL, 0);
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
await_first_bytes(struct arrival *a, const uint8_t *first, size_t first_size)
{
    (void)uv_timer_start(&a->timer, on_silence, SERVER_FIRST_MS, 0);
    stream_read_start(a->client);
    if (first_size > 0)
        on_data(a, first, first_size);
}

struct policy_decision
decide_judge(struct worker *w, struct destination *to)
{
    struct in6_addr addr;
    in_port_t port;
    struct policy_decision d = {.reason = "not an address of the internet"};
    if (!address_from_sockaddr((const struct sockaddr *)&to->addr, &addr, &port))
        return d;
    names_touch(w->names, &addr, clock_monotonic_ms());
    (void)names_lookup(w->names, &addr, to->name, &to->name_size);
    d = policy_decide(w->policy, to->name, to->name_size, &addr, to->port);
    to->rule = d.rule;
    if (d.allowed && (to->port == PORT_DNS || to->port == PORT_DNS_TLS) && !d.port_named) {
        d.allowed = false;
        d.reason = "DNS is answered inside, and no rule names this port";
    }
    return d;
}

void
decide_go_on(struct worker *w, struct stream *client, const struct destination *to,
             const struct policy_decision *decision, const uint8_t *first, size_t first_size)
{
    struct arrival *a = xcalloc(1, sizeof *a);
    a->worker = w;
    a->client = client;
    a->to = *to;
    a->decision = *decision;
    buf_init(&a->first, FIRST_MAX);
    (void)uv_timer_init(w->loop, &a->timer);
    a->timer.data = a;
    stream_set_user(client, &arrival_events, a);
    if (connection_is_web(to->port) ||
        (to->name_size > 0 && is_read(w->policy, to->name, to->name_size, to->port)))
        await_first_bytes(a, first, first_size);
    else if (first_size > 0 && buf_append(&a->first, first, first_size) < 0)
        refuse(a, DENY_POLICY, "too many bytes before it was decided");
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
    if (!address_from_sockaddr(destination, &addr, &port)) {
        stream_close(client);
        return;
    }
    struct destination to = {.conn = ++w->next_connection, .port = port};
    address_to_sockaddr(&addr, port, &to.addr);
    w->connections++;
    if (names_is_service(&addr) && proxy_serves(port)) {
        proxy_start(w, client, &to);
        return;
    }
    struct policy_decision d = decide_judge(w, &to);
    if (d.allowed)
        decide_go_on(w, client, &to, &d, NULL, 0);
    else
        deny_start(w, client, &to, DENY_POLICY, d.reason, NULL, 0);
}
