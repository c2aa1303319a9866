// SPDX-License-Identifier: Apache-2.0
// Shared by the files of the HTTP server only.
#pragma once

#include "api/request.h"

enum {
    HEAD_MAX = 64 * 1024, // of any request but create; stops memory use before authentication
    HEAD_CREATE_MAX = 512 * 1024, // create carries the configuration in a header field
    HEADS_LARGE_MAX = 64,         // connections at once that may hold more than HEAD_MAX
    BODY_MAX = 1024 * 1024,       // of a request
    IN_MAX = HEAD_CREATE_MAX + BODY_MAX,
    EARLY_MAX = 64 * 1024,    // bytes that may come before an upgrade is answered
    CONNECTIONS_MAX = 1024,   // WebSockets included; see make_room
    HEAD_WAIT_MS = 10 * 1000, // for a head, from its first byte (or the connection's start)
    BODY_WAIT_MS = 30 * 1000,
    IDLE_WAIT_MS = 60 * 1000,   // between two requests
    ANSWER_WAIT_MS = 30 * 1000, // for a long answer to leave
    LINGER_WAIT_MS = 2 * 1000,  // reading on after the last answer, so that a client sees it
};

enum connection_state {
    CONNECTION_IDLE,     // between requests
    CONNECTION_HEAD,     // a head has begun
    CONNECTION_BODY,     // its body comes in
    CONNECTION_DEFERRED, // a handler answers later
    CONNECTION_LINGER,   // the last answer is out
    CONNECTION_SWITCHED, // a WebSocket now
    CONNECTION_CLOSED,
    CONNECTION_STATE_MAX
};

struct connection {
    struct server *server;
    struct connection *prev;
    struct connection *next;
    struct stream *stream; // NULL once switched
    enum connection_state state;
    uv_timer_t timer;
    struct buf in; // what came and is not consumed; wiped, for it may hold secrets
    struct buf body;
    struct request request;
    struct h1_body framing;
    size_t head_size; // of the present request, still at the head of in; 0 once it is dropped
    size_t scanned;   // of in: no end of head in there
    size_t tried;     // size of in at the last attempt to parse
    bool large;       // counted in server->heads_large
    bool full;        // answers wait for a client that does not read: no further request is begun
    bool keep_alive;
    bool answered;
    bool in_handler;
    bool is_head_method;
    char allow[64]; // for the next answer, or ""
    void (*on_gone)(void *user);
    void (*stop)(void *user);
    void *user;
};

struct server {
    struct api *api;
    int sock;
    uv_poll_t poll;
    uv_timer_t retry;
    bool polling;
    bool stopping;
    int handles; // of poll and retry: open still
    struct connection *connections;
    unsigned connection_count;
    unsigned heads_large;
    void (*on_stopped)(void *user);
    void *stopped_user;
};

// connection.c
void connection_new(struct server *s, int fd);
void connection_end(struct connection *c); // the server stops
// Nothing that it sent is being worked on, nor has it shown a token for what it sends now.
bool connection_is_stranger(const struct connection *c);
void connection_set_state(struct connection *c, enum connection_state next, uint64_t wait_ms);
void connection_drop_head(struct connection *c);
void connection_advance(struct connection *c);
void connection_write(struct connection *c, const void *data, size_t size);

// server.c
void server_forget(struct server *s, struct connection *c);
