// SPDX-License-Identifier: Apache-2.0
// Streams from a client: input of processes, content of files. Their data may come before the call
// that names them and is held until then.
#pragma once

#include "init/channel.h"
#include "init/errors.h"

#include <jansson.h>

enum {
    // Held for all streams of a client that no call has named: stops a client (or one that lost its
    // call) from filling the sandbox's memory.
    INSTREAM_HELD_MAX = 64 * 1024 * 1024,
    INSTREAMS_MAX = 4096,
};

struct instream_events {
    // A chunk. False: no more is wanted, the client is told to stop and the stream is forgotten.
    bool (*data)(void *user, const uint8_t *data, size_t size);
    // The stream is over, and forgotten: at its end, by the client's error (any JSON value, or NULL
    // for none given), or because the client is gone.
    void (*end)(void *user);
    void (*error)(void *user, const json_t *error);
    void (*gone)(void *user);
};

struct instream {
    uint64_t id; // the client's
    struct channel *channel;
    struct buf held;
    bool ended;
    bool failed;
    json_t *error;
    const struct instream_events *events; // NULL until a call takes the stream up
    void *user;
};

// A notification of the client: acts on $sandbox.stream.* and ignores all others, and those that
// make no sense, as the protocol asks for.
void instream_note(struct channel *c, const char *method, const json_t *params);

// A stream that was started and that no call has taken up, or NULL.
struct instream *instream_find(struct channel *c, uint64_t id);
// Takes the stream up: what came so far is delivered before this returns, and the stream may be
// over and freed then. Tells whether it is still there.
bool instream_take(struct instream *s, const struct instream_events *events, void *user);
// Tells the client to stop, with a reason (taken; NULL: none), and frees the stream. No event
// follows.
void instream_refuse(struct instream *s, json_t *reason);

void instreams_drop(struct channel *c); // the client is gone
