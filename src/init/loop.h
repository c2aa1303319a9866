// SPDX-License-Identifier: Apache-2.0
// The one event loop: epoll(7), timers, and background work that is done in slices.
#pragma once

#include "init/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

struct loop_watch {
    int fd;
    void (*ready)(void *user, uint32_t events); // may remove this watch and any other
    void *user;
};

struct loop_timer {
    struct list link;
    int64_t due_ms; // monotonic
    void (*expired)(void *user);
    void *user;
};

// Work that is too long for one turn of the loop: step does a part of it and tells whether more is
// left. The loop drops the task when step returns false, which may then have freed it.
struct loop_task {
    struct list link;
    bool (*step)(void *user);
    void *user;
};

struct loop *loop_new(void); // ends the process if there is no epoll
void loop_free(struct loop *l);

// w->fd, ready and user are set; events as for epoll_ctl(2). 0 or -errno.
int loop_watch_add(struct loop *l, struct loop_watch *w, uint32_t events);
void loop_watch_change(struct loop *l, struct loop_watch *w, uint32_t events);
void loop_watch_remove(struct loop *l, struct loop_watch *w); // before its fd is closed

void loop_timer_init(struct loop_timer *t, void (*expired)(void *user), void *user);
void loop_timer_start(struct loop *l, struct loop_timer *t, int64_t delay_ms); // again: moves it
void loop_timer_stop(struct loop_timer *t);

// A step of a task goes on while this is true: for so many rounds, and no longer than
// LOOP_SLICE_MS, whatever a round may take. A tree may be made so that each of its entries costs
// milliseconds.
enum { LOOP_SLICE_MS = 5 };
struct loop_slice {
    int left;
    int64_t until_ms; // 0: has not begun
};
bool loop_slice_next(struct loop_slice *s);

void loop_task_start(struct loop *l, struct loop_task *t);
void loop_task_stop(struct loop_task *t); // not from within its step

// Runs until loop_stop. before_sleep is called once a turn, after all events; when it returns true
// there is more to do at once, and the loop only looks for events instead of waiting.
void loop_run(struct loop *l, bool (*before_sleep)(void *user), void *user);
void loop_stop(struct loop *l);
