// SPDX-License-Identifier: Apache-2.0
// What the three parts of an exchange share; exchange.c tells the theory.
#pragma once

#include "base/buf.h"
#include "egress/exchange.h"
#include "egress/head.h"
#include "egress/origin.h"
#include "http/h1.h"
#include "mask/decode.h"
#include "mask/websocket.h"

enum {
    IN_MAX = HEAD_MAX + 128 * 1024, // a head and what one read brings; stops pipelining without end
    FROM_MAX = 2 * HEAD_MAX,        // of upstream likewise
    OUT_MAX = 8 * 1024 * 1024, // what one block can become; redact.c bounds it before this does
    HEAD_KEPT = 4096,          // bytes of a head up to which its room is kept between requests
    HEAD_TIME_MS = 10 * 1000,  // stops heads that trickle in
    IDLE_TIME_MS = 300 * 1000,
    TUNNEL_TIME_MS = 3600 * 1000,
    LINGER_MS = 2000,
    TICK_MS = 1000,
    SETTLE_MS = 3, // without a byte of the host's, until its pause is taken for one: parts that it
                   // wrote at once may come apart
    INTERIM_MAX = 16,    // 1xx of one response; stops a flood of them
    METHOD_MAX = 32,     // as audited; longer than any that changes framing
    PATH_MAX_SIZE = 512, // as audited
    REFUSAL_MESSAGE_MAX = 256,
};

enum request_state { REQUEST_HEAD, REQUEST_DIAL, REQUEST_BODY, REQUEST_SENT };
enum response_state { RESPONSE_NONE, RESPONSE_HEAD, RESPONSE_BODY };

struct exchange {
    struct worker *w;
    struct destination to;
    bool plain;
    void (*done)(void *user);
    void *user;

    struct stream *client;   // until its on_close
    struct stream *upstream; // NULL: none
    struct origin *origin;   // being opened
    bool client_full;        // to be drained before upstream is read on
    bool upstream_full;
    bool client_ended; // half-closed
    bool ending;       // nothing more is read from the client but its end
    bool tunnel;       // after 101

    enum request_state request;
    enum response_state response;
    uint64_t number; // of the request on this connection
    struct h1_body request_body;
    struct h1_body response_body;
    struct buf request_trailers;
    struct buf trailers;       // secret: of the response
    struct decode *decode;     // NULL: the response is not coded
    enum head_framing framing; // of the response, towards the client
    bool answered;             // bytes of the response are out
    bool repeatable;           // GET and the like, and nothing of an answer has come
    bool close_after;
    bool unsettled;         // what the filter holds goes on at the next tick
    bool upstream_reusable; // between two requests: for the next, and for other exchanges
    bool websocket;
    bool old_client; // HTTP/1.0
    bool is_head;
    uint64_t bytes_up; // of this exchange, to the host
    uint64_t bytes_down;
    uint64_t began_ms;
    unsigned interim;
    int status;
    size_t method_size;
    char method[METHOD_MAX];
    char path[PATH_MAX_SIZE + 1]; // for the audit

    struct buf in;   // from the client
    size_t searched; // of in, for the end of a line
    struct buf from; // secret, for hosts echo: a response's head from upstream
    size_t from_searched;
    struct buf head; // secret: a request's head with its values, until it is sent
    struct buf out;  // scratch, towards the client
    struct redact *redact;
    struct websocket *frames; // in a tunnel; NULL: they are opaque
    struct substitute_seen seen;

    bool refuse_first;
    struct refusal refusal;
    char refusal_message[REFUSAL_MESSAGE_MAX];

    uv_timer_t timer;
    uint64_t head_since_ms; // 0: no head has begun
    uint64_t active_ms;
    uint64_t ended_ms; // or since then the client has taken bytes
    size_t unsent;     // of our last bytes, at the last tick
};

// exchange.c
void exchange_touch(struct exchange *x); // something has happened: not idle
void exchange_update_reading(struct exchange *x);
void exchange_settle_soon(struct exchange *x);
void exchange_write_client(struct exchange *x, const void *data, size_t size);
void exchange_write_upstream(struct exchange *x, const void *data, size_t size);
void exchange_adopt_upstream(struct exchange *x, struct stream *s);
void exchange_drop_upstream(struct exchange *x);
// Upstream is of no more use: ends the request under way, if there is one.
void exchange_lose_upstream(struct exchange *x, const char *why);
void exchange_end_client(struct exchange *x);
void exchange_cut_client(struct exchange *x);
// Answers instead of the host, or cuts the client if the host's answer has begun.
void exchange_refuse(struct exchange *x, const struct refusal *r);
void exchange_refuse_text(struct exchange *x, int status, const char *code, const char *message);
int exchange_audit_request(struct exchange *x, const char *reason);
// Tells which secrets were replaced in the response since this was last called.
int exchange_audit_redacted(struct exchange *x);

// exchange-request.c: takes what it can of x->in.
void exchange_client_pump(struct exchange *x);
// The request under way was sent as a whole and may be sent again: asks for another connection.
void exchange_repeat(struct exchange *x);
// The head that went upstream is of no more use.
void exchange_forget_head(struct exchange *x);

// exchange-response.c
void exchange_upstream_pump(struct exchange *x); // takes what it can of x->from
void exchange_take_response_body(struct exchange *x, const uint8_t *data, size_t size);
void exchange_pass_tunnel(struct exchange *x, const uint8_t *data, size_t size);
void exchange_finish_until_close(struct exchange *x);
// The host pauses: what the filter holds goes on, unless more was announced.
void exchange_settle(struct exchange *x);
