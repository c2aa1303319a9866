// SPDX-License-Identifier: Apache-2.0
// The first byte tells of the first start, each further one of a restart. What the process writes
// there is its own affair: it can only tell its own client too much, and no more than
// WATCH_PENDING_MAX notices wait for a client that does not read.
#include "base/cleanup.h"
#include "base/mem.h"
#include "init/deno/deno-internal.h"
#include "init/identity.h"
#include "init/outport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { WATCH_PENDING_MAX = 16 };

static const char MODULE[] = "Deno.writeTextFileSync('/proc/self/fd/3', 'r', { append: true });\n";

struct watch {
    struct outport port;
    struct loop *loop;
    struct loop_watch pipe; // fd -1: the process has ended
    bool watching;
    bool started;
    unsigned pending;
};

static void
watch_maybe_free(struct watch *w)
{
    if (w->pipe.fd < 0 && w->port.channel == NULL)
        free(w);
}

static enum outport_result
port_produce(struct outport *p)
{
    struct watch *w = (struct watch *)p;
    bool ended = w->pipe.fd < 0;
    if (p->channel->credit < FRAME_HEADER_SIZE)
        return OUTPORT_NO_CREDIT;
    if (w->pending > 0) {
        w->pending--;
        outport_send(p, FRAME_RESTARTED, NULL, 0);
        if (w->pending == 0 && !ended)
            list_remove(&p->ready);
        return OUTPORT_SENT;
    }
    if (!ended) {
        list_remove(&p->ready);
        return OUTPORT_EMPTY;
    }
    outport_send(p, FRAME_STREAM_END, NULL, 0);
    outport_remove(p);
    watch_maybe_free(w);
    return OUTPORT_SENT;
}

static void
port_discard(struct outport *p)
{
    struct watch *w = (struct watch *)p;
    w->pending = 0;
    watch_maybe_free(w);
}

static const struct outport_ops watch_ops = {.produce = port_produce, .discard = port_discard};

// A pipe that nobody writes to any more would be reported for ever.
static void
stop_watching(struct watch *w)
{
    if (w->watching)
        loop_watch_remove(w->loop, &w->pipe);
    w->watching = false;
}

static void
pipe_ready(void *user, uint32_t events)
{
    (void)events;
    struct watch *w = user;
    char bytes[64];
    ssize_t n = read(w->pipe.fd, bytes, sizeof bytes);
    if (n == 0)
        stop_watching(w);
    for (ssize_t i = 0; i < n; i++) {
        if (w->started && w->port.channel != NULL && w->pending < WATCH_PENDING_MAX)
            w->pending++;
        w->started = true;
    }
    if (w->pending > 0)
        outport_set_ready(&w->port);
}

// As app, who then may open the pipe by its name in /proc. 0 or -errno.
static int
prepare(const char *folder, int ret_ends[2])
{
    AS_APP_SCOPE();
    cleanup_free char *path = xasprintf("%s/" WATCH_MODULE, folder);
    cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, MODULE, sizeof MODULE - 1);
    if (n != (ssize_t)(sizeof MODULE - 1))
        return n < 0 ? -errno : -ENOSPC;
    return pipe2(ret_ends, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
}

int
watch_new(struct channel *c, const char *folder, struct watch **ret, int *ret_fd)
{
    int ends[2] = {-1, -1};
    int r = prepare(folder, ends);
    if (r < 0)
        return r;
    struct watch *w = xcalloc(1, sizeof *w);
    w->loop = c->channels->link.loop;
    w->pipe = (struct loop_watch){.fd = ends[0], .ready = pipe_ready, .user = w};
    if (outport_add(&w->port, c, &watch_ops) < 0 ||
        loop_watch_add(w->loop, &w->pipe, EPOLLIN) < 0) {
        outport_remove(&w->port);
        (void)close(ends[0]);
        (void)close(ends[1]);
        free(w);
        return -EMFILE;
    }
    w->watching = true;
    *ret = w;
    *ret_fd = ends[1];
    return 0;
}

uint32_t
watch_number(const struct watch *w)
{
    return w != NULL ? w->port.number : 0;
}

void
watch_end(struct watch *w)
{
    stop_watching(w);
    (void)close(w->pipe.fd);
    w->pipe.fd = -1;
    if (w->port.channel != NULL)
        outport_set_ready(&w->port); // which sends the end
    else
        free(w);
}
