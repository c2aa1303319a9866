// SPDX-License-Identifier: Apache-2.0
// A stream is ready when its pipe became readable and has not been found empty since. The watch is
// one-shot, so a pipe that nobody may read now costs no wake-ups; finding it empty arms the watch
// again.
//
// While gated, a stream is not read. Open, it is read by outstreams_produce when its channel has
// credit and nothing else to send. Discarded, a task reads it: in slices, so that a process that
// writes without end to nobody does not hold up others.
#include "init/outstream.h"

#include "base/base64.h"
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
    list_remove(&s->ready);
    if (s->state == OUTSTREAM_DISCARD) {
        loop_task_stop(&s->discard);
        loop_task_start(s->loop, &s->discard);
    } else if (s->state == OUTSTREAM_OPEN) {
        list_append(&s->channel->ready_streams, &s->ready);
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
    list_remove(&s->ready);
    loop_task_stop(&s->discard);
    if (s->channel != NULL)
        (void)map_remove(&s->channel->outstreams, s->number);
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

struct outstream *
outstream_new(struct channel *c, int fd, const struct outstream_events *events, void *user)
{
    if (c->outstreams.count >= c->outstreams.cap) {
        (void)close(fd);
        return NULL;
    }
    struct outstream *s = xcalloc(1, sizeof *s);
    s->number = ++c->last_stream;
    s->channel = c;
    s->loop = c->channels->link.loop;
    s->watch = (struct loop_watch){.fd = fd, .ready = watch_ready, .user = s};
    s->discard = (struct loop_task){.step = discard_step, .user = s};
    s->events = events;
    s->user = user;
    list_init(&s->ready);
    list_init(&s->discard.link);
    if (loop_watch_add(s->loop, &s->watch, EPOLLONESHOT) < 0) {
        (void)close(fd);
        free(s);
        return NULL;
    }
    (void)map_put(&c->outstreams, s->number, s);
    return s;
}

void
outstream_open(struct outstream *s)
{
    if (s->state != OUTSTREAM_GATED)
        return;
    s->state = OUTSTREAM_OPEN;
    channel_queue(s->channel, FRAME_STREAM_START, 0, s->number, NULL, 0);
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

void
outstream_discard(struct outstream *s)
{
    if (s->state == OUTSTREAM_DISCARD)
        return;
    s->state = OUTSTREAM_DISCARD;
    channel_unqueue(s->channel, FRAME_STREAM_START, s->number);
    (void)map_remove(&s->channel->outstreams, s->number);
    s->channel = NULL;
    set_ready(s);
    if (s->end_expected)
        set_drained(s);
}

void
outstream_cancel(struct channel *c, uint64_t number)
{
    struct outstream *s = map_get(&c->outstreams, number);
    if (s != NULL)
        outstream_discard(s);
}

void
outstreams_drop(struct channel *c)
{
    struct outstream *s;
    while ((s = map_any(&c->outstreams)) != NULL)
        outstream_discard(s);
}

static void
send_frame(struct channel *c, const struct outstream *s, enum frame_kind kind, const char *text,
           size_t size)
{
    link_send(&c->channels->link, &(struct frame){.kind = kind,
                                                  .channel = (uint32_t)c->number,
                                                  .number = s->number,
                                                  .payload = (const uint8_t *)text,
                                                  .size = size});
    c->credit -= FRAME_HEADER_SIZE + size;
}

static void
send_chunk(struct channel *c, struct outstream *s, const uint8_t *data, size_t size)
{
    static char text[FRAME_PAYLOAD_MAX];
    base64_encode(text, data, size);
    send_frame(c, s, FRAME_STREAM_DATA, text, base64_encoded_size(size));
    s->drain_left -= size < s->drain_left ? size : s->drain_left;
}

// One read of the stream, of at most size bytes. True if a frame was sent.
static bool
produce(struct channel *c, struct outstream *s, size_t size)
{
    static uint8_t data[FRAME_CHUNK_MAX];
    bool last = s->end_expected && s->drain_left == 0;
    ssize_t n = read(s->watch.fd, data, size);
    if (n > 0) {
        send_chunk(c, s, data, (size_t)n);
        set_ready(s); // behind the others
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        list_remove(&s->ready);
        arm(s);
    } else {
        send_frame(c, s, FRAME_STREAM_END, NULL, 0);
        s->end_expected = true;
        set_drained(s);
        outstream_end(s);
        return true;
    }
    if (last)
        set_drained(s);
    return n > 0;
}

bool
outstreams_produce(struct channel *c)
{
    while (!list_is_empty(&c->ready_streams)) {
        if (c->credit < FRAME_HEADER_SIZE + OUTSTREAM_CHUNK_MIN / 3 * 4)
            return false;
        size_t most = (size_t)(c->credit < FRAME_PAYLOAD_MAX ? c->credit : FRAME_PAYLOAD_MAX);
        if (c->credit - FRAME_HEADER_SIZE < most)
            most = (size_t)(c->credit - FRAME_HEADER_SIZE);
        struct outstream *s = CONTAINER_OF(c->ready_streams.next, struct outstream, ready);
        if (produce(c, s, most / 4 * 3))
            return true;
    }
    return false;
}
