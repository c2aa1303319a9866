// SPDX-License-Identifier: Apache-2.0
#include "init/loop.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOP_EVENTS_MAX = 64 };

struct loop {
    int epoll;
    bool stopped;
    struct list timers; // by due time, earliest first
    struct list tasks;
    // The batch in hand. A watch that is removed by a handler is struck from the rest of it.
    struct epoll_event events[LOOP_EVENTS_MAX];
    int event_count;
};

struct loop *
loop_new(void)
{
    struct loop *l = xcalloc(1, sizeof *l);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0)
        abort();
    list_init(&l->timers);
    list_init(&l->tasks);
    return l;
}

void
loop_free(struct loop *l)
{
    (void)close(l->epoll);
    free(l);
}

int
loop_watch_add(struct loop *l, struct loop_watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, w->fd, &e) < 0 ? -errno : 0;
}

void
loop_watch_change(struct loop *l, struct loop_watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    (void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, w->fd, &e);
}

void
loop_watch_remove(struct loop *l, struct loop_watch *w)
{
    (void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = 0; i < l->event_count; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
}

void
loop_timer_init(struct loop_timer *t, void (*expired)(void *user), void *user)
{
    list_init(&t->link);
    t->expired = expired;
    t->user = user;
}

void
loop_timer_start(struct loop *l, struct loop_timer *t, int64_t delay_ms)
{
    list_remove(&t->link);
    t->due_ms = clock_monotonic_ms() + delay_ms;
    struct list *before = l->timers.prev;
    while (before != &l->timers &&
           CONTAINER_OF(before, struct loop_timer, link)->due_ms > t->due_ms)
        before = before->prev;
    list_append(before->next, &t->link);
}

void
loop_timer_stop(struct loop_timer *t)
{
    list_remove(&t->link);
}

void
loop_task_start(struct loop *l, struct loop_task *t)
{
    list_append(&l->tasks, &t->link);
}

void
loop_task_stop(struct loop_task *t)
{
    list_remove(&t->link);
}

bool
loop_slice_next(struct loop_slice *s)
{
    int64_t now = clock_monotonic_ms();
    if (s->until_ms == 0)
        s->until_ms = now + LOOP_SLICE_MS;
    return s->left-- > 0 && now < s->until_ms;
}

static void
run_timers(struct loop *l)
{
    int64_t now = clock_monotonic_ms();
    while (!list_is_empty(&l->timers)) {
        struct loop_timer *t = CONTAINER_OF(l->timers.next, struct loop_timer, link);
        if (t->due_ms > now)
            return;
        list_remove(&t->link);
        t->expired(t->user);
    }
}

// One step of the task that waited longest: tasks take turns with each other and with events.
static void
run_task(struct loop *l)
{
    if (list_is_empty(&l->tasks))
        return;
    struct loop_task *t = CONTAINER_OF(l->tasks.next, struct loop_task, link);
    list_remove(&t->link);
    if (t->step(t->user))
        list_append(&l->tasks, &t->link);
}

static int
sleep_ms(const struct loop *l, bool busy)
{
    if (busy || !list_is_empty(&l->tasks))
        return 0;
    if (list_is_empty(&l->timers))
        return -1;
    int64_t left =
        CONTAINER_OF(l->timers.next, struct loop_timer, link)->due_ms - clock_monotonic_ms();
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

void
loop_run(struct loop *l, bool (*before_sleep)(void *user), void *user)
{
    while (!l->stopped) {
        bool busy = before_sleep(user);
        if (l->stopped)
            break;
        l->event_count = epoll_wait(l->epoll, l->events, LOOP_EVENTS_MAX, sleep_ms(l, busy));
        for (int i = 0; i < l->event_count; i++) {
            struct loop_watch *w = l->events[i].data.ptr;
            if (w != NULL)
                w->ready(w->user, l->events[i].events);
        }
        l->event_count = 0;
        run_timers(l);
        run_task(l);
    }
}

void
loop_stop(struct loop *l)
{
    l->stopped = true;
}
