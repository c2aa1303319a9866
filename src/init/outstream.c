// SPDX-License-Identifier: Apache-2.0
// A stream is ready when its pipe became readable and has not been found empty since. The watch is
// one-shot, so a pipe that nobody may read now costs no wake-ups; finding it empty arms the watch
// again.
//
// While gated, a stream is not read. Open, it is read by its port when its channel has
// credit and nothing else to send. Discarded, a task reads it: in slices, so that a process that
// writes without end to nobody does not hold up others.
#include "init/outstream.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    // Fewer bytes are read only if the pipe holds no more.
    OUTSTREAM_CHUNK_MIN = 768,
    OUTSTREAM_DISCARD_SLICE = 256 * 1024,
};

static void
arm(struct outstream *s)
{
    loop_watch_change(s->loop, &s->watch, EPOLLIN | EPOLLONESHOT);
}

static void
set_ready(struct outstream *s)
{
    if (s->state == OUTSTREAM_DISCARD) {
        loop_task_stop(&s->discard);
        loop_task_start(s->loop, &s->discard);
    } else if (s->state == OUTSTREAM_OPEN) {
        outport_set_ready(&s->port);
    }
}

static void
watch_ready(void *user, uint32_t events)
{
    (void)events;
    set_ready(user);
}

static void
set_drained(struct outstream *s)
{
    if (s->drained)
        return;
    s->drained = true;
    s->events->drained(s->user);
}

static void
outstream_end(struct outstream *s)
{
    loop_watch_remove(s->loop, &s->watch);
    (void)close(s->watch.fd);
    loop_task_stop(&s->discard);
    outport_remove(&s->port);
    s->events->ended(s->user, s);
    free(s);
}

static bool
discard_step(void *user)
{
    static uint8_t scratch[65536];
    struct outstream *s = user;
    for (size_t done = 0; done < OUTSTREAM_DISCARD_SLICE;) {
        ssize_t n = read(s->watch.fd, scratch, sizeof scratch);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            arm(s);
            return false;
        }
        if (n <= 0) {
            outstream_end(s);
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static const struct outport_ops outstream_ops;

struct outstream *
outstream_new(struct channel *c, int fd, const struct outstream_events *events, void *user)
{
    struct outstream *s = xcalloc(1, sizeof *s);
    s->loop = c->channels->link.loop;
    s->watch = (struct loop_watch){.fd = fd, .ready = watch_ready, .user = s};
    s->discard = (struct loop_task){.step = discard_step, .user = s};
    s->events = events;
    s->user = user;
    list_init(&s->discard.link);
    if (outport_add(&s->port, c, &outstream_ops) < 0 ||
        loop_watch_add(s->loop, &s->watch, EPOLLONESHOT) < 0) {
        outport_remove(&s->port);
        (void)close(fd);
        free(s);
        return NULL;
    }
    return s;
}

void
outstream_open(struct outstream *s)
{
    if (s->state != OUTSTREAM_GATED)
        return;
    s->state = OUTSTREAM_OPEN;
    outport_start(&s->port);
    set_ready(s);
}

void
outstream_expect_end(struct outstream *s)
{
    int left = 0;
    if (ioctl(s->watch.fd, FIONREAD, &left) < 0)
        left = 0;
    s->end_expected = true;
    s->drain_left = (uint64_t)left;
    if (s->state == OUTSTREAM_DISCARD)
        set_drained(s);
    else
        set_ready(s);
}

static void
port_discard(struct outport *p)
{
    struct outstream *s = (struct outstream *)p;
    s->state = OUTSTREAM_DISCARD;
    set_ready(s);
    if (s->end_expected)
        set_drained(s);
}

void
outstream_discard(struct outstream *s)
{
    if (s->state == OUTSTREAM_DISCARD)
        return;
    outport_remove(&s->port);
    port_discard(&s->port);
}

// One read of the stream, of at most size bytes.
static enum outport_result
produce(struct outstream *s, size_t size)
{
    static uint8_t data[FRAME_CHUNK_MAX];
    bool last = s->end_expected && s->drain_left == 0;
    ssize_t n = read(s->watch.fd, data, size);
    if (n > 0) {
        outport_send_data(&s->port, data, (size_t)n);
        s->drain_left -= (size_t)n < s->drain_left ? (size_t)n : s->drain_left;
        set_ready(s); // behind the others
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        list_remove(&s->port.ready);
        arm(s);
    } else {
        outport_send(&s->port, FRAME_STREAM_END, NULL, 0);
        s->end_expected = true;
        set_drained(s);
        outstream_end(s);
        return OUTPORT_SENT;
    }
    if (last)
        set_drained(s);
    return n > 0 ? OUTPORT_SENT : OUTPORT_EMPTY;
}

static enum outport_result
port_produce(struct outport *p)
{
    uint64_t credit = p->channel->credit;
    if (credit < FRAME_HEADER_SIZE + OUTSTREAM_CHUNK_MIN / 3 * 4)
        return OUTPORT_NO_CREDIT;
    credit -= FRAME_HEADER_SIZE;
    size_t most = credit < FRAME_PAYLOAD_MAX ? (size_t)credit : FRAME_PAYLOAD_MAX;
    return produce((struct outstream *)p, most / 4 * 3);
}

static const struct outport_ops outstream_ops = {
    .produce = port_produce,
    .discard = port_discard,
};
