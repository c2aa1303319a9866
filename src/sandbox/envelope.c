// SPDX-License-Identifier: Apache-2.0
// Guest to client: every byte of JSON-RPC around what the guest sent is written here, and every id
// that a client acts upon.
//
// What a hostile guest must not do: reach a stream of another connection. Clients key streams by id
// over all their sandboxes, so a forged id would. Therefore the guest's numbers are mapped to ids
// made here; results of the methods in result_shapes get their id members appended here, behind the
// guest's own, and of two members of one name JSON.parse and Python's json keep the last; and
// stream refusals pass only for streams that this client started. Text is checked on the way: one
// JSON value, or base64.
#include "sandbox/channel-internal.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "wire/pack.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct result_shape result_shapes[] = {
    {"spawn", {"stdoutStreamId", "stderrStreamId"}, 2},
    {"spawnDeno", {"stdoutStreamId", "stderrStreamId", "watcherId"}, 3, .last_is_watcher = true},
    {"spawnDenoRepl", {"stdoutStreamId", "stderrStreamId"}, 2},
    {"vscode", {"stdoutStreamId", "stderrStreamId"}, 2},
    {"walk", {"streamId"}, 1},
    {"expandGlob", {"streamId"}, 1},
    {"fetch", {"bodyStreamId"}, 1},
};

const struct result_shape *
result_shape_of(const char *method, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(result_shapes); i++)
        if (strlen(result_shapes[i].method) == size &&
            memcmp(result_shapes[i].method, method, size) == 0)
            return &result_shapes[i];
    return NULL;
}

static void
send_text(struct channel *c, const void *data, size_t size, bool first, bool last)
{
    if (c->closed)
        return;
    c->unsent += size;
    c->client->send_text(c->user, data, size, first, last);
}

static void
send_whole(struct channel *c, const struct buf *text)
{
    send_text(c, buf_bytes(text), buf_size(text), true, true);
}

void
envelope_give_credit(struct channel *c)
{
    if (c->owed < CHANNEL_CREDIT_LUMP || c->unsent >= CHANNEL_UNSENT_MAX)
        return;
    guest_send(c->sandbox,
               &(struct frame){.kind = FRAME_CREDIT, .channel = c->number, .number = c->owed});
    c->credit += (int64_t)c->owed;
    c->owed = 0;
}

void
envelope_pong(struct channel *c)
{
    if (c->open_result != NULL)
        c->pongs_due = 1; // one answer tells as much as many
    else
        send_text(c, "pong", 4, true, true);
}

void
envelope_answer_closing(struct channel *c)
{
    size_t at = 0;
    // A message that the guest has begun will never be whole. Ended here it is no JSON, which fails
    // the client's pending calls; left open, they would wait for ever behind it.
    if (c->open_result != NULL)
        send_text(c, "", 0, false, true);
    for (struct call *call; (call = map_next(&c->calls, &at, NULL)) != NULL;) {
        if (call == c->open_result)
            continue;
        cleanup_buf struct buf text;
        buf_init(&text, CHANNEL_ENVELOPE_MAX);
        (void)buf_append_str(&text, "{\"jsonrpc\":\"2.0\",\"id\":");
        (void)buf_append(&text, call->id, call->id_size);
        (void)buf_append_str(
            &text, ",\"error\":{\"code\":1,\"message\":\"WebSocket connection closed\"}}");
        send_whole(c, &text);
    }
}

// The beginning of an answer, up to where the guest's text stands.
static void
append_head(struct buf *out, const struct call *call, uint8_t flags)
{
    (void)buf_append_str(out, "{\"jsonrpc\":\"2.0\",\"id\":");
    (void)buf_append(out, call->id, call->id_size);
    if (flags & FRAME_IS_OK)
        (void)buf_append_str(out, ",\"result\":{\"ok\":");
    else if (flags & FRAME_IS_ERROR)
        (void)buf_append_str(out, ",\"result\":{\"error\":");
    else
        (void)buf_append_str(out, ",\"error\":");
}

static const char *
tail_of(uint8_t flags)
{
    return flags & FRAME_IS_FAILURE ? "}" : "}}";
}

static bool
is_one_value(const uint8_t *text, size_t size, enum json_kind kind)
{
    struct json_scan scan;
    json_scan_init(&scan);
    return json_scan_feed(&scan, text, size) && json_scan_complete(&scan) &&
           (kind == JSON_KIND_ABSENT || json_scan_root(&scan) == kind);
}

static const uint8_t *
trim(const uint8_t *text, size_t *size)
{
    while (*size > 0 && strchr(" \t\r\n", text[*size - 1]) != NULL)
        (*size)--;
    return text;
}

// Maps a number that the guest announces to a fresh wire id; 0 stays "no stream".
static int
announce(struct channel *c, uint32_t number, bool is_watcher, uint64_t *ret_wire_id)
{
    *ret_wire_id = 0;
    if (number == 0)
        return 0;
    if (map_get(&c->guest_streams, number) != NULL)
        return -1;
    struct guest_stream *g = xcalloc(1, sizeof *g);
    g->wire_id = c->sandbox->manager->next_wire_id++;
    g->is_watcher = is_watcher;
    if (map_put(&c->guest_streams, number, g) < 0) {
        free(g);
        return -1;
    }
    *ret_wire_id = g->wire_id;
    return 0;
}

static int
append_stream_ids(struct channel *c, struct buf *out, const struct result_shape *shape,
                  const uint32_t *numbers)
{
    for (size_t i = 0; i < shape->count; i++) {
        uint64_t id;
        bool is_watcher = shape->last_is_watcher && i + 1 == shape->count;
        if (announce(c, numbers[i], is_watcher, &id) < 0)
            return -1;
        if (id == 0)
            (void)buf_append_fmt(out, ",\"%s\":null", shape->keys[i]);
        else if (is_watcher)
            (void)buf_append_fmt(out, ",\"%s\":\"w-%" PRIu64 "\"", shape->keys[i], id);
        else
            (void)buf_append_fmt(out, ",\"%s\":%" PRIu64, shape->keys[i], id);
    }
    return 0;
}

// A result that announces streams: one frame, an object, into which the ids are written.
static int
send_with_streams(struct channel *c, const struct call *call, const uint32_t *numbers,
                  const uint8_t *text, size_t size)
{
    cleanup_buf struct buf out;
    buf_init(&out, FRAME_PAYLOAD_MAX + CHANNEL_ENVELOPE_MAX);
    if (!is_one_value(text, size, JSON_KIND_OBJECT))
        return -1;
    (void)trim(text, &size);
    size--; // the closing brace
    (void)trim(text, &size);
    bool empty = text[size - 1] == '{';
    append_head(&out, call, FRAME_IS_OK);
    (void)buf_append(&out, text, size);
    if (empty) // a member must stand before the comma; clients drop keys that they do not know
        (void)buf_append_str(&out, "\"streams\":true");
    if (append_stream_ids(c, &out, call->shape, numbers) < 0)
        return -1;
    (void)buf_append_str(&out, "}}}");
    send_whole(c, &out);
    return 0;
}

static void
finish_result(struct channel *c, struct call *call)
{
    c->open_result = NULL;
    free(map_remove(&c->calls, call->number));
    if (c->pongs_due > 0) {
        c->pongs_due = 0;
        envelope_pong(c);
    }
}

// A further piece of an answer, checked before it goes out.
static int
send_result_text(struct channel *c, const struct frame *f, const uint8_t *text, size_t size)
{
    bool last = (f->flags & FRAME_MORE) == 0;
    c->result_size += size;
    if (c->result_size > c->message_max || !json_scan_feed(&c->result_scan, text, size))
        return -1;
    if (last && !json_scan_complete(&c->result_scan))
        return -1;
    if (size > 0)
        send_text(c, text, size, false, false);
    return 0;
}

static int
begin_result(struct channel *c, struct call *call, const struct frame *f)
{
    struct unpack u;
    uint32_t numbers[FRAME_RESULT_STREAMS_MAX] = {0};
    unpack_init(&u, f->payload, f->size);
    size_t count = unpack_u8(&u);
    if (count > FRAME_RESULT_STREAMS_MAX)
        return -1;
    for (size_t i = 0; i < count; i++)
        numbers[i] = unpack_u32(&u);
    uint8_t outcome = f->flags & (FRAME_IS_OK | FRAME_IS_ERROR | FRAME_IS_FAILURE);
    if (u.failed || outcome == 0 || (outcome & (outcome - 1)) != 0)
        return -1;
    bool streams = call->shape != NULL && outcome == FRAME_IS_OK;
    if (count != (streams ? call->shape->count : 0))
        return -1;
    if (streams) {
        if ((f->flags & FRAME_MORE) || send_with_streams(c, call, numbers, u.data, u.size) < 0)
            return -1;
        finish_result(c, call);
        return 0;
    }
    cleanup_buf struct buf head;
    buf_init(&head, CHANNEL_ENVELOPE_MAX);
    append_head(&head, call, outcome);
    json_scan_init(&c->result_scan);
    c->result_size = buf_size(&head) + 2;
    if ((f->flags & FRAME_MORE) == 0) { // the usual case: one message, one frame on the wire
        cleanup_buf struct buf out;
        buf_init(&out, FRAME_PAYLOAD_MAX + CHANNEL_ENVELOPE_MAX);
        if (!is_one_value(u.data, u.size, JSON_KIND_ABSENT))
            return -1;
        (void)buf_append(&out, buf_bytes(&head), buf_size(&head));
        (void)buf_append(&out, u.data, u.size);
        (void)buf_append_str(&out, tail_of(outcome));
        if (buf_size(&out) > c->message_max)
            return -1;
        send_whole(c, &out);
        finish_result(c, call);
        return 0;
    }
    c->open_result = call;
    c->open_outcome = outcome;
    send_text(c, buf_bytes(&head), buf_size(&head), true, false);
    return send_result_text(c, f, u.data, u.size);
}

static int
continue_result(struct channel *c, const struct frame *f)
{
    struct call *call = c->open_result;
    if (f->number != call->number || send_result_text(c, f, f->payload, f->size) < 0)
        return -1;
    if (f->flags & FRAME_MORE)
        return 0;
    const char *tail = tail_of(c->open_outcome);
    send_text(c, tail, strlen(tail), false, true);
    finish_result(c, call);
    return 0;
}

static int
take_result(struct channel *c, const struct frame *f)
{
    if (c->open_result != NULL)
        return continue_result(c, f);
    struct call *call = map_get(&c->calls, f->number);
    return call != NULL ? begin_result(c, call, f) : -1;
}

static void
send_stream_note(struct channel *c, const char *event, uint64_t wire_id, const char *member,
                 const void *text, size_t size)
{
    cleanup_buf struct buf out;
    buf_init(&out, FRAME_PAYLOAD_MAX + CHANNEL_ENVELOPE_MAX);
    (void)buf_append_fmt(&out,
                         "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.%s\",\"params\":{"
                         "\"streamId\":%" PRIu64,
                         event, wire_id);
    if (member != NULL) {
        const char *quote = strcmp(member, "data") == 0 ? "\"" : "";
        (void)buf_append_fmt(&out, ",\"%s\":%s", member, quote);
        (void)buf_append(&out, text, size);
        (void)buf_append_str(&out, quote);
    }
    (void)buf_append_str(&out, "}}");
    send_whole(c, &out);
}

static int
take_watcher_frame(struct channel *c, const struct frame *f, const struct guest_stream *g)
{
    if (f->kind == FRAME_STREAM_END) {
        free(map_remove(&c->guest_streams, f->number));
        return 0;
    }
    if (f->kind != FRAME_RESTARTED)
        return -1;
    cleanup_buf struct buf out;
    buf_init(&out, CHANNEL_ENVELOPE_MAX);
    (void)buf_append_fmt(&out,
                         "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.deno.watcher.restart\","
                         "\"params\":{\"watcherId\":\"w-%" PRIu64 "\"}}",
                         g->wire_id);
    send_whole(c, &out);
    return 0;
}

static int
take_stream_frame(struct channel *c, const struct frame *f)
{
    struct guest_stream *g = map_get(&c->guest_streams, f->number);
    if (g == NULL)
        return 0; // cancelled by the client meanwhile
    if (g->is_watcher)
        return take_watcher_frame(c, f, g);
    if (f->kind == FRAME_RESTARTED)
        return -1;
    if (g->started == (f->kind == FRAME_STREAM_START))
        return -1;
    uint64_t wire_id = g->wire_id;
    if (f->kind == FRAME_STREAM_START) {
        g->started = true;
        send_stream_note(c, "start", wire_id, NULL, NULL, 0);
    } else if (f->kind == FRAME_STREAM_DATA) {
        if (f->size == 0 || !base64_is_valid((const char *)f->payload, f->size))
            return -1;
        send_stream_note(c, "enqueue", wire_id, "data", f->payload, f->size);
    } else if (f->kind == FRAME_STREAM_END) {
        free(map_remove(&c->guest_streams, f->number));
        send_stream_note(c, "end", wire_id, NULL, NULL, 0);
    } else {
        if (!is_one_value(f->payload, f->size, JSON_KIND_ABSENT))
            return -1;
        free(map_remove(&c->guest_streams, f->number));
        send_stream_note(c, "error", wire_id, "error", f->payload, f->size);
    }
    return 0;
}

static int
take_refusal(struct channel *c, const struct frame *f)
{
    if (!is_one_value(f->payload, f->size, JSON_KIND_ABSENT))
        return -1;
    if (map_remove(&c->client_streams, f->number) != NULL)
        send_stream_note(c, "cancel", f->number, "reason", f->payload, f->size);
    return 0;
}

static int
take_frame(struct channel *c, const struct frame *f)
{
    if (c->open_result != NULL && f->kind != FRAME_RESULT)
        return -1;
    switch ((unsigned)f->kind) {
    case FRAME_RESULT:
        return take_result(c, f);
    case FRAME_STREAM_START:
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_END:
    case FRAME_STREAM_ERROR:
    case FRAME_RESTARTED:
        return take_stream_frame(c, f);
    case FRAME_STREAM_REFUSE:
        return take_refusal(c, f);
    case FRAME_BARRIER:
        channel_add_barrier(c, f->number);
        return 0;
    default:
        return -1;
    }
}

void
channel_frame(struct channel *c, const struct frame *f)
{
    if (c->closed)
        return;
    uint64_t cost = FRAME_HEADER_SIZE + f->size;
    c->credit -= (int64_t)cost;
    c->owed += cost;
    if (c->credit < 0) {
        sandbox_fault(c->sandbox, "the guest sent more than it was allowed");
        return;
    }
    if (take_frame(c, f) < 0) {
        sandbox_fault(c->sandbox, "the guest broke the frame protocol");
        return;
    }
    envelope_give_credit(c);
}
