// SPDX-License-Identifier: Apache-2.0
// A stream to a client, as its channel sees it, whatever feeds it: a pipe (outstream) or a producer
// inside of init (outqueue).
#pragma once

#include "init/channel.h"

enum outport_result {
    OUTPORT_SENT,      // one frame
    OUTPORT_EMPTY,     // nothing to send now: not ready any more, or gone
    OUTPORT_NO_CREDIT, // the next frame does not fit the channel's credit
};

struct outport;

struct outport_ops {
    enum outport_result (*produce)(struct outport *p);
    // The client has read all that came before the barrier of this stream. NULL: it has none.
    void (*passed)(struct outport *p);
    // The client wants no more, or is gone. The port is removed already, and may be freed.
    void (*discard)(struct outport *p);
};

struct outport {
    uint32_t number;
    struct list ready;       // in channel.ready_streams
    struct channel *channel; // NULL once removed
    const struct outport_ops *ops;
};

// Gives the port its number. -1: the client has too many streams.
int outport_add(struct outport *p, struct channel *c, const struct outport_ops *ops);
void outport_start(struct outport *p); // tells the client that it begins
void outport_set_ready(struct outport *p);
// Sends a frame now, from within produce; it fits the credit.
void outport_send(struct outport *p, enum frame_kind kind, const void *payload, size_t size);
// As base64 in a frame of data, of at most FRAME_CHUNK_MAX bytes.
void outport_send_data(struct outport *p, const uint8_t *data, size_t size);
void outport_remove(struct outport *p); // no frame of it leaves any more

// Unknown numbers are ignored.
void outport_cancel(struct channel *c, uint64_t number);
void outport_barrier_done(struct channel *c, uint64_t number);
bool outports_produce(struct channel *c); // sends a frame of a stream that has one, if there is one
void outports_drop(struct channel *c);    // the client is gone
