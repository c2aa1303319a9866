// SPDX-License-Identifier: Apache-2.0
// A call of a client, from its arrival until it is answered, exactly once. Each call_ok*,
// call_fail* and call_failure answers the call and frees it.
#pragma once

#include "init/channel.h"
#include "init/errors.h"

#include <jansson.h>

struct call {
    struct list link; // in channel.calls
    struct channel *channel;
    uint64_t number;
    bool abortable;
    uint64_t abort_id;
    // For a handler that answers later. stop is called when the client is gone or aborts the call:
    // it lets go of the call, which is answered or freed right afterwards by the caller.
    void (*stop)(struct call *call, void *user);
    void *user;
};

struct call *call_new(struct channel *c, uint64_t number);
struct guest *call_guest(const struct call *call);

void call_ok(struct call *call, json_t *value); // takes value
void call_ok_null(struct call *call);
// text: one JSON value, with room for a result prefix before it (call_text_init). Taken.
void call_ok_text(struct call *call, struct buf *text);
// A result that announces streams (0: none in this place); value is an object without their
// members.
void call_ok_streams(struct call *call, json_t *value, const uint32_t *streams, size_t count);

// A buffer to write a large result into; it takes as much as the client can.
void call_text_init(const struct call *call, struct buf *text);

void call_fail(struct call *call, json_t *error); // takes an error object
void call_fail_errno(struct call *call, int sys, const char *op, const char *path);
void call_fail_errno2(struct call *call, int sys, const char *op, const char *path,
                      const char *path2);
void call_fail_type(struct call *call, const char *message); // TypeError without a code
void call_fail_too_large(struct call *call);                 // for the client's message limit

void call_failure(struct call *call, int code, const char *message,
                  json_t *data); // data: taken, or NULL
void call_invalid_params(struct call *call, json_t *issues);
void call_invalid_param(struct call *call, const char *expected, const char *name,
                        const json_t *found);

// Stops the calls of this client that carry the id and answers them with AbortError.
void calls_abort(struct channel *c, uint64_t abort_id);
// The client is gone: stops and frees all calls.
void calls_drop(struct channel *c);
