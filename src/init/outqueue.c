// SPDX-License-Identifier: Apache-2.0
#include "init/outqueue.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

enum { CHUNK_HEAD = sizeof(uint32_t) };

struct outqueue {
    struct outport port; // first
    struct buf chunks;   // of each its size, a uint32_t, and its bytes
    bool open;           // the barrier is passed
    bool full;           // push said so; wanted is owed
    bool over;
    json_t *error; // to end with
    const struct outqueue_events *events;
    void *user;
};

static void
outqueue_free(struct outqueue *q)
{
    outport_remove(&q->port);
    buf_done(&q->chunks);
    json_decref(q->error);
    free(q);
}

static bool
fits(const struct outqueue *q, size_t payload)
{
    return q->port.channel->credit >= FRAME_HEADER_SIZE + payload;
}

static enum outport_result
send_last(struct outqueue *q)
{
    cleanup_free char *text = q->error != NULL ? json_dumps(q->error, JSON_COMPACT) : NULL;
    size_t size = text != NULL ? strlen(text) : 0;
    if (!fits(q, size))
        return OUTPORT_NO_CREDIT;
    outport_send(&q->port, q->error != NULL ? FRAME_STREAM_ERROR : FRAME_STREAM_END, text, size);
    outqueue_free(q);
    return OUTPORT_SENT;
}

static enum outport_result
outqueue_produce(struct outport *p)
{
    struct outqueue *q = (struct outqueue *)p;
    uint32_t size;
    if (buf_size(&q->chunks) == 0) {
        if (q->over)
            return send_last(q);
        list_remove(&p->ready);
        return OUTPORT_EMPTY;
    }
    memcpy(&size, buf_bytes(&q->chunks), sizeof size);
    if (!fits(q, base64_encoded_size(size)))
        return OUTPORT_NO_CREDIT;
    outport_send_data(p, buf_bytes(&q->chunks) + CHUNK_HEAD, size);
    buf_consume(&q->chunks, CHUNK_HEAD + size);
    outport_set_ready(p); // behind the others
    // A producer that failed while there was no room is gone.
    if (q->full && !q->over && buf_size(&q->chunks) <= OUTQUEUE_LOW) {
        q->full = false;
        q->events->wanted(q->user);
    }
    return OUTPORT_SENT;
}

static void
outqueue_passed(struct outport *p)
{
    struct outqueue *q = (struct outqueue *)p;
    if (q->open)
        return;
    q->open = true;
    outport_start(p);
    outport_set_ready(p);
    if (!q->over)
        q->events->wanted(q->user);
}

static void
outqueue_discard(struct outport *p)
{
    struct outqueue *q = (struct outqueue *)p;
    if (!q->over)
        q->events->gone(q->user);
    outqueue_free(q);
}

static const struct outport_ops outqueue_ops = {
    .produce = outqueue_produce,
    .passed = outqueue_passed,
    .discard = outqueue_discard,
};

struct outqueue *
outqueue_new(struct channel *c, const struct outqueue_events *events, void *user)
{
    struct outqueue *q = xcalloc(1, sizeof *q);
    q->events = events;
    q->user = user;
    buf_init(&q->chunks, OUTQUEUE_HIGH + CHUNK_HEAD + FRAME_CHUNK_MAX);
    if (outport_add(&q->port, c, &outqueue_ops) < 0 || c->barriers >= OUTQUEUE_BARRIERS_MAX) {
        outqueue_free(q);
        return NULL;
    }
    return q;
}

void
outqueue_answer(struct outqueue *q, struct call *call, json_t *value)
{
    struct channel *c = q->port.channel;
    call_ok_streams(call, value, &q->port.number, 1);
    c->barriers++;
    channel_queue(c, FRAME_BARRIER, 0, q->port.number, NULL, 0);
}

bool
outqueue_push(struct outqueue *q, const void *data, size_t size)
{
    uint32_t head = (uint32_t)size;
    assert(size > 0 && size <= FRAME_CHUNK_MAX && !q->over && !q->full);
    if (buf_append(&q->chunks, &head, sizeof head) < 0 || buf_append(&q->chunks, data, size) < 0)
        abort();
    if (q->open)
        outport_set_ready(&q->port);
    q->full = buf_size(&q->chunks) >= OUTQUEUE_HIGH;
    return !q->full;
}

static void
finish(struct outqueue *q)
{
    q->over = true;
    if (q->open)
        outport_set_ready(&q->port);
}

void
outqueue_end(struct outqueue *q)
{
    finish(q);
}

void
outqueue_fail(struct outqueue *q, json_t *error)
{
    q->error = error;
    finish(q);
}
