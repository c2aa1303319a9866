// SPDX-License-Identifier: Apache-2.0
// The kernel tells nobody when a process begins to listen, so those that are waited for are looked
// at again and again: soon after a wait began, and then more and more seldom.
#include "base/listener.h"
#include "base/mem.h"
#include "init/deno/deno-internal.h"
#include "init/guest.h"
#include "init/identity.h"
#include "init/process/process.h"

#include <stdlib.h>

enum {
    POLL_FIRST_MS = 5,
    POLL_LAST_MS = 100,
    POLL_WAITS = 16, // looked at a turn: each costs a walk through /proc
};

struct wait {
    struct list link; // in waits
    struct deno *deno;
    struct call *call;
    uint64_t pid;
};

static void
wait_free(struct wait *w)
{
    list_remove(&w->link);
    w->deno->wait_count--;
    free(w);
}

static void
wait_stop(struct call *call, void *user)
{
    (void)call;
    wait_free(user);
}

static void
answer(struct wait *w, bool listens)
{
    struct call *call = w->call;
    wait_free(w);
    call_ok(call, json_boolean(listens));
}

static bool
listens(uint64_t pid)
{
    AS_APP_SCOPE(); // whose processes alone are meant, and may be looked at
    struct listener ignored;
    return listener_find((uint32_t)pid, &ignored);
}

// Looks at a process, and puts it behind the others.
static void
look(struct wait *w)
{
    if (!processes_has(call_guest(w->call)->processes, w->pid)) {
        answer(w, false);
    } else if (listens(w->pid)) {
        answer(w, true);
    } else {
        list_remove(&w->link);
        list_append(&w->deno->waits, &w->link);
    }
}

static void
poll_expired(void *user)
{
    struct deno *d = user;
    size_t count = d->wait_count < POLL_WAITS ? d->wait_count : POLL_WAITS;
    for (size_t i = 0; i < count; i++)
        look(CONTAINER_OF(d->waits.next, struct wait, link));
    if (d->poll_ms < POLL_LAST_MS)
        d->poll_ms = d->poll_ms * 3 / 2 + 1;
    if (d->wait_count > 0)
        loop_timer_start(d->loop, &d->poll, d->poll_ms);
}

void
deno_http_init(struct deno *d)
{
    list_init(&d->waits);
    loop_timer_init(&d->poll, poll_expired, d);
}

void
deno_http_wait(struct call *call, const json_t *params)
{
    uint64_t pid = 0;
    (void)param_index(params, "pid", &pid);
    struct deno *d = call_guest(call)->deno;
    if (!processes_has(call_guest(call)->processes, pid)) {
        call_ok(call, json_false());
        return;
    }
    if (d->wait_count >= DENO_HTTP_WAITS_MAX) {
        call_fail(call, error_object("Error", NULL, "Too many calls of denoHttpWait at once"));
        return;
    }
    struct wait *w = xcalloc(1, sizeof *w);
    w->deno = d;
    w->call = call;
    w->pid = pid;
    call->stop = wait_stop;
    call->user = w;
    list_init(&w->link);
    list_append(&d->waits, &w->link);
    d->wait_count++;
    d->poll_ms = POLL_FIRST_MS;
    loop_timer_start(d->loop, &d->poll, d->poll_ms);
}
