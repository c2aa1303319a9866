// SPDX-License-Identifier: Apache-2.0
// One client connection as seen from inside: its credit, what waits to be sent to it, its streams
// in both directions and its unanswered calls. All of it goes when the connection goes.
#pragma once

#include "base/map.h"
#include "init/link.h"
#include "init/list.h"

enum {
    // Messages and results that a client does not fetch. Past the first an answer is replaced by a
    // short
    // error, past the second calls are dropped: a client that only asks and never reads is cut off.
    CHANNEL_QUEUED_MAX = 256 * 1024 * 1024,
    CHANNEL_ITEMS_MAX = 65536,
    CHANNELS_MAX = 1024,
    // Open output streams of a client; casemated maps as many.
    OUTSTREAMS_MAX = 16384,
    // Open files of a client: one that never closes leaves descriptors for the others.
    HANDLES_MAX = 1024,
    // Room that the daemon's envelope around a result takes of the client's message limit.
    CHANNEL_ENVELOPE = 512,
};

struct guest;

struct channel {
    uint32_t number;
    struct list turn; // in channels.turns
    struct channels *channels;
    enum client_family family;
    bool primary;
    uint64_t message_max;
    uint64_t credit;
    struct buf message; // pieces of the message that is coming in
    struct list items;  // frames to send, in order
    size_t item_count;
    size_t queued; // bytes of them
    struct map instreams;
    size_t instream_held; // bytes held for streams that no call took up yet
    struct map outstreams;
    struct list ready_streams;
    uint32_t last_stream;
    unsigned barriers;  // sent and not passed
    struct map handles; // open files, by their number
    uint64_t last_handle;
    struct list calls;
};

struct channels {
    struct link link;
    struct guest *guest;
    struct map by_number;
    struct list turns; // round robin of those that may have something to send
    bool open;         // set-up is done, clients may come
    void *setup;
    int (*setup_frame)(void *setup, const struct frame *f, bool *ret_done);
    // A whole message came. call: answer it as number; else it is a notification. The text may be
    // changed in place.
    void (*message)(struct channel *c, uint64_t number, bool call, struct buf *text);
};

void channels_init(struct channels *cs, struct loop *loop, struct guest *guest);

// Queues frames for the client, in order. With an empty payload for the frames that have none.
void channel_queue(struct channel *c, enum frame_kind kind, uint8_t flags, uint64_t number,
                   const void *payload, size_t size);
// As above for a payload of any size, sent in pieces; takes payload.
void channel_queue_large(struct channel *c, enum frame_kind kind, uint8_t flags, uint64_t number,
                         struct buf *payload);
// Takes back frames of this kind and number that have not left.
void channel_unqueue(struct channel *c, enum frame_kind kind, uint64_t number);
