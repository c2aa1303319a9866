// SPDX-License-Identifier: Apache-2.0
// What the parts of an HTTP/2 connection share; h2.c tells the theory.
#pragma once

#include "base/ratelimit.h"
#include "egress/exchange-internal.h"
#include "egress/h2-head.h"
#include "egress/h2.h"

enum {
    H2_STREAMS_MAX = 100,          // open at a time; stops a client from holding state without end
    H2_STREAMS_HELD_MAX = 400,     // with those that are closed on one side only; stops resets from
                                   // piling up while the host does not read
    H2_STREAM_WINDOW = 256 * 1024, // of a body that waits; stops a sender faster than its reader
    H2_SESSION_WINDOW = 1024 * 1024, // of all of them, in one direction
    H2_PIPE_MAX = 4 * 1024 * 1024,   // the same after the filter, which may make it longer
    H2_DECODED_AHEAD = 64 * 1024,    // of a coded body that the client has not taken: beyond it the
                                     // host's bytes wait coded; stops bombs from filling memory
    H2_HEAD_BOMB = 16 * HEAD_MAX,    // of a decoded list; beyond it the session ends, not the
                                     // stream: stops small blocks of HPACK that become megabytes
    H2_CONTINUATIONS_MAX = 8,        // stops header blocks without end
    H2_SETTINGS_ENTRIES_MAX = 32,    // of one frame
    H2_ACKS_WAITING_MAX = 200,       // stops PING and SETTINGS of one who never reads the answers
    H2_FRAMES_WAITING_MAX = 1000,    // stops whatever else makes us answer one who does not read
    H2_RESETS_BURST = 500,           // stops streams that are opened to be reset
    H2_RESETS_RATE = 50,             // a second
    H2_CONTROL_BURST = 1000,         // frames without content; stops floods of them
    H2_CONTROL_RATE = 100,           // a second, and what content earns
    H2_CONTROL_EARNED = 4,           // by a message, or by a DATA frame that we send
};

// One direction of a stream's body: what one side sent and the other has not taken.
struct h2_pipe {
    struct buf data;
    size_t owed;      // bytes received for which the sender has had no window back
    bool ended;       // no more will come
    bool asleep;      // the taker's session waits for more
    bool closed;      // nobody takes: what comes is dropped
    bool has_trailer; // sent after the data
    struct h2_fields trailer;
};

// A response that came coded and goes on decoded (h2-coded.c).
struct h2_coded;

enum h2_role { H2_CLIENT, H2_UPSTREAM };

// One session: we are its server (H2_CLIENT) or its client (H2_UPSTREAM).
struct h2_peer {
    struct h2 *h2;
    enum h2_role role;
    nghttp2_session *session; // NULL: never was
    struct stream *stream;    // NULL: gone
    bool full;                // to be drained
    bool spent;               // the policy lets no more bytes out to it
    bool unproved;            // it has waited in the pool, and said nothing since
    bool greeted;             // its SETTINGS have come
    bool abused;              // by a flood: not waited for
    bool failed;              // the session may not be used again
    struct ratelimit control;
    struct ratelimit resets;
    struct h2_fields head; // being received: the blocks of a session never mix
    bool head_too_large;
    size_t head_decoded;
    uint64_t head_since_ms; // 0: none has begun
};

struct h2_stream {
    struct h2 *h2;
    struct h2_stream *next;
    struct h2_stream *previous;
    int32_t client_id;
    int32_t upstream_id;
    bool client_open;
    bool upstream_open;
    bool request_ended;  // the client's END_STREAM has come
    bool refused;        // by us: what the host says is dropped
    bool answered;       // a final head is on its way to the client
    bool has_status;     // of the host's final response
    bool response_ended; // our END_STREAM is out
    bool broken;         // the host sent what is no HTTP
    bool paused;         // by the host: a DATA frame is whole, and no other has begun
    bool audited;
    bool is_safe; // and has no body (RFC 9110 9.2.1)
    bool is_head; // HEAD: its response has no body
    unsigned interim;
    int status;
    uint64_t number;
    uint64_t began_ms;
    uint64_t bytes_up; // of heads as they read, and of bodies
    uint64_t bytes_down;
    size_t method_size;
    char method[METHOD_MAX];
    char path[PATH_MAX_SIZE + 1];
    struct h2_pipe request;
    struct h2_pipe response;
    struct h2_coded *coded; // NULL: the response is as it reads
    struct redact *redact;
    struct substitute_seen seen;
};

struct h2 {
    struct worker *w;
    struct destination to;
    void (*done)(void *user);
    void *user;
    struct h2_peer client;
    struct h2_peer upstream;
    struct h2_stream *streams;
    unsigned stream_count;
    uint64_t number; // of requests
    bool draining;   // GOAWAY is sent: what is under way ends, nothing begins
    bool ending;     // nothing more is read from the client but its end
    bool flushing;
    bool any_paused;  // some stream may be
    uint64_t tick_ms; // of the last tick
    bool body_told;   // a placeholder in a body was
    bool refuse_all;
    struct refusal refusal;
    char refusal_message[REFUSAL_MESSAGE_MAX];
    struct redact *spare; // of a stream that has ended
    uv_timer_t timer;
    uint64_t active_ms;
    uint64_t ended_ms;
    size_t unsent;
};

// h2.c
void h2_touch(struct h2 *h);
// No new requests; those under way go on.
void h2_drain(struct h2 *h);
// Upstream is of no more use: ends the requests under way.
void h2_lose_upstream(struct h2 *h, const char *why);

// h2-peer.c
int h2_peer_open(struct h2_peer *p, struct error *err);
void h2_peer_done(struct h2_peer *p);
// Hands an upstream session with no stream over to another owner; from is as if it had been lost.
void h2_peer_move(struct h2_peer *from, struct h2_peer *to, struct h2 *owner);
// Feeds received bytes; the session may have ended itself by then.
void h2_peer_receive(struct h2_peer *p, const uint8_t *data, size_t size);
// Writes what waits to the stream, as far as that takes it. True: something was.
bool h2_peer_flush(struct h2_peer *p);
// Ends the session because of what the peer did.
void h2_peer_abort(struct h2_peer *p, uint32_t code);
// Nothing more is to be said on this session.
bool h2_peer_is_over(const struct h2_peer *p);
void h2_peer_reset(struct h2_peer *p, int32_t stream_id, uint32_t code);

// h2-stream.c
struct h2_stream *h2_stream_new(struct h2 *h, int32_t client_id);
void h2_stream_free(struct h2_stream *s); // also takes it out of the list
void h2_stream_take_request(struct h2_stream *s, const struct h2_fields *head, bool end);
void h2_stream_take_request_body(struct h2_stream *s, const uint8_t *data, size_t size);
void h2_stream_take_request_trailer(struct h2_stream *s, const struct h2_fields *trailer);
void h2_stream_end_request(struct h2_stream *s);
void h2_stream_client_closed(struct h2_stream *s, uint32_t code);
void h2_stream_refuse(struct h2_stream *s, const struct refusal *r);
void h2_stream_refuse_text(struct h2_stream *s, int status, const char *code, const char *message);

// h2-answer.c
// A head of the host's has come: interim, final, or the trailer section.
void h2_stream_take_head(struct h2_stream *s, const struct h2_fields *head, bool end);
void h2_stream_take_response_body(struct h2_stream *s, const uint8_t *data, size_t size);
void h2_stream_end_response(struct h2_stream *s);
// All that the host sent at once is taken: what the filter holds goes on where the host pauses.
void h2_stream_settle(struct h2_stream *s);
// The host's side of the stream is over.
void h2_stream_upstream_closed(struct h2_stream *s, uint32_t code);
void h2_stream_sent_end(struct h2_stream *s); // our END_STREAM to the client
// All that the host will say has come, though not all of it may have gone on.
bool h2_stream_has_response(const struct h2_stream *s);
// The last of the body is in the filter; trailer: NULL, or what the host sent behind it.
void h2_stream_finish_response(struct h2_stream *s, const struct h2_fields *trailer);
// The host's answer cannot go on.
void h2_stream_give_up(struct h2_stream *s, const char *why);
int h2_stream_answer(struct h2_stream *s, const struct h2_fields *head, bool body);
int h2_stream_audit(struct h2_stream *s, const char *reason);

// h2-coded.c
// head: what the client will get once the body's beginning has proved decodable; taken over.
void h2_coded_begin(struct h2_stream *s, enum decode_coding coding, struct h2_fields *head);
void h2_coded_free(struct h2_coded *c); // accepts NULL
// All but begin and free are for streams whose coded is not NULL.
void h2_coded_take(struct h2_stream *s, const uint8_t *data, size_t size);
void h2_coded_end(struct h2_stream *s, const struct h2_fields *trailer); // NULL: there is none
// Decodes as much as the client's side has room for.
void h2_coded_pump(struct h2_stream *s);
// What waits is not wanted any more.
void h2_coded_drop(struct h2_stream *s);
bool h2_coded_is_waiting(const struct h2_coded *c);
bool h2_coded_has_ended(const struct h2_coded *c);

// h2-idle.c
// Keeps upstream for a next client if it is as good as new; h has none any more then.
void h2_idle_put(struct h2 *h);
// Moves what was taken to h, if it has not ended.
void h2_idle_use(struct h2_idle *i, struct h2 *h);

// h2-pipe.c
void h2_pipe_init(struct h2_pipe *p);
void h2_pipe_done(struct h2_pipe *p);
// Of a stream: request bytes come from the client, response bytes from upstream.
struct h2_pipe *h2_pipe_of(struct h2_stream *s, enum h2_role from);
int h2_pipe_put(struct h2_stream *s, enum h2_role from, const void *data, size_t size);
void h2_pipe_owe(struct h2_stream *s, enum h2_role from, size_t size);
void h2_pipe_end(struct h2_stream *s, enum h2_role from);
void h2_pipe_wake(struct h2_stream *s, enum h2_role from);
// Drops what is in it and what comes.
void h2_pipe_close(struct h2_stream *s, enum h2_role from);
// For nghttp2: reads the pipe that comes from source->ptr's other side.
nghttp2_data_provider h2_pipe_provider(struct h2_stream *s, enum h2_role from);
