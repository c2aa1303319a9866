// SPDX-License-Identifier: Apache-2.0
// Streams to a client from a producer inside of init: it pushes chunks while there is room, and is
// told when there is again. What is pushed as one chunk leaves as one frame.
#pragma once

#include "init/call.h"
#include "init/outport.h"

enum {
    // Held of a stream. Past the first the producer has to pause, until no more than the second is
    // left: a client that does not fetch costs this much.
    OUTQUEUE_HIGH = 64 * 1024,
    OUTQUEUE_LOW = 16 * 1024,
    // Streams of a client that wait for it to be ready; the daemon keeps as many barriers, and
    // more.
    OUTQUEUE_BARRIERS_MAX = 128,
};

struct outqueue;

struct outqueue_events {
    // There is room: push. First when the client is ready for the stream; never from within push.
    void (*wanted)(void *user);
    // The client wants no more, or is gone. The stream is freed right afterwards.
    void (*gone)(void *user);
};

// NULL: the client has too many streams.
struct outqueue *outqueue_new(struct channel *c, const struct outqueue_events *events, void *user);
// Answers the call with {"<name>": <this stream>}, behind which the stream may begin.
void outqueue_answer(struct outqueue *q, struct call *call, json_t *value);

// 1 to FRAME_CHUNK_MAX bytes. False: there is no room for more; wanted is going to be called.
bool outqueue_push(struct outqueue *q, const void *data, size_t size);
// Either is the last that the producer does with the stream: no event follows.
void outqueue_end(struct outqueue *q);
void outqueue_fail(struct outqueue *q, json_t *error); // an error object, taken
