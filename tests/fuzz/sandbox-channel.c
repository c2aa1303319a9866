// SPDX-License-Identifier: Apache-2.0
// Both sides of casemated's half of the channel at once: a client's text in pieces of any size, and
// the frames of a guest that lies. Whatever comes, what the client reads are whole JSON-RPC
// messages of one value each, a result has an id, and no stream is named that was not given out
// here or started by this client.
//
// Input: records of u8 what, u16 size (little-endian), bytes.
#include "sandbox/channel-internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "wire/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum record { RECORD_PIECE, RECORD_LAST, RECORD_GUEST, RECORD_PONG, RECORD_SENT, RECORD_MAX };

static const uint64_t FIRST_WIRE_ID = (uint64_t)1 << 40;

struct client {
    struct json_scan scan;
    struct buf text; // of the message so far
    bool in_message;
    bool cut; // a message was ended before it was whole, which only a close may do
    bool closed;
    uint64_t ping;
    struct manager *manager;
};

static void
require(bool holds)
{
    if (!holds)
        abort();
}

static bool
is_text(const struct json_capture *c, const char *text)
{
    return c->kind == JSON_KIND_STRING && c->size == strlen(text) &&
           memcmp(c->text, text, c->size) == 0;
}

// A notification names a stream: one that was given out, unless the client's own is refused.
static void
check_note(const struct client *c, const struct json_capture *method, const struct json_capture *id)
{
    char number[24] = "";
    require(id->kind == JSON_KIND_NUMBER && !id->repeated && id->size < sizeof number);
    memcpy(number, id->text, id->size);
    uint64_t n = strtoull(number, NULL, 10);
    if (!is_text(method, "$sandbox.stream.cancel"))
        require(n >= FIRST_WIRE_ID && n < c->manager->next_wire_id);
}

static void
check_message(struct client *c)
{
    const struct json_capture *version = json_scan_captured(&c->scan, 0);
    const struct json_capture *id = json_scan_captured(&c->scan, 1);
    const struct json_capture *method = json_scan_captured(&c->scan, 2);
    const struct json_capture *stream = json_scan_captured(&c->scan, 3);
    if (buf_size(&c->text) == 4 && memcmp(buf_bytes(&c->text), "pong", 4) == 0)
        return;
    require(json_scan_complete(&c->scan) && json_scan_root(&c->scan) == JSON_KIND_OBJECT);
    require(is_text(version, "2.0") && !version->repeated);
    require((id->kind == JSON_KIND_ABSENT) != (method->kind == JSON_KIND_ABSENT));
    require(!id->repeated && !method->repeated);
    if (method->kind != JSON_KIND_ABSENT)
        check_note(c, method, stream);
}

static void
on_text(void *user, const void *data, size_t size, bool first, bool last)
{
    struct client *c = user;
    require(!c->closed && first == !c->in_message);
    if (first) {
        static const char *const members[][2] = {
            {NULL, "jsonrpc"}, {NULL, "id"}, {NULL, "method"}, {"params", "streamId"}};
        buf_done(&c->text);
        json_scan_init(&c->scan);
        for (size_t i = 0; i < ARRAY_SIZE(members); i++)
            json_scan_watch(&c->scan, members[i][0], members[i][1]);
    }
    require(buf_append(&c->text, data, size) == 0);
    (void)json_scan_feed(&c->scan, data, size); // "pong" is none
    c->in_message = !last;
    if (last && !first && size == 0)
        c->cut = true;
    else if (last)
        check_message(c);
}

static void
on_ping(void *user, uint64_t token)
{
    ((struct client *)user)->ping = token;
}

static void
on_close(void *user, uint16_t code, const char *reason)
{
    struct client *c = user;
    require(!c->closed && code >= 1000 && strlen(reason) < 100);
    c->closed = true;
}

static void
on_pause(void *user, bool paused)
{
    (void)user;
    (void)paused;
}

static void
from_guest(struct channel *c, const uint8_t *data, size_t size)
{
    cleanup_buf struct buf in = {.cap = 65536};
    struct frame f;
    size_t used;
    require(buf_append(&in, data, size) == 0);
    while (c->sandbox->state == SANDBOX_RUNNING &&
           frame_decode(&in, &f, &used) == FRAME_STATUS_OK) {
        channel_frame(c, &f);
        buf_consume(&in, used);
    }
}

static void
run_record(struct channel *c, struct client *client, uint8_t what, const uint8_t *data, size_t size)
{
    switch (what % RECORD_MAX) {
    case RECORD_PIECE:
    case RECORD_LAST:
        channel_receive(c, data, size, what % RECORD_MAX == RECORD_LAST);
        break;
    case RECORD_GUEST:
        from_guest(c, data, size);
        break;
    case RECORD_PONG:
        channel_pong(c, size > 0 ? client->ping : 0);
        break;
    default:
        channel_sent(c, size);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct channel_client calls = {on_text, on_ping, on_close, on_pause};
    static bool quiet;
    if (!quiet)
        log_init("fuzz", LOG_LEVEL_ERROR);
    quiet = true;
    uv_loop_t loop;
    require(uv_loop_init(&loop) == 0);
    struct manager m = {.loop = &loop, .next_wire_id = FIRST_WIRE_ID};
    // It ends at a time, so that nothing but a fault ends it here.
    struct sandbox s = {.manager = &m, .state = SANDBOX_RUNNING, .stop_at_ms = 1};
    struct client client = {.manager = &m, .text = {.cap = 64 * 1024 * 1024}};
    enum client_family family = size > 0 ? (enum client_family)(data[0] >> 6) : CLIENT_OTHER;
    if (family >= CLIENT_FAMILY_MAX)
        family = CLIENT_OTHER;
    struct channel *c = channel_new(&s, family, true, 1024 * 1024, &calls, &client);
    size_t at = 0;
    while (size - at >= 3) {
        size_t length = (size_t)(data[at + 1] | data[at + 2] << 8);
        if (length > size - at - 3)
            length = size - at - 3;
        run_record(c, &client, data[at] & 0x3f, data + at + 3, length);
        require(!client.cut || client.closed);
        at += 3 + length;
    }
    require(client.closed == (s.state != SANDBOX_RUNNING) || s.state == SANDBOX_RUNNING);
    channel_free(c);
    buf_done(&client.text);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    require(uv_loop_close(&loop) == 0);
    return 0;
}
