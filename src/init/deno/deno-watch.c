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
    if (p->channel->credit < FRAME_HEADER_SIZE)
        return OUTPORT_NO_CREDIT;
    if (w->pending > 0) {
        w->pending--;
        outport_send(p, FRAME_RESTARTED, NULL, 0);
    } else if (w->pipe.fd < 0) {
        outport_send(p, FRAME_STREAM_END, NULL, 0);
        outport_remove(p);
        watch_maybe_free(w);
        return OUTPORT_SENT;
    }
    if (w->pending == 0 && w->pipe.fd >= 0)
        list_remove(&p->ready);
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

static void
pipe_ready(void *user, uint32_t events)
{
    (void)events;
    struct watch *w = user;
    char bytes[64];
    ssize_t n = read(w->pipe.fd, bytes, sizeof bytes);
    if (n == 0)
        loop_watch_change(w->loop, &w->pipe, 0); // nobody has it any more
    for (ssize_t i = 0; i < n; i++) {
        if (w->started && w->port.channel != NULL && w->pending < WATCH_PENDING_MAX)
            w->pending++;
        w->started = true;
    }
    if (w->pending > 0)
        outport_set_ready(&w->port);
}

static int
write_module(const char *folder)
{
    cleanup_free char *path = xasprintf("%s/" WATCH_MODULE, folder);
    cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    return write(fd, MODULE, sizeof MODULE - 1) == (ssize_t)(sizeof MODULE - 1) ? 0 : -1;
}

struct watch *
watch_new(struct channel *c, const char *folder, int *ret_fd)
{
    int ends[2];
    {
        AS_APP_SCOPE(); // who then may open the pipe by its name in /proc
        if (write_module(folder) < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
            return NULL;
    }
    struct watch *w = xcalloc(1, sizeof *w);
    w->loop = c->channels->link.loop;
    w->pipe = (struct loop_watch){.fd = ends[0], .ready = pipe_ready, .user = w};
    if (outport_add(&w->port, c, &watch_ops) < 0 ||
        loop_watch_add(w->loop, &w->pipe, EPOLLIN) < 0) {
        outport_remove(&w->port);
        (void)close(ends[0]);
        (void)close(ends[1]);
        free(w);
        errno = EMFILE;
        return NULL;
    }
    *ret_fd = ends[1];
    return w;
}

uint32_t
watch_number(const struct watch *w)
{
    return w != NULL ? w->port.number : 0;
}

void
watch_end(struct watch *w)
{
    loop_watch_remove(w->loop, &w->pipe);
    (void)close(w->pipe.fd);
    w->pipe.fd = -1;
    if (w->port.channel != NULL)
        outport_set_ready(&w->port); // which sends the end
    else
        free(w);
}
