// SPDX-License-Identifier: Apache-2.0
// Sending. Whatever a client is to get stands either in its queue of items (results, starts,
// refusals: things that exist already) or still in a pipe (output of processes). The queue goes
// first, because a stream's start and the result that announces it are in it; pipes are read only
// when the queue is empty and there is credit for a frame, so what nobody fetches stays in the pipe
// and stops the writer.
//
// Channels take turns, a frame each. A channel without credit, or with nothing to say, passes.
//
// Invariants: a frame leaves only if its header and payload fit the credit; between the pieces of
// an item no other frame of its channel leaves; queued is the sum of the unsent bytes of items.
#include "init/channel.h"

#include "base/log.h"
#include "base/mem.h"
#include "init/call.h"
#include "init/files/handles.h"
#include "init/instream.h"
#include "init/outport.h"
#include "wire/pack.h"

#include <stdlib.h>

enum {
    // Less is not worth a frame of its own, unless it is all there is.
    CHANNEL_PIECE_MIN = 1024,
};

struct item {
    struct list link;
    enum frame_kind kind;
    uint8_t flags;
    uint64_t number;
    struct buf payload;
};

static void
item_free(struct channel *c, struct item *i)
{
    list_remove(&i->link);
    c->item_count--;
    c->queued -= buf_size(&i->payload);
    buf_done(&i->payload);
    free(i);
}

void
channel_queue_large(struct channel *c, enum frame_kind kind, uint8_t flags, uint64_t number,
                    struct buf *payload)
{
    struct item *i = xcalloc(1, sizeof *i);
    *i = (struct item){.kind = kind, .flags = flags, .number = number, .payload = *payload};
    *payload = (struct buf){0};
    list_append(&c->items, &i->link);
    c->item_count++;
    c->queued += buf_size(&i->payload);
}

void
channel_queue(struct channel *c, enum frame_kind kind, uint8_t flags, uint64_t number,
              const void *payload, size_t size)
{
    struct buf copy;
    buf_init(&copy, size);
    if (size > 0 && buf_append(&copy, payload, size) < 0)
        abort();
    channel_queue_large(c, kind, flags, number, &copy);
}

void
channel_unqueue(struct channel *c, enum frame_kind kind, uint64_t number)
{
    struct list *next;
    for (struct list *l = c->items.next; l != &c->items; l = next) {
        struct item *i = CONTAINER_OF(l, struct item, link);
        next = l->next;
        if (i->kind == kind && i->number == number)
            item_free(c, i);
    }
}

// The next piece of the first item; false if it does not fit the credit.
static bool
send_item(struct channel *c)
{
    struct item *i = CONTAINER_OF(c->items.next, struct item, link);
    size_t left = buf_size(&i->payload);
    if (c->credit < FRAME_HEADER_SIZE)
        return false;
    size_t piece = left < FRAME_PAYLOAD_MAX ? left : FRAME_PAYLOAD_MAX;
    if (piece > c->credit - FRAME_HEADER_SIZE)
        piece = (size_t)(c->credit - FRAME_HEADER_SIZE);
    if (piece < left && piece < CHANNEL_PIECE_MIN)
        return false;
    uint8_t flags = i->flags | (piece < left ? FRAME_MORE : 0);
    link_send(&c->channels->link, &(struct frame){.kind = i->kind,
                                                  .flags = flags,
                                                  .channel = (uint32_t)c->number,
                                                  .number = i->number,
                                                  .payload = buf_bytes(&i->payload),
                                                  .size = piece});
    c->credit -= FRAME_HEADER_SIZE + piece;
    c->queued -= piece;
    buf_consume(&i->payload, piece);
    i->flags = 0; // which stand on the first piece only
    if (piece == left)
        item_free(c, i);
    return true;
}

static bool
channel_produce(struct channel *c)
{
    if (list_is_empty(&c->items) && outports_produce(c))
        return true;
    // The end of a stream may just have answered a call.
    return !list_is_empty(&c->items) && send_item(c);
}

static bool
channels_produce(void *user)
{
    struct channels *cs = user;
    for (size_t n = cs->by_number.count; n > 0; n--) {
        struct channel *c = CONTAINER_OF(cs->turns.next, struct channel, turn);
        list_remove(&c->turn);
        list_append(&cs->turns, &c->turn);
        if (channel_produce(c))
            return true;
    }
    return false;
}

static int
channel_open(struct channels *cs, const struct frame *f)
{
    struct unpack u;
    unpack_init(&u, f->payload, f->size);
    uint8_t family = unpack_u8(&u);
    uint8_t primary = unpack_u8(&u);
    uint64_t message_max = unpack_u64(&u);
    if (!unpack_complete(&u) || family >= CLIENT_FAMILY_MAX || f->channel == 0 ||
        map_get(&cs->by_number, f->channel) != NULL || cs->by_number.count >= CHANNELS_MAX)
        return -1;
    struct channel *c = xcalloc(1, sizeof *c);
    c->number = f->channel;
    c->channels = cs;
    c->family = (enum client_family)family;
    c->primary = primary != 0;
    c->message_max = message_max;
    c->credit = FRAME_CREDIT_INITIAL;
    buf_init(&c->message, FRAME_MESSAGE_MAX);
    list_init(&c->items);
    list_init(&c->ready_streams);
    list_init(&c->calls);
    map_init(&c->instreams, INSTREAMS_MAX);
    map_init(&c->outstreams, OUTSTREAMS_MAX);
    map_init(&c->handles, HANDLES_MAX);
    (void)map_put(&cs->by_number, c->number, c);
    list_append(&cs->turns, &c->turn);
    return 0;
}

static void
channel_free(struct channel *c)
{
    calls_drop(c);
    instreams_drop(c);
    outports_drop(c);
    handles_drop(c);
    while (!list_is_empty(&c->items))
        item_free(c, CONTAINER_OF(c->items.next, struct item, link));
    list_remove(&c->turn);
    (void)map_remove(&c->channels->by_number, c->number);
    map_done(&c->instreams);
    map_done(&c->outstreams);
    map_done(&c->handles);
    buf_done(&c->message);
    free(c);
}

static void
message_done(struct channel *c, const struct frame *f)
{
    struct buf text = c->message;
    buf_init(&c->message, FRAME_MESSAGE_MAX);
    // See CHANNEL_ITEMS_MAX: the client has this many answers to fetch and fetches none.
    bool cut_off = c->item_count >= CHANNEL_ITEMS_MAX;
    if (!(f->flags & FRAME_IS_DROP) && !cut_off)
        c->channels->message(c, f->number, (f->flags & FRAME_IS_CALL) != 0, &text);
    buf_done(&text);
}

static int
channel_message(struct channel *c, const struct frame *f)
{
    uint8_t what = f->flags & (FRAME_IS_CALL | FRAME_IS_NOTE | FRAME_IS_DROP);
    bool more = (f->flags & FRAME_MORE) != 0;
    if (more ? what != 0 : what == 0 || (what & (what - 1)) != 0)
        return -1;
    if (buf_append(&c->message, f->payload, f->size) < 0)
        return -1;
    if (!more)
        message_done(c, f);
    return 0;
}

static int
channel_frame(struct channel *c, const struct frame *f)
{
    switch ((int)f->kind) {
    case FRAME_CLOSE:
        channel_free(c);
        return 0;
    case FRAME_MESSAGE:
        return channel_message(c, f);
    case FRAME_CREDIT:
        c->credit = f->number > UINT64_MAX - c->credit ? UINT64_MAX : c->credit + f->number;
        return 0;
    case FRAME_CANCEL:
        outport_cancel(c, f->number);
        return 0;
    case FRAME_BARRIER_DONE:
        outport_barrier_done(c, f->number);
        return 0;
    default:
        return -1;
    }
}

static int
channels_frame(void *user, const struct frame *f)
{
    struct channels *cs = user;
    if (f->channel == 0)
        return cs->setup_frame(cs->setup, f, &cs->open);
    if (!cs->open)
        return -1;
    if (f->kind == FRAME_OPEN)
        return channel_open(cs, f);
    struct channel *c = map_get(&cs->by_number, f->channel);
    // A frame may cross the end of its channel.
    return c != NULL ? channel_frame(c, f) : 0;
}

static void
channels_gone(void *user)
{
    struct channels *cs = user;
    struct channel *c;
    while ((c = map_any(&cs->by_number)) != NULL)
        channel_free(c);
}

static const struct link_events channels_events = {
    .frame = channels_frame,
    .produce = channels_produce,
    .gone = channels_gone,
};

void
channels_init(struct channels *cs, struct loop *loop, struct guest *guest)
{
    *cs = (struct channels){.guest = guest};
    map_init(&cs->by_number, CHANNELS_MAX);
    list_init(&cs->turns);
    link_init(&cs->link, loop, &channels_events, cs);
}
