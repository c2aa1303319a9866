// SPDX-License-Identifier: Apache-2.0
// Upstream sessions between two clients of one sandbox. They were opened and verified for a name,
// under the policy that the worker has for life, and go to nobody but a client that dials this name
// and port. A session is one client's at a time, so the streams of two never share its windows.
//
// A session is fed while it waits, for hosts send PING and SETTINGS, and answers; GOAWAY, an end,
// or whatever a session does not survive takes it out. What a host may then answer to no request is
// dropped by nghttp2, which knows which streams there are. One that was taken lives on likewise
// while its client shakes hands.
#include "egress/h2-internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    IDLE_MAX = 16,         // stops a sandbox from holding connections to the world
    IDLE_PER_HOST_MAX = 4, // and to one host
    IDLE_MS = 30 * 1000,   // shorter than most servers wait
};

struct h2_idle {
    struct h2 h2; // without a client
    struct h2_idle *next;
    bool taken;
};

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

// As good as new: no request is under way, and the host takes others.
static bool
may_wait(const struct h2 *h)
{
    const struct h2_peer *p = &h->upstream;
    if (p->stream == NULL || p->session == NULL || p->failed || p->abused || p->spent || p->full)
        return false;
    for (const struct h2_stream *s = h->streams; s != NULL; s = s->next) {
        if (s->upstream_open)
            return false;
    }
    return p->greeted && p->head_since_ms == 0 && h->to.name_size > 0 && !h2_peer_is_over(p) &&
           nghttp2_session_check_request_allowed(p->session);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct h2_idle *i = handle->data;
    h2_peer_done(&i->h2.upstream);
    free(i);
}

static void
unlink_idle(struct h2_idle *i)
{
    struct h2_idle **link = &i->h2.w->h2_idle;
    while (*link != NULL && *link != i)
        link = &(*link)->next;
    if (*link == i)
        *link = i->next;
}

static void
release(struct h2_idle *i)
{
    unlink_idle(i);
    if (!uv_is_closing((uv_handle_t *)&i->h2.timer))
        uv_close((uv_handle_t *)&i->h2.timer, on_timer_closed);
}

// Who took it finds out when he uses it.
static void
lose(struct h2_idle *i)
{
    struct stream *s = i->h2.upstream.stream;
    i->h2.upstream.stream = NULL;
    if (s != NULL) {
        stream_set_user(s, &no_events, NULL);
        stream_close(s);
    }
    if (!i->taken)
        release(i);
}

static void
settle(struct h2_idle *i)
{
    while (h2_peer_flush(&i->h2.upstream))
        continue;
    if (!may_wait(&i->h2))
        lose(i);
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct h2_idle *i = user;
    h2_peer_receive(&i->h2.upstream, data, size);
    settle(i);
}

static void
on_end(void *user)
{
    lose(user);
}

static void
on_close(void *user, const struct error *why)
{
    (void)why;
    struct h2_idle *i = user;
    i->h2.upstream.stream = NULL;
    lose(i);
}

static const struct stream_events idle_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void
on_timer(uv_timer_t *timer)
{
    lose(timer->data);
}

static bool
is_for(const struct h2_idle *i, const struct destination *to)
{
    return i->h2.to.port == to->port && i->h2.to.name_size == to->name_size &&
           memcmp(i->h2.to.name, to->name, to->name_size) == 0;
}

// The list has the latest first.
static void
make_room(struct worker *w, const struct destination *to)
{
    unsigned all = 0;
    unsigned same = 0;
    struct h2_idle *oldest = NULL;
    struct h2_idle *oldest_same = NULL;
    for (struct h2_idle *i = w->h2_idle; i != NULL; i = i->next) {
        all++;
        oldest = i;
        if (is_for(i, to)) {
            same++;
            oldest_same = i;
        }
    }
    if (same >= IDLE_PER_HOST_MAX)
        lose(oldest_same);
    else if (all >= IDLE_MAX)
        lose(oldest);
}

static void
wait_for_client(struct h2_idle *i)
{
    struct worker *w = i->h2.w;
    make_room(w, &i->h2.to);
    i->taken = false;
    i->next = w->h2_idle;
    w->h2_idle = i;
    (void)uv_timer_start(&i->h2.timer, on_timer, IDLE_MS, 0);
    settle(i);
}

void
h2_idle_put(struct h2 *h)
{
    if (!may_wait(h))
        return;
    // What their clients did not take is owed to the session's window.
    for (struct h2_stream *s = h->streams; s != NULL; s = s->next) {
        h2_pipe_close(s, H2_UPSTREAM);
        if (s->coded != NULL)
            h2_coded_drop(s);
    }
    struct h2_idle *i = xcalloc(1, sizeof *i);
    i->h2.w = h->w;
    i->h2.to = h->to;
    h2_peer_move(&h->upstream, &i->h2.upstream, &i->h2);
    (void)uv_timer_init(h->w->loop, &i->h2.timer);
    i->h2.timer.data = i;
    stream_set_user(i->h2.upstream.stream, &idle_events, i);
    stream_read_start(i->h2.upstream.stream);
    wait_for_client(i);
}

struct h2_idle *
h2_idle_take(struct worker *w, const struct destination *to)
{
    struct h2_idle *next;
    for (struct h2_idle *i = w->h2_idle; i != NULL; i = next) {
        next = i->next;
        if (!is_for(i, to))
            continue;
        // An end may have come that the loop has not seen yet.
        if (!stream_is_quiet(i->h2.upstream.stream)) {
            lose(i);
            continue;
        }
        unlink_idle(i);
        i->taken = true;
        (void)uv_timer_stop(&i->h2.timer);
        return i;
    }
    return NULL;
}

void
h2_idle_give_back(struct h2_idle *i)
{
    if (i->h2.upstream.stream != NULL) {
        wait_for_client(i);
        return;
    }
    i->taken = false;
    release(i);
}

void
h2_idle_use(struct h2_idle *i, struct h2 *h)
{
    if (i->h2.upstream.stream != NULL) {
        h2_peer_move(&i->h2.upstream, &h->upstream, h);
        h->upstream.unproved = true;
    }
    release(i);
}

void
h2_idle_drop_all(struct worker *w)
{
    while (w->h2_idle != NULL)
        lose(w->h2_idle);
}
