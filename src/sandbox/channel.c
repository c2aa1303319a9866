// SPDX-License-Identifier: Apache-2.0
// Client to guest. Clients are authenticated but not trusted with memory: a message is passed on in
// the pieces in which it comes, while a scan beside it picks out `id`, `method` and a stream's id.
// Only its last frame tells the guest what it was: a call to answer, a notification, or nothing of
// the kind.
#include "sandbox/channel-internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/ident.h"
#include "base/mem.h"
#include "wire/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum watched { WATCH_ID, WATCH_METHOD, WATCH_STREAM, WATCH_VERSION };

static const char stream_prefix[] = "$sandbox.stream.";

struct channel *
channel_by_number(const struct sandbox *s, uint32_t number)
{
    for (struct channel *c = s->channels; c != NULL; c = c->next)
        if (c->number == number)
            return c;
    return NULL;
}

static void
send_open(struct channel *c)
{
    cleanup_buf struct buf payload;
    buf_init(&payload, 64);
    (void)pack_u8(&payload, (uint8_t)c->family);
    (void)pack_u8(&payload, c->primary ? 1 : 0);
    (void)pack_u64(&payload, c->message_max);
    guest_send(c->sandbox, &(struct frame){.kind = FRAME_OPEN,
                                           .channel = c->number,
                                           .payload = buf_bytes(&payload),
                                           .size = buf_size(&payload)});
}

static void on_barrier_timeout(uv_timer_t *timer);

bool
channel_has_room(const struct sandbox *s)
{
    return s->channel_count < SANDBOX_CHANNELS_MAX;
}

struct channel *
channel_new(struct sandbox *s, enum client_family family, bool primary, uint64_t message_max,
            const struct channel_client *client, void *user)
{
    assert(channel_has_room(s));
    struct channel *c = xcalloc(1, sizeof *c);
    c->sandbox = s;
    c->number = s->next_channel++;
    c->family = family;
    c->primary = primary;
    c->message_max = message_max;
    c->client = client;
    c->user = user;
    c->credit = FRAME_CREDIT_INITIAL;
    map_init(&c->calls, CHANNEL_CALLS_MAX);
    map_init(&c->client_streams, CHANNEL_STREAMS_MAX);
    map_init(&c->guest_streams, CHANNEL_STREAMS_MAX);
    ident_random_bytes(&c->next_token, sizeof c->next_token);
    c->barrier_timer = xcalloc(1, sizeof *c->barrier_timer);
    (void)uv_timer_init(s->manager->loop, c->barrier_timer);
    c->barrier_timer->data = c;
    c->next = s->channels;
    s->channels = c;
    s->channel_count++;
    send_open(c);
    return c;
}

static void
free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void
free_map(struct map *m)
{
    size_t at = 0;
    for (void *value; (value = map_next(m, &at, NULL)) != NULL;)
        free(value);
    map_done(m);
}

void
channel_free(struct channel *c)
{
    struct sandbox *s = c->sandbox;
    struct channel **at = &s->channels;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    s->channel_count--;
    guest_send(s, &(struct frame){.kind = FRAME_CLOSE, .channel = c->number});
    bool ends = c->primary && s->stop_at_ms == 0;
    while (c->barriers != NULL) {
        struct barrier *b = c->barriers;
        c->barriers = b->next;
        free(b);
    }
    uv_close((uv_handle_t *)c->barrier_timer, free_handle);
    free_map(&c->calls);
    free_map(&c->guest_streams);
    map_done(&c->client_streams);
    free(c);
    if (ends)
        sandbox_end(s, SANDBOX_END_SESSION);
}

void
channel_close_client(struct channel *c, uint16_t code, const char *reason)
{
    if (c->closed)
        return;
    if (c->family == CLIENT_PYTHON)
        envelope_answer_closing(c);
    c->closed = true;
    c->client->close(c->user, code, reason);
}

void
channels_end(struct sandbox *s, enum sandbox_end why)
{
    static const struct {
        uint16_t code;
        const char *reason;
    } closes[SANDBOX_END_MAX] = {
        [SANDBOX_END_NONE] = {1000, ""},
        [SANDBOX_END_KILLED] = {1000, "sandbox killed"},
        [SANDBOX_END_TIMEOUT] = {1001, "sandbox timed out"},
        [SANDBOX_END_SESSION] = {1000, "session ended"},
        [SANDBOX_END_SHUTDOWN] = {1001, "server going away"},
        [SANDBOX_END_FAULT] = {1011, "sandbox failed"},
    };
    for (struct channel *c = s->channels, *next; c != NULL; c = next) {
        next = c->next; // the transport may free it at once
        channel_close_client(c, closes[why].code, closes[why].reason);
    }
}

void
channels_pause(struct sandbox *s, bool paused)
{
    for (struct channel *c = s->channels; c != NULL; c = c->next)
        if (!c->closed)
            c->client->pause(c->user, paused);
}

static void
begin_message(struct channel *c)
{
    c->in_message = true;
    c->pieces_sent = false;
    c->ping_matched = 0;
    c->message_size = 0;
    json_scan_init(&c->scan);
    json_scan_watch(&c->scan, NULL, "id");
    json_scan_watch(&c->scan, NULL, "method");
    json_scan_watch(&c->scan, "params", "streamId");
    json_scan_watch(&c->scan, NULL, "jsonrpc");
    c->next_call++;
}

static void
send_piece(struct channel *c, const uint8_t *data, size_t size, uint8_t flags)
{
    c->pieces_sent = (flags & FRAME_MORE) != 0;
    guest_send(c->sandbox, &(struct frame){.kind = FRAME_MESSAGE,
                                           .flags = flags,
                                           .channel = c->number,
                                           .number = c->next_call,
                                           .payload = data,
                                           .size = size});
}

// Takes back what the guest has of the present message and closes.
static void
refuse_message(struct channel *c, uint16_t code, const char *reason)
{
    if (c->pieces_sent)
        send_piece(c, NULL, 0, FRAME_IS_DROP);
    channel_close_client(c, code, reason);
}

static bool
is_text(const struct json_capture *m)
{
    return m->kind == JSON_KIND_STRING && !m->too_long && !m->repeated;
}

static bool
text_is(const struct json_capture *m, const char *text)
{
    return is_text(m) && m->size == strlen(text) && memcmp(m->text, text, m->size) == 0;
}

static int
register_call(struct channel *c, const struct json_capture *id, const struct json_capture *method)
{
    struct call *call = xcalloc(1, sizeof *call);
    const char *quote = id->kind == JSON_KIND_STRING ? "\"" : "";
    call->number = c->next_call;
    call->shape = result_shape_of(method->text, method->size);
    call->id_size = id->size + 2 * strlen(quote);
    memcpy(call->id, quote, strlen(quote));
    memcpy(call->id + strlen(quote), id->text, id->size);
    memcpy(call->id + strlen(quote) + id->size, quote, strlen(quote));
    if (map_put(&c->calls, call->number, call) < 0) {
        free(call);
        return -1;
    }
    return 0;
}

// A stream's id, an integer below 2^53 (protocol 3.10); false if it is none.
static bool
stream_id(const struct json_capture *m, uint64_t *ret)
{
    if (m->kind != JSON_KIND_NUMBER || m->too_long || m->repeated || m->size > 16)
        return false;
    uint64_t id = 0;
    for (size_t i = 0; i < m->size; i++) {
        if (m->text[i] < '0' || m->text[i] > '9')
            return false;
        id = id * 10 + (uint64_t)(m->text[i] - '0');
    }
    *ret = id;
    return id < (uint64_t)1 << 53;
}

// The client wants no more of one of the guest's streams.
static void
cancel_guest_stream(struct channel *c, uint64_t wire_id)
{
    size_t at = 0;
    uint64_t number;
    for (struct guest_stream *g; (g = map_next(&c->guest_streams, &at, &number)) != NULL;) {
        if (g->wire_id != wire_id)
            continue;
        free(map_remove(&c->guest_streams, number));
        guest_send(c->sandbox,
                   &(struct frame){.kind = FRAME_CANCEL, .channel = c->number, .number = number});
        return;
    }
}

// What a notification means to the daemon itself; returns the verdict for the guest.
static uint8_t
note_stream(struct channel *c, const struct json_capture *method)
{
    uint64_t id;
    if (method->size <= strlen(stream_prefix) ||
        memcmp(method->text, stream_prefix, strlen(stream_prefix)) != 0)
        return FRAME_IS_DROP;
    if (!stream_id(json_scan_captured(&c->scan, WATCH_STREAM), &id))
        return FRAME_IS_DROP;
    if (text_is(method, "$sandbox.stream.cancel")) {
        cancel_guest_stream(c, id);
        return FRAME_IS_DROP;
    }
    if (text_is(method, "$sandbox.stream.start"))
        return map_put(&c->client_streams, id, c) == 0 ? FRAME_IS_NOTE : FRAME_IS_DROP;
    if (map_get(&c->client_streams, id) == NULL)
        return FRAME_IS_DROP;
    if (text_is(method, "$sandbox.stream.end") || text_is(method, "$sandbox.stream.error"))
        (void)map_remove(&c->client_streams, id);
    return FRAME_IS_NOTE;
}

// The whole message was scanned: which verdict ends it, or 0 and the connection is closed.
static uint8_t
judge_message(struct channel *c)
{
    const struct json_capture *id = json_scan_captured(&c->scan, WATCH_ID);
    const struct json_capture *method = json_scan_captured(&c->scan, WATCH_METHOD);
    if (!json_scan_complete(&c->scan)) {
        refuse_message(c, 4000, "Invalid JSON");
        return 0;
    }
    bool id_fits = (id->kind == JSON_KIND_STRING || id->kind == JSON_KIND_NUMBER) &&
                   !id->too_long && !id->repeated;
    // A method spelled with escapes would be one thing here and another to the guest.
    if (json_scan_root(&c->scan) != JSON_KIND_OBJECT || !is_text(method) ||
        memchr(method->text, '\\', method->size) != NULL ||
        !text_is(json_scan_captured(&c->scan, WATCH_VERSION), "2.0") ||
        (id->kind != JSON_KIND_ABSENT && !id_fits)) {
        refuse_message(c, 4001, "Invalid message");
        return 0;
    }
    if (id->kind == JSON_KIND_ABSENT)
        return note_stream(c, method);
    if (register_call(c, id, method) < 0) {
        refuse_message(c, 1008, "too many calls at once");
        return 0;
    }
    return FRAME_IS_CALL;
}

// True while the message may still be the text "ping", which is not JSON (protocol 3.3).
static bool
match_ping(struct channel *c, const uint8_t *data, size_t size)
{
    static const char ping[] = "ping";
    bool so_far = c->message_size == c->ping_matched && size <= strlen(ping) - c->ping_matched &&
                  memcmp(data, ping + c->ping_matched, size) == 0;
    if (so_far)
        c->ping_matched += size;
    return so_far;
}

static bool
pass_piece(struct channel *c, const uint8_t *data, size_t size, bool last)
{
    if (!json_scan_feed(&c->scan, data, size)) {
        refuse_message(c, 4000, "Invalid JSON");
        return false;
    }
    while (size > FRAME_PAYLOAD_MAX) {
        send_piece(c, data, FRAME_PAYLOAD_MAX, FRAME_MORE);
        data += FRAME_PAYLOAD_MAX;
        size -= FRAME_PAYLOAD_MAX;
    }
    uint8_t flags = last ? judge_message(c) : FRAME_MORE;
    if (flags == 0)
        return false;
    if (flags == FRAME_IS_DROP && !c->pieces_sent)
        return true; // the guest never heard of it
    send_piece(c, data, size, flags);
    return true;
}

void
channel_receive(struct channel *c, const void *data, size_t size, bool last)
{
    const uint8_t *p = data;
    if (c->closed)
        return;
    if (!c->in_message)
        begin_message(c);
    if (size > FRAME_MESSAGE_MAX - c->message_size) {
        refuse_message(c, 1009, "message too large");
        return;
    }
    bool maybe_ping = match_ping(c, p, size);
    size_t held = c->message_size;
    c->message_size += size;
    if (maybe_ping && !last)
        return;
    c->in_message = !last;
    if (maybe_ping && c->ping_matched == strlen("ping")) {
        envelope_pong(c);
        return;
    }
    // What was held back as the beginning of a "ping" is no JSON, whatever follows it.
    if (held > 0 && held == c->ping_matched && !maybe_ping)
        refuse_message(c, 4000, "Invalid JSON");
    else
        (void)pass_piece(c, p, size, last);
}

static void
arm_barrier_timer(struct channel *c)
{
    if (c->barriers == NULL) {
        (void)uv_timer_stop(c->barrier_timer);
        return;
    }
    int64_t left = c->barriers->deadline_ms - clock_monotonic_ms();
    (void)uv_timer_start(c->barrier_timer, on_barrier_timeout, left > 0 ? (uint64_t)left : 0, 0);
}

// Every barrier up to and with the one of token is passed: messages keep their order.
static void
pass_barriers(struct channel *c, uint64_t token)
{
    bool last = false;
    while (c->barriers != NULL && !last) {
        struct barrier *b = c->barriers;
        last = b->token == token;
        c->barriers = b->next;
        c->barrier_count--;
        guest_send(
            c->sandbox,
            &(struct frame){.kind = FRAME_BARRIER_DONE, .channel = c->number, .number = b->number});
        free(b);
    }
    arm_barrier_timer(c);
}

static void
on_barrier_timeout(uv_timer_t *timer)
{
    struct channel *c = timer->data;
    if (c->barriers != NULL)
        pass_barriers(c, c->barriers->token);
}

void
channel_add_barrier(struct channel *c, uint64_t number)
{
    struct barrier **at = &c->barriers;
    if (c->barrier_count == CHANNEL_BARRIERS_MAX) {
        sandbox_fault(c->sandbox, "the guest asked for too many barriers");
        return;
    }
    struct barrier *b = xcalloc(1, sizeof *b);
    b->token = c->next_token++;
    b->number = number;
    b->deadline_ms = clock_monotonic_ms() + CHANNEL_BARRIER_MS;
    while (*at != NULL)
        at = &(*at)->next;
    *at = b;
    c->barrier_count++;
    arm_barrier_timer(c);
    c->client->ping(c->user, b->token);
}

void
channel_pong(struct channel *c, uint64_t token)
{
    // Tokens are counted up, so those that wait are a range of them.
    if (c->barriers != NULL && token - c->barriers->token < c->barrier_count)
        pass_barriers(c, token);
}

void
channel_sent(struct channel *c, size_t size)
{
    c->unsent -= size < c->unsent ? size : c->unsent;
    envelope_give_credit(c);
}
