// SPDX-License-Identifier: Apache-2.0
// A dial: begin -> (resolving) -> connecting -> done. Addresses of both families are tried in turn,
// a new one every STAGGER_MS while the ones before are silent and at once when one has failed; the
// first that connects is taken and the others are let go (RFC 8305). c-ares asks the host's own
// resolver; its sockets and deadlines hang on the worker's loop. Each answer is judged by the
// address rules, and the address that passed is the one that is connected, so an answer that
// changes between the check and the connect (rebinding) changes nothing.
//
// The host's own addresses are public addresses to the table: whether an address is one of them is
// the kernel's to say (route.h).
#include "egress/upstream.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "egress/route.h"
#include "policy/address.h"

#include <ares.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DIAL_TIMEOUT_MS = 10 * 1000,   // resolving and all attempts together
    ATTEMPT_TIMEOUT_MS = 3 * 1000, // one address
    STAGGER_MS = 250,              // RFC 8305 5: "Connection Attempt Delay"
    ATTEMPTS_MAX = 4,              // at once; stops names with many dead addresses from eating the
                                   // worker's descriptors
    RESOLVE_TRY_MS = 2000,
    RESOLVE_TRIES = 2,
    RESOLVE_TICK_MS = 250,
    ADDRESSES_MAX = 16, // stops a host that answers with hundreds of dead addresses
};

struct upstreams {
    struct worker *worker;
    ares_channel channel;
    int routes; // route.h
    struct watch *watches;
    uv_timer_t tick; // runs while questions are out, for their timeouts
    unsigned questions;
    unsigned handles; // not yet closed; the last one frees this
    bool freed;
};

// A socket of c-ares.
struct watch {
    uv_poll_t poll;
    struct upstreams *upstreams;
    struct watch *next;
    ares_socket_t fd;
};

struct attempt {
    struct upstream_dial *dial;
    struct stream *stream; // NULL: free
    size_t address;
    int64_t end_ms;
};

struct upstream_dial {
    struct upstreams *upstreams;
    struct destination to;
    upstream_done *done; // NULL: finished or forgotten
    void *user;
    uv_timer_t timer;
    bool timer_closed;
    bool resolving;
    bool exempt; // dialled where the operator said
    int64_t deadline_ms;
    struct attempt attempts[ATTEMPTS_MAX];
    unsigned running;
    int64_t next_ms; // not before then, unless none is running
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    size_t count;
    size_t next;
    struct error why; // of the last failure
};

static void advance(struct upstream_dial *d);

static void
release_upstreams(struct upstreams *u)
{
    if (u->freed && u->handles == 0)
        free(u);
}

static void
on_upstreams_handle_closed(uv_handle_t *handle)
{
    struct upstreams *u = handle->data;
    u->handles--;
    release_upstreams(u);
}

static void
on_watch_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;
    struct upstreams *u = w->upstreams;
    free(w);
    u->handles--;
    release_upstreams(u);
}

static void
on_socket_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    // Closing the socket inside ends the watch, but its memory lives until the loop's next turn.
    ares_process_fd(w->upstreams->channel,
                    status < 0 || (events & UV_READABLE) != 0 ? w->fd : ARES_SOCKET_BAD,
                    status < 0 || (events & UV_WRITABLE) != 0 ? w->fd : ARES_SOCKET_BAD);
}

static void
on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct upstreams *u = data;
    struct watch **link = &u->watches;
    while (*link != NULL && (*link)->fd != fd)
        link = &(*link)->next;
    struct watch *w = *link;
    if (!readable && !writable) {
        if (w != NULL) {
            *link = w->next;
            uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        }
        return;
    }
    if (w == NULL) {
        w = xcalloc(1, sizeof *w);
        w->upstreams = u;
        w->fd = fd;
        if (uv_poll_init(u->worker->loop, &w->poll, fd) < 0) {
            free(w); // the question times out
            return;
        }
        w->poll.data = w;
        w->next = u->watches;
        u->watches = w;
        u->handles++;
    }
    (void)uv_poll_start(&w->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                        on_socket_ready);
}

static void
on_tick(uv_timer_t *timer)
{
    struct upstreams *u = timer->data;
    ares_process_fd(u->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (u->questions == 0)
        (void)uv_timer_stop(timer);
}

int
upstreams_new(struct worker *w, struct upstreams **ret, struct error *err)
{
    static char dns_only[] = "b"; // no hosts file: the worker has no file system
    struct upstreams *u = xcalloc(1, sizeof *u);
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN,
        .timeout = RESOLVE_TRY_MS,
        .tries = RESOLVE_TRIES,
        .lookups = dns_only,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = u,
    };
    u->worker = w;
    u->routes = route_open(err);
    if (u->routes < 0) {
        free(u);
        return -1;
    }
    int r = ares_init_options(&u->channel, &options,
                              ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                  ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (r != ARES_SUCCESS) {
        (void)close(u->routes);
        free(u);
        return error_set(err, ERR_INTERNAL, "cannot start the resolver: %s", ares_strerror(r));
    }
    (void)uv_timer_init(w->loop, &u->tick);
    u->tick.data = u;
    u->handles = 1;
    *ret = u;
    return 0;
}

void
upstreams_free(struct upstreams *u)
{
    if (u == NULL)
        return;
    ares_destroy(u->channel);
    (void)close(u->routes);
    u->freed = true;
    uv_close((uv_handle_t *)&u->tick, on_upstreams_handle_closed);
}

static void
release_dial(struct upstream_dial *d)
{
    if (d->timer_closed && !d->resolving)
        free(d);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct upstream_dial *d = handle->data;
    d->timer_closed = true;
    release_dial(d);
}

static const struct stream_events abandoned_events = {0};

static void
abandon(struct attempt *a)
{
    if (a->stream == NULL)
        return;
    stream_set_user(a->stream, &abandoned_events, NULL);
    stream_set_reset(a->stream);
    stream_close(a->stream);
    a->stream = NULL;
    a->dial->running--;
}

static void
abandon_all(struct upstream_dial *d)
{
    for (size_t i = 0; i < ATTEMPTS_MAX; i++)
        abandon(&d->attempts[i]);
}

static void
finish(struct upstream_dial *d, struct stream *s, const struct sockaddr *peer,
       const struct error *why)
{
    upstream_done *done = d->done;
    d->done = NULL;
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
    done(d->user, s, peer, why);
}

void
upstream_cancel(struct upstream_dial *d)
{
    d->done = NULL;
    abandon_all(d);
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

static void
finish_failed(struct upstream_dial *d)
{
    struct error why = d->why;
    finish(d, NULL, NULL, &why);
}

static const char *
shown_host(const struct upstream_dial *d)
{
    return d->to.name_size > 0 ? d->to.name : "the address";
}

static bool
is_dialable(struct upstream_dial *d, const struct sockaddr *addr)
{
    struct in6_addr a;
    in_port_t port;
    if (d->exempt)
        return true;
    if (!address_from_sockaddr(addr, &a, &port))
        return false;
    const char *why = policy_check_address(d->upstreams->worker->policy, d->to.name,
                                           d->to.name_size, &a, d->to.port);
    if (why != NULL) {
        (void)error_set(&d->why, ERR_FORBIDDEN, "%s resolves to a %s", shown_host(d), why);
        return false;
    }
    if (!route_leaves_host(d->upstreams->routes, &a)) {
        (void)error_set(&d->why, ERR_UNAVAILABLE, "%s: no route", shown_host(d));
        return false;
    }
    return true;
}

static void
on_open(void *user)
{
    struct attempt *a = user;
    struct upstream_dial *d = a->dial;
    struct stream *s = TAKE_PTR(a->stream);
    struct sockaddr_storage peer = d->addresses[a->address];
    d->running--;
    abandon_all(d);
    stream_set_user(s, &abandoned_events, NULL);
    finish(d, s, (const struct sockaddr *)&peer, NULL);
}

static void
on_failed(void *user, const struct error *why)
{
    struct attempt *a = user;
    struct upstream_dial *d = a->dial;
    a->stream = NULL;
    d->running--;
    d->next_ms = 0;
    (void)error_set(&d->why, ERR_UNAVAILABLE, "%s: %s", shown_host(d),
                    why != NULL ? why->msg : "closed");
    advance(d);
}

static const struct stream_events connecting_events = {.on_open = on_open, .on_close = on_failed};

static void
on_timeout(uv_timer_t *timer)
{
    struct upstream_dial *d = timer->data;
    if (!d->resolving) {
        advance(d);
        return;
    }
    (void)error_set(&d->why, ERR_UNAVAILABLE, "%s: the resolver does not answer", shown_host(d));
    finish_failed(d);
}

static void
expire(struct upstream_dial *d, int64_t now)
{
    for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
        if (d->attempts[i].stream == NULL || d->attempts[i].end_ms > now)
            continue;
        abandon(&d->attempts[i]);
        (void)error_set(&d->why, ERR_UNAVAILABLE, "%s: connect timed out", shown_host(d));
    }
}

// Tries the next address, if it may be tried at all. There is a free attempt.
static void
begin(struct upstream_dial *d, int64_t now)
{
    struct attempt *a = d->attempts;
    while (a->stream != NULL)
        a++;
    struct error err;
    a->dial = d;
    a->address = d->next++;
    const struct sockaddr *addr = (const struct sockaddr *)&d->addresses[a->address];
    if (!is_dialable(d, addr))
        return;
    if (stream_connect(d->upstreams->worker->loop, addr, &a->stream, &err) < 0) {
        a->stream = NULL;
        (void)error_set(&d->why, ERR_UNAVAILABLE, "%s: %s", shown_host(d), err.msg);
        return;
    }
    int64_t end_ms = now + ATTEMPT_TIMEOUT_MS;
    a->end_ms = end_ms < d->deadline_ms ? end_ms : d->deadline_ms;
    stream_set_user(a->stream, &connecting_events, a);
    d->running++;
    d->next_ms = now + STAGGER_MS;
}

static void
wait_on(struct upstream_dial *d, int64_t now)
{
    int64_t until = d->deadline_ms;
    for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
        if (d->attempts[i].stream != NULL && d->attempts[i].end_ms < until)
            until = d->attempts[i].end_ms;
    }
    if (d->next < d->count && d->running < ATTEMPTS_MAX && d->next_ms < until)
        until = d->next_ms;
    (void)uv_timer_start(&d->timer, on_timeout, until > now ? (uint64_t)(until - now) : 0, 0);
}

// Something has happened, or it is time that something does.
static void
advance(struct upstream_dial *d)
{
    int64_t now = clock_monotonic_ms();
    expire(d, now);
    while (now < d->deadline_ms && d->next < d->count && d->running < ATTEMPTS_MAX &&
           (d->running == 0 || now >= d->next_ms))
        begin(d, now);
    if (d->running > 0)
        wait_on(d, now);
    else
        finish_failed(d);
}

static void
add_address(struct upstream_dial *d, const struct in6_addr *a)
{
    if (d->count < ADDRESSES_MAX)
        address_to_sockaddr(a, d->to.port, &d->addresses[d->count++]);
}

// IPv6 and IPv4 in turn, each family in the order of its answers.
static void
take_answers(struct upstream_dial *d, const struct ares_addrinfo *result)
{
    const struct ares_addrinfo_node *v6 = result->nodes;
    const struct ares_addrinfo_node *v4 = result->nodes;
    while ((v6 != NULL || v4 != NULL) && d->count < ADDRESSES_MAX) {
        struct in6_addr a;
        in_port_t port;
        while (v6 != NULL && v6->ai_family != AF_INET6)
            v6 = v6->ai_next;
        if (v6 != NULL) {
            if (address_from_sockaddr(v6->ai_addr, &a, &port))
                add_address(d, &a);
            v6 = v6->ai_next;
        }
        while (v4 != NULL && v4->ai_family != AF_INET)
            v4 = v4->ai_next;
        if (v4 != NULL) {
            if (address_from_sockaddr(v4->ai_addr, &a, &port))
                add_address(d, &a);
            v4 = v4->ai_next;
        }
    }
}

static void
on_resolved(void *user, int status, int timeouts, struct ares_addrinfo *result)
{
    struct upstream_dial *d = user;
    (void)timeouts;
    d->resolving = false;
    d->upstreams->questions--;
    if (result != NULL) {
        if (d->done != NULL)
            take_answers(d, result);
        ares_freeaddrinfo(result);
    }
    if (d->done == NULL) {
        release_dial(d);
        return;
    }
    if (d->count == 0)
        (void)error_set(&d->why,
                        status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_SUCCESS
                            ? ERR_NOT_FOUND
                            : ERR_UNAVAILABLE,
                        "%s: %s", shown_host(d),
                        status == ARES_SUCCESS ? "has no address" : ares_strerror(status));
    advance(d);
}

static void
resolve(struct upstream_dial *d)
{
    struct upstreams *u = d->upstreams;
    const struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    d->resolving = true;
    u->questions++;
    if (!uv_is_active((uv_handle_t *)&u->tick))
        (void)uv_timer_start(&u->tick, on_tick, RESOLVE_TICK_MS, RESOLVE_TICK_MS);
    (void)uv_timer_start(&d->timer, on_timeout, DIAL_TIMEOUT_MS, 0);
    ares_getaddrinfo(u->channel, d->to.name, NULL, &hints, on_resolved, d);
}

static void
on_begin(uv_timer_t *timer)
{
    struct upstream_dial *d = timer->data;
    const struct destination *to = &d->to;
    const struct sockaddr *override =
        to->name_size > 0
            ? policy_dial_override(d->upstreams->worker->policy, to->name, to->name_size)
            : NULL;
    d->deadline_ms = clock_monotonic_ms() + DIAL_TIMEOUT_MS;
    if (override != NULL) {
        d->exempt = true;
        memcpy(&d->addresses[d->count++], override,
               override->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                              : sizeof(struct sockaddr_in6));
        advance(d);
    } else if (to->name_size > 0) {
        resolve(d);
    } else {
        struct in6_addr a;
        in_port_t port;
        if (address_from_sockaddr((const struct sockaddr *)&to->addr, &a, &port))
            add_address(d, &a);
        advance(d);
    }
}

struct upstream_dial *
upstream_connect(struct upstreams *u, const struct destination *to, upstream_done *done, void *user)
{
    struct upstream_dial *d = xcalloc(1, sizeof *d);
    d->upstreams = u;
    d->to = *to;
    d->done = done;
    d->user = user;
    (void)error_set(&d->why, ERR_UNAVAILABLE, "%s: no address", shown_host(d));
    (void)uv_timer_init(u->worker->loop, &d->timer);
    d->timer.data = d;
    (void)uv_timer_start(&d->timer, on_begin, 0, 0);
    return d;
}
