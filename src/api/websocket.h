// SPDX-License-Identifier: Apache-2.0
// The server's side of a WebSocket, RFC 6455 sections 5 to 7, over a stream, after the opening
// handshake. Messages are handed on piece by piece as they come and are never gathered. Whether
// text is UTF-8 is left to whoever reads it.
#pragma once

#include "net/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
    WEBSOCKET_CLOSE_NORMAL = 1000,
    WEBSOCKET_CLOSE_GOING_AWAY = 1001,
    WEBSOCKET_CLOSE_PROTOCOL = 1002,
    WEBSOCKET_CLOSE_UNSUPPORTED = 1003,
    WEBSOCKET_CLOSE_BAD_TEXT = 1007,
    WEBSOCKET_CLOSE_TOO_BIG = 1009,

    // One message from the client, as long as the longest the guest is sent.
    WEBSOCKET_MESSAGE_MAX = 128 * 1024 * 1024,
    // Longer outgoing messages go out as fragments of this: a full frame of the guest's with its
    // envelope is not longer, and one on the wire.
    WEBSOCKET_FRAGMENT_SIZE = 66 * 1024,
    // Bytes waiting for a client that does not read; past this it is cut off. What the guest sends
    // is bounded by its credit; this stops a client that calls and calls and never reads the
    // answers.
    WEBSOCKET_QUEUE_MAX = 16 * 1024 * 1024,
    WEBSOCKET_SILENCE_MS = 60 * 1000,      // then a Ping; and as long again, then the end
    WEBSOCKET_CLOSE_WAIT_MS = 5 * 1000,    // for the client's Close after ours
    WEBSOCKET_SHUTDOWN_WAIT_MS = 2 * 1000, // for the client's FIN after the closing handshake
};

struct websocket;

// Callbacks may call any function here but websocket_new.
struct websocket_events {
    // A piece of a text message. After websocket_pause up to one read of the stream (64 KiB) may
    // follow.
    void (*on_text)(void *user, const void *data, size_t size, bool last);
    void (*on_pong)(void *user, uint64_t token); // of any Pong with eight bytes: check the token
    // size bytes of websocket_send_text are out of our hands, or few enough bytes wait that the
    // sender may go on. May come from inside websocket_send_text.
    void (*on_sent)(void *user, size_t size);
    void (*on_gone)(void *user); // the last callback; the websocket is freed after it
};

// Takes the stream over. on_gone always comes, never from inside a call to a function here.
struct websocket *websocket_new(uv_loop_t *loop, struct stream *stream,
                                const struct websocket_events *events, void *user);
// Begins to read; early bytes came together with the handshake.
void websocket_start(struct websocket *w, const void *early, size_t size);

void websocket_send_text(struct websocket *w, const void *data, size_t size, bool first, bool last);
void websocket_ping(struct websocket *w, uint64_t token);
// Starts the closing handshake. Nothing is handed on from then on. The first call counts.
void websocket_close(struct websocket *w, uint16_t code, const char *reason);
void websocket_pause(struct websocket *w, bool paused);
