// SPDX-License-Identifier: Apache-2.0
#include "init/outport.h"

#include "base/base64.h"

int
outport_add(struct outport *p, struct channel *c, const struct outport_ops *ops)
{
    *p = (struct outport){.channel = c, .ops = ops};
    list_init(&p->ready);
    if (c->outstreams.count >= c->outstreams.cap)
        return -1;
    p->number = ++c->last_stream;
    return map_put(&c->outstreams, p->number, p);
}

void
outport_start(struct outport *p)
{
    channel_queue(p->channel, FRAME_STREAM_START, 0, p->number, NULL, 0);
}

void
outport_set_ready(struct outport *p)
{
    list_remove(&p->ready);
    list_append(&p->channel->ready_streams, &p->ready);
}

void
outport_send(struct outport *p, enum frame_kind kind, const void *payload, size_t size)
{
    struct channel *c = p->channel;
    link_send(&c->channels->link, &(struct frame){.kind = kind,
                                                  .channel = c->number,
                                                  .number = p->number,
                                                  .payload = payload,
                                                  .size = size});
    c->credit -= FRAME_HEADER_SIZE + size;
}

void
outport_send_data(struct outport *p, const uint8_t *data, size_t size)
{
    static char text[FRAME_PAYLOAD_MAX];
    base64_encode(text, data, size);
    outport_send(p, FRAME_STREAM_DATA, text, base64_encoded_size(size));
}

void
outport_remove(struct outport *p)
{
    list_remove(&p->ready);
    if (p->channel == NULL)
        return;
    channel_unqueue(p->channel, FRAME_STREAM_START, p->number);
    (void)map_remove(&p->channel->outstreams, p->number);
    p->channel = NULL;
}

static void
discard(struct outport *p)
{
    outport_remove(p);
    p->ops->discard(p);
}

void
outport_cancel(struct channel *c, uint64_t number)
{
    struct outport *p = map_get(&c->outstreams, number);
    if (p != NULL)
        discard(p);
}

void
outport_barrier_done(struct channel *c, uint64_t number)
{
    struct outport *p = map_get(&c->outstreams, number);
    c->barriers -= c->barriers > 0 ? 1 : 0;
    if (p != NULL && p->ops->passed != NULL)
        p->ops->passed(p);
}

bool
outports_produce(struct channel *c)
{
    while (!list_is_empty(&c->ready_streams)) {
        struct outport *p = CONTAINER_OF(c->ready_streams.next, struct outport, ready);
        enum outport_result r = p->ops->produce(p);
        if (r != OUTPORT_EMPTY)
            return r == OUTPORT_SENT;
    }
    return false;
}

void
outports_drop(struct channel *c)
{
    struct outport *p;
    while ((p = map_any(&c->outstreams)) != NULL)
        discard(p);
}
