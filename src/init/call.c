// SPDX-License-Identifier: Apache-2.0
#include "init/call.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "init/params.h"
#include "wire/pack.h"

#include <stdlib.h>
#include <string.h>

struct call *
call_new(struct channel *c, uint64_t number)
{
    struct call *call = xcalloc(1, sizeof *call);
    call->channel = c;
    call->number = number;
    list_append(&c->calls, &call->link);
    return call;
}

static void
call_free(struct call *call)
{
    list_remove(&call->link);
    free(call);
}

struct guest *
call_guest(const struct call *call)
{
    return call->channel->channels->guest;
}

static size_t
result_max(const struct channel *c)
{
    uint64_t most = c->message_max < CHANNEL_QUEUED_MAX ? c->message_max : CHANNEL_QUEUED_MAX;
    return most > CHANNEL_ENVELOPE ? (size_t)(most - CHANNEL_ENVELOPE) : 0;
}

void
call_text_init(const struct call *call, struct buf *text)
{
    buf_init(text, result_max(call->channel) + 1);
    (void)pack_u8(text, 0); // no streams
}

// Answers and frees: text is a prefix and one JSON value, taken.
static void
answer(struct call *call, uint8_t flags, struct buf *text)
{
    channel_queue_large(call->channel, FRAME_RESULT, flags, call->number, text);
    call_free(call);
}

// Answers with a document if the client can take it; what is wrong otherwise.
static void
answer_json(struct call *call, uint8_t flags, json_t *value)
{
    struct buf text cleanup_buf;
    call_text_init(call, &text);
    cleanup_free char *json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(value);
    if (json == NULL)
        abort();
    struct channel *c = call->channel;
    if (flags == FRAME_IS_OK &&
        (c->queued > CHANNEL_QUEUED_MAX || buf_append_str(&text, json) < 0)) {
        call_fail_too_large(call);
        return;
    }
    if (flags != FRAME_IS_OK) {
        text.cap += strlen(json); // an error is short: it is sent whatever the limit
        if (buf_append_str(&text, json) < 0)
            abort();
    }
    answer(call, flags, &text);
}

void
call_ok(struct call *call, json_t *value)
{
    answer_json(call, FRAME_IS_OK, value);
}

void
call_ok_null(struct call *call)
{
    call_ok(call, json_null());
}

void
call_ok_text(struct call *call, struct buf *text)
{
    if (call->channel->queued > CHANNEL_QUEUED_MAX)
        call_fail_too_large(call);
    else
        answer(call, FRAME_IS_OK, text);
}

void
call_ok_streams(struct call *call, json_t *value, const uint32_t *streams, size_t count)
{
    struct buf text cleanup_buf;
    buf_init(&text, FRAME_PAYLOAD_MAX);
    (void)pack_u8(&text, (uint8_t)count);
    for (size_t i = 0; i < count; i++)
        (void)pack_u32(&text, streams[i]);
    cleanup_free char *json = json_dumps(value, JSON_COMPACT);
    json_decref(value);
    if (json == NULL || buf_append_str(&text, json) < 0)
        abort();
    answer(call, FRAME_IS_OK, &text);
}

void
call_fail(struct call *call, json_t *error)
{
    answer_json(call, FRAME_IS_ERROR, error);
}

void
call_fail_errno(struct call *call, int sys, const char *op, const char *path)
{
    call_fail(call, error_object_errno(sys, op, path, NULL));
}

void
call_fail_errno2(struct call *call, int sys, const char *op, const char *path, const char *path2)
{
    call_fail(call, error_object_errno(sys, op, path, path2));
}

void
call_fail_type(struct call *call, const char *message)
{
    call_fail(call, error_object("TypeError", NULL, message));
}

void
call_fail_too_large(struct call *call)
{
    cleanup_free char *message =
        xasprintf("The result is larger than this client takes (%llu bytes) or waits for",
                  (unsigned long long)call->channel->message_max);
    call_fail(call, error_object("RangeError", NULL, message));
}

void
call_failure(struct call *call, int code, const char *message, json_t *data)
{
    json_t *failure = json_pack("{s:i, s:s}", "code", code, "message", message);
    if (data != NULL)
        (void)json_object_set_new(failure, "data", data);
    answer_json(call, FRAME_IS_FAILURE, failure);
}

void
call_invalid_params(struct call *call, json_t *issues)
{
    call_failure(call, -32602, "Invalid params", params_issues_data(issues));
}

void
call_invalid_param(struct call *call, const char *expected, const char *name, const json_t *found)
{
    json_t *issues = json_array();
    (void)json_array_append_new(issues, params_issue(expected, json_pack("[s]", name), found));
    call_invalid_params(call, issues);
}

static void
stop(struct call *call)
{
    if (call->stop != NULL)
        call->stop(call, call->user);
    call->stop = NULL;
}

void
calls_abort(struct channel *c, uint64_t abort_id)
{
    struct list *next;
    for (struct list *l = c->calls.next; l != &c->calls; l = next) {
        struct call *call = CONTAINER_OF(l, struct call, link);
        next = l->next;
        if (!call->abortable || call->abort_id != abort_id || call->stop == NULL)
            continue;
        stop(call);
        call_fail(call, error_object_aborted());
    }
}

void
calls_drop(struct channel *c)
{
    while (!list_is_empty(&c->calls)) {
        struct call *call = CONTAINER_OF(c->calls.next, struct call, link);
        stop(call);
        call_free(call);
    }
}
