// SPDX-License-Identifier: Apache-2.0
// Waiting for a lock is asking again: the kernel tells nobody without blocking when flock(2) would
// succeed, and one thread is all there is. A waiting call holds the number of its handle and not
// the descriptor, so closing the handle meanwhile is safe, and ends the wait.
#include "init/files/files-internal.h"
#include "init/files/handles.h"
#include "init/guest.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

enum {
    LOCK_RETRY_MS = 5,
    LOCK_RETRY_MAX_MS = 100, // doubled up to this: many who wait long cost little
};

const struct param handles_lock_params[] = {
    {"fileHandleId", PARAM_INDEX},
    {"exclusive", PARAM_BOOL, .optional = true},
    {"abortId", PARAM_INDEX, .optional = true},
    {0},
};

struct locker {
    struct loop_timer timer;
    struct call *call;
    uint64_t handle;
    int how;
    int64_t delay_ms;
};

static int
try_lock(int fd, int how)
{
    AS_APP_SCOPE();
    return flock(fd, how | LOCK_NB) < 0 ? -errno : 0;
}

static void
locker_stop(struct call *call, void *user)
{
    (void)call;
    struct locker *l = user;
    loop_timer_stop(&l->timer);
    free(l);
}

static void
locker_expired(void *user)
{
    struct locker *l = user;
    int fd = handle_fd(l->call->channel, l->handle);
    int r = fd < 0 ? -EBADF : try_lock(fd, l->how);
    if (r == -EAGAIN || r == -EINTR) {
        l->delay_ms = l->delay_ms * 2 < LOCK_RETRY_MAX_MS ? l->delay_ms * 2 : LOCK_RETRY_MAX_MS;
        loop_timer_start(call_guest(l->call)->loop, &l->timer, l->delay_ms);
        return;
    }
    struct call *call = l->call;
    free(l);
    call->stop = NULL;
    files_answer(call, r, "flock", NULL);
}

void
handles_lock(struct call *call, const json_t *params)
{
    int fd = handle_take(call, params, "flock");
    if (fd < 0)
        return;
    int how = param_flag(params, "exclusive", false) ? LOCK_EX : LOCK_SH;
    int r = try_lock(fd, how);
    if (r != -EAGAIN && r != -EINTR) {
        files_answer(call, r, "flock", NULL);
        return;
    }
    struct locker *l = xcalloc(1, sizeof *l);
    *l = (struct locker){.call = call, .how = how, .delay_ms = LOCK_RETRY_MS};
    (void)param_index(params, "fileHandleId", &l->handle);
    loop_timer_init(&l->timer, locker_expired, l);
    loop_timer_start(call_guest(call)->loop, &l->timer, l->delay_ms);
    call->stop = locker_stop;
    call->user = l;
}

void
handles_unlock(struct call *call, const json_t *params)
{
    int fd = handle_take(call, params, "flock");
    if (fd >= 0)
        files_answer(call, flock(fd, LOCK_UN) < 0 ? -errno : 0, "flock", NULL);
}
