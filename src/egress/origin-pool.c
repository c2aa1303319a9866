// SPDX-License-Identifier: Apache-2.0
// A connection waits here while it is read: the first byte that its host sends, or its end, takes
// it out, so a response to nothing is never the next request's. When it is taken, the kernel is
// asked once more, for bytes that the loop has not seen yet.
//
// What no look can tell is an end that is on its way when the request is written. A safe request is
// then sent once more (exchange.c); for any other the sandbox gets a 502 and may ask again, for
// nobody here can say what it did.
#include "egress/origin-pool.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IDLE_MAX = 32,             // stops a sandbox from holding connections to the world
    IDLE_PER_HOST_MAX = 8,     // and to one host
    IDLE_MS = 30 * 1000,       // shorter than most servers wait, which makes the race rare
    CHOICES_MAX = 32,          // stops names under a wildcard from eating memory
    CHOICE_MS = 10 * 60 * 1000 // a host may change its mind
};

struct idle {
    struct origins *origins; // NULL: taken or dropped
    struct idle *next;       // older
    struct stream *stream;
    uint64_t since_ms;
    uint16_t port;
    bool plain;
    size_t name_size;
    char name[NAME_MAX_SIZE + 1];
};

struct choice {
    int64_t at_ms; // 0: free
    enum origin_protocol chosen;
    unsigned offered;
    uint16_t port;
    size_t name_size;
    char name[NAME_MAX_SIZE + 1];
};

struct origins {
    uv_loop_t *loop;
    uv_timer_t timer; // runs while any are idle
    struct idle *idle;
    unsigned idle_count;
    struct tls_sessions *sessions;
    struct choice choices[CHOICES_MAX];
};

struct origins *
origins_of(struct worker *w)
{
    if (w->origins == NULL) {
        w->origins = xcalloc(1, sizeof *w->origins);
        w->origins->loop = w->loop;
        w->origins->sessions = tls_sessions_new();
        (void)uv_timer_init(w->loop, &w->origins->timer);
        w->origins->timer.data = w->origins;
    }
    return w->origins;
}

// --- idle connections ---

static bool
is_for(const struct idle *i, const struct destination *to, bool plain)
{
    return i->port == to->port && i->plain == plain && i->name_size == to->name_size &&
           memcmp(i->name, to->name, to->name_size) == 0;
}

static void
unlink_idle(struct idle *i)
{
    struct idle **link = &i->origins->idle;
    while (*link != NULL && *link != i)
        link = &(*link)->next;
    if (*link == i)
        *link = i->next;
    i->origins->idle_count--;
    i->origins = NULL;
}

static void
drop(struct idle *i)
{
    if (i == NULL || i->origins == NULL)
        return;
    unlink_idle(i);
    stream_close(i->stream); // and on_close frees it
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    drop(user);
}

static void
on_end(void *user)
{
    drop(user);
}

static void
on_close(void *user, const struct error *why)
{
    (void)why;
    struct idle *i = user;
    if (i->origins != NULL)
        unlink_idle(i);
    free(i);
}

static const struct stream_events idle_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

static struct idle *
oldest(const struct origins *o)
{
    struct idle *i = o->idle;
    while (i != NULL && i->next != NULL)
        i = i->next;
    return i;
}

static void
on_timer(uv_timer_t *timer)
{
    struct origins *o = timer->data;
    uint64_t now = uv_now(o->loop);
    struct idle *i;
    while ((i = oldest(o)) != NULL && now - i->since_ms >= IDLE_MS)
        drop(i);
    if (i != NULL)
        (void)uv_timer_start(timer, on_timer, i->since_ms + IDLE_MS - now, 0);
}

static void
make_room(struct origins *o, const struct destination *to, bool plain)
{
    unsigned same = 0;
    struct idle *oldest_same = NULL;
    for (struct idle *i = o->idle; i != NULL; i = i->next) {
        if (is_for(i, to, plain)) {
            same++;
            oldest_same = i;
        }
    }
    if (same >= IDLE_PER_HOST_MAX)
        drop(oldest_same);
    else if (o->idle_count >= IDLE_MAX)
        drop(oldest(o));
}

void
origins_put_idle(struct origins *o, const struct destination *to, bool plain, struct stream *s)
{
    // A bare address proves nothing that could be asked for again.
    if (to->name_size == 0 || !stream_is_quiet(s)) {
        stream_set_user(s, &no_events, NULL);
        stream_close(s);
        return;
    }
    make_room(o, to, plain);
    struct idle *i = xcalloc(1, sizeof *i);
    i->origins = o;
    i->stream = s;
    i->since_ms = uv_now(o->loop);
    i->port = to->port;
    i->plain = plain;
    i->name_size = to->name_size;
    memcpy(i->name, to->name, to->name_size);
    i->next = o->idle;
    o->idle = i;
    o->idle_count++;
    if (!uv_is_active((uv_handle_t *)&o->timer))
        (void)uv_timer_start(&o->timer, on_timer, IDLE_MS, 0);
    stream_set_user(s, &idle_events, i);
    stream_read_start(s);
}

static struct idle *
find_idle(const struct origins *o, const struct destination *to, bool plain)
{
    struct idle *i = o->idle;
    while (i != NULL && !is_for(i, to, plain))
        i = i->next;
    return i;
}

bool
origins_has_idle(const struct origins *o, const struct destination *to, bool plain)
{
    return find_idle(o, to, plain) != NULL;
}

struct stream *
origins_take_idle(struct origins *o, const struct destination *to, bool plain)
{
    struct idle *i;
    while ((i = find_idle(o, to, plain)) != NULL) {
        if (!stream_is_quiet(i->stream)) {
            drop(i);
            continue;
        }
        struct stream *s = i->stream;
        unlink_idle(i);
        free(i);
        stream_read_stop(s);
        stream_set_user(s, &no_events, NULL);
        return s;
    }
    return NULL;
}

void
origins_drop_idle(struct origins *o)
{
    while (o->idle != NULL)
        drop(o->idle);
    (void)uv_timer_stop(&o->timer);
}

// --- what hosts chose ---

static struct choice *
find_choice(const struct origins *o, const struct destination *to, unsigned offered)
{
    for (size_t i = 0; i < CHOICES_MAX; i++) {
        const struct choice *c = &o->choices[i];
        if (c->at_ms != 0 && c->offered == offered && c->port == to->port &&
            c->name_size == to->name_size && memcmp(c->name, to->name, to->name_size) == 0)
            return (struct choice *)(uintptr_t)c;
    }
    return NULL;
}

static struct choice *
oldest_choice(struct origins *o)
{
    struct choice *found = &o->choices[0];
    for (size_t i = 1; i < CHOICES_MAX; i++) {
        if (o->choices[i].at_ms < found->at_ms)
            found = &o->choices[i];
    }
    return found;
}

void
origins_note_choice(struct origins *o, const struct destination *to, unsigned offered,
                    enum origin_protocol chosen)
{
    struct choice *c = find_choice(o, to, offered);
    if (c == NULL)
        c = oldest_choice(o);
    *c = (struct choice){.at_ms = clock_monotonic_ms(),
                         .chosen = chosen,
                         .offered = offered,
                         .port = to->port,
                         .name_size = to->name_size};
    memcpy(c->name, to->name, to->name_size);
}

unsigned
origins_last_choice(const struct origins *o, const struct destination *to, unsigned offered)
{
    const struct choice *c = find_choice(o, to, offered);
    return c != NULL && clock_monotonic_ms() - c->at_ms < CHOICE_MS ? c->chosen : 0;
}

// --- sessions ---

struct tls_sessions *
origins_sessions(struct origins *o)
{
    return o->sessions;
}

void
origins_session_key(const struct destination *to, unsigned offered,
                    char out[TLS_SESSION_KEY_MAX + 1])
{
    (void)snprintf(out, TLS_SESSION_KEY_MAX + 1, "%s:%u:%u", to->name, (unsigned)to->port, offered);
}
