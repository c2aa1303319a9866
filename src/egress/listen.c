// SPDX-License-Identifier: Apache-2.0
#include "egress/listen.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/ratelimit.h"
#include "egress/audit.h"
#include "egress/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPTS_PER_TURN = 32, // then other events have their turn
    PAUSE_MS = 100,        // after running out of descriptors
};

struct listener {
    struct worker *worker;
    int fd;
    unsigned handles;
    uv_poll_t poll;
    uv_timer_t pause;
    struct ratelimit rate;
};

static void
reset_fd(int fd)
{
    const struct linger now = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(fd);
}

static void
refuse(struct listener *l, int fd, const char *reason)
{
    reset_fd(fd);
    (void)audit_emit(l->worker->audit, AUDIT_LIMIT, NULL, "reason", reason, NULL);
}

static void
take(struct listener *l, int fd)
{
    struct sockaddr_storage destination;
    socklen_t size = sizeof destination;
    if (l->worker->connections >= WORKER_CONNECTIONS_MAX)
        refuse(l, fd, "too many connections at once");
    else if (!ratelimit_take(&l->rate, clock_monotonic_ms()))
        refuse(l, fd, "too many new connections a second");
    else if (getsockname(fd, (struct sockaddr *)&destination, &size) < 0)
        reset_fd(fd);
    else
        decide_accepted(l->worker, fd, (const struct sockaddr *)&destination);
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void
on_resume(uv_timer_t *timer)
{
    struct listener *l = timer->data;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

static void
on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(l, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            (void)uv_poll_stop(poll);
            (void)uv_timer_start(&l->pause, on_resume, PAUSE_MS, 0);
        }
        return;
    }
}

int
listener_new(struct worker *w, int tcp_fd, struct listener **ret, struct error *err)
{
    struct listener *l = xcalloc(1, sizeof *l);
    l->worker = w;
    l->fd = tcp_fd;
    ratelimit_init(&l->rate, LISTEN_RATE, LISTEN_RATE, clock_monotonic_ms());
    int r = uv_poll_init(w->loop, &l->poll, tcp_fd);
    if (r < 0) {
        free(l);
        return error_set_errno(err, -r, "watch the listener");
    }
    (void)uv_timer_init(w->loop, &l->pause);
    l->poll.data = l;
    l->pause.data = l;
    l->handles = 2;
    on_resume(&l->pause);
    *ret = l;
    return 0;
}

static void
on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    if (--l->handles == 0)
        free(l);
}

void
listener_free(struct listener *l)
{
    if (l == NULL)
        return;
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->pause, on_closed);
}
