// SPDX-License-Identifier: Apache-2.0
// One HTTP request, as its handler sees it. A handler answers exactly once: at once, or later after
// request_defer.
#pragma once

#include "api/server.h"
#include "base/buf.h"
#include "http/h1.h"
#include "net/stream.h"

enum { REQUEST_TRACE_SIZE = 32 }; // hex digits of x-deno-trace-id

struct connection;
struct route;

// Spans point into the connection's buffer: valid until the answer, request_defer or
// request_drop_head.
struct request {
    struct api *api;
    struct connection *connection;
    const struct route *route;
    struct h1_head head;
    struct h1_span path;  // of the target, as it stands
    struct h1_span query; // after "?"; empty if there is none
    struct h1_span id;    // what stood for ":id" in the route's pattern
    struct h1_span body;  // whole
    char trace[REQUEST_TRACE_SIZE + 1];
};

// Answers with a JSON text (or, body NULL, with none).
void request_answer(struct request *r, int status, const char *body, size_t size);
void request_answer_error(struct request *r, const struct error *err);
void request_fail(struct request *r, enum error_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// The answer comes later. on_gone tells that the client went away before: *r is then no longer
// valid.
void request_defer(struct request *r, void (*on_gone)(void *user), void *user);
// Wipes the head, and with it what it holds of secrets; head, path, query and id become empty.
void request_drop_head(struct request *r);

// Answers a deferred or a fresh request with 101 and hands over its stream. stop is called when the
// server wants the connection to end; request_release_switched(c) gives the connection's place
// back, once the stream is gone. early receives bytes that the client sent ahead (the caller's
// buf).
struct connection *request_switch(struct request *r, const char *accept, const char *sandbox_id,
                                  void (*stop)(void *user), void *user, struct stream **ret_stream,
                                  struct buf *early);
void request_release_switched(struct connection *c);
