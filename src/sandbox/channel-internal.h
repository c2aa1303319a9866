// SPDX-License-Identifier: Apache-2.0
// One client connection, as channel.c (client to guest) and envelope.c (guest to client) share it.
#pragma once

#include "base/map.h"
#include "sandbox/sandbox-internal.h"
#include "wire/json-scan.h"

enum {
    // Calls that may wait for an answer: each costs the daemon an id.
    CHANNEL_CALLS_MAX = 16384,
    CHANNEL_ID_MAX = JSON_SCAN_VALUE_MAX + 2, // bytes of a JSON-RPC id, quotes included
    // Streams open in each direction.
    CHANNEL_STREAMS_MAX = 16384,
    CHANNEL_BARRIERS_MAX = 256,
    // A client that does not answer a Ping gets its stream all the same (protocol 4.4).
    CHANNEL_BARRIER_MS = 1000,
    // Credit is given back in lumps, and only while little waits for the client.
    CHANNEL_CREDIT_LUMP = 128 * 1024,
    CHANNEL_UNSENT_MAX = 256 * 1024,
    // A result that announces streams is one frame; room for the envelope around it.
    CHANNEL_ENVELOPE_MAX = 1024,
};

struct channel {
    struct sandbox *sandbox;
    struct channel *next;
    uint32_t number;
    enum client_family family;
    bool primary;
    bool closed; // a Close was asked for: nothing more goes to the client
    uint64_t message_max;
    const struct channel_client *client;
    void *user;

    // The message that the client is sending.
    struct json_scan scan;
    bool in_message;
    bool pieces_sent;    // of it to the guest
    size_t ping_matched; // characters of a text "ping" so far
    uint64_t message_size;
    uint32_t next_call;

    struct map calls;          // number -> struct call
    struct map client_streams; // client's stream id -> this channel, a mere mark
    struct map guest_streams;  // guest's number -> struct guest_stream

    // The answer that the guest is sending in pieces.
    struct call *open_result;
    uint8_t open_outcome; // flags of its first frame
    struct json_scan result_scan;
    uint64_t result_size;
    unsigned pongs_due; // texts "pong" that wait for its end

    int64_t credit;  // what the guest may still send
    uint64_t owed;   // what it sent since credit was last given
    uint64_t unsent; // bytes handed to the transport that have not left

    struct barrier *barriers; // oldest first
    unsigned barrier_count;
    uint64_t next_token;
    uv_timer_t *barrier_timer;
};

struct call {
    uint32_t number;
    const struct result_shape *shape; // of its method; NULL: no streams in its result
    size_t id_size;
    char id[CHANNEL_ID_MAX]; // JSON text
};

// Methods whose results name streams, and under which keys.
struct result_shape {
    const char *method;
    const char *keys[FRAME_RESULT_STREAMS_MAX];
    size_t count;
    bool last_is_watcher; // told as text, and carries restarts only
};

struct guest_stream {
    uint64_t wire_id;
    bool started;
    bool is_watcher;
};

struct barrier {
    struct barrier *next;
    uint64_t token;
    uint64_t number;
    int64_t deadline_ms;
};

const struct result_shape *result_shape_of(const char *method, size_t size);

// envelope.c
void envelope_pong(struct channel *c);
void
envelope_answer_closing(struct channel *c); // "WebSocket connection closed" to every pending call
void envelope_give_credit(struct channel *c);
// channel.c
void channel_close_client(struct channel *c, uint16_t code, const char *reason);
void channel_add_barrier(struct channel *c, uint64_t number);
