// SPDX-License-Identifier: Apache-2.0
// Takes the values of a host's secrets out of the WebSocket frames (RFC 6455 5) that the host
// sends. Pure: bytes in, bytes out. A message is searched as one text, wherever it is cut into
// frames; the payload of a control frame is one by itself. No extension is negotiated with such a
// host, so frames hold what they show.
#pragma once

#include "mask/redact.h"

enum {
    WEBSOCKET_HEADER_MAX = 10,   // of a frame without a mask
    WEBSOCKET_CONTROL_MAX = 125, // bytes in a control frame (RFC 6455 5.5)
};

struct websocket;

// As redact_new().
struct websocket *websocket_new(const struct policy *policy, struct patterns *patterns,
                                const char *host, size_t host_size);
void websocket_free(struct websocket *w); // accepts NULL
// How often this secret was replaced since it was last asked.
uint64_t websocket_take_count(struct websocket *w, size_t secret);

// Appends what may go on to out. Messages that came in one frame stay so; others may be cut into
// frames elsewhere than they were (RFC 6455 5.4). -1: the connection must end, see
// websocket_problem().
int websocket_feed(struct websocket *w, const uint8_t *data, size_t size, struct buf *out);
// Bytes are held between two frames of one message: without a next one soon, settle.
bool websocket_holds(const struct websocket *w);
// The host pauses: what the filter need not hold goes on.
int websocket_settle(struct websocket *w, struct buf *out);

// What the host did that no WebSocket server does, static text; out ends with a whole frame then.
// NULL: nothing, or the filter failed.
const char *websocket_problem(const struct websocket *w);
// Appends a Close frame that tells of it.
int websocket_write_close(const char *problem, struct buf *out);
