// SPDX-License-Identifier: Apache-2.0
// One client connection to one sandbox: JSON-RPC text of the client to frames for the guest, and
// the guest's frames to the messages that the client reads. The transport (a WebSocket) is behind
// struct channel_client, so that it can be anything that carries text messages in order.
#pragma once

#include "sandbox/sandbox.h"
#include "wire/frame.h"

struct channel;

// None of these may call channel_free from inside.
struct channel_client {
    // A piece of a text message; first and last bound the message. Bytes are copied or sent.
    void (*send_text)(void *user, const void *data, size_t size, bool first, bool last);
    // A Ping with these eight payload bytes; channel_pong follows when the client answers.
    void (*ping)(void *user, uint64_t token);
    // Close code and reason (protocol 3.5). channel_free follows later.
    void (*close)(void *user, uint16_t code, const char *reason);
    // Stop or go on reading from the client: the guest does not keep up.
    void (*pause)(void *user, bool paused);
};

// Whether the sandbox takes another client.
bool channel_has_room(const struct sandbox *s);
// The sandbox is running and has room; primary is true for the connection that created it.
// message_max: most bytes of a message to this client (protocol rule 15).
struct channel *channel_new(struct sandbox *s, enum client_family family, bool primary,
                            uint64_t message_max, const struct channel_client *client, void *user);
// The client is gone. Ends a session sandbox if the channel was its primary.
void channel_free(struct channel *c);

// A piece of a message from the client. May call back (pong of a text "ping", errors, close).
void channel_receive(struct channel *c, const void *data, size_t size, bool last);
// The client answered a Ping that carried token.
void channel_pong(struct channel *c, uint64_t token);
// size bytes given to send_text have left for the client: the guest may send as much again.
void channel_sent(struct channel *c, size_t size);
