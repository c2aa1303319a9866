// SPDX-License-Identifier: Apache-2.0
// Both sides of an HTTP/2 connection are hostile. The input is steps: a byte that says what comes,
// a byte that says how much, and that many bytes. Whatever comes, a value never goes to the client,
// a host that was not asked gets none, and the connection lets everything go in the end.
#include "base/cleanup.h"
#include "egress/h2-fake.h"

#include <nghttp2/nghttp2.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_CLIENT,   // bytes from the client
    STEP_UPSTREAM, // bytes from the host
    STEP_REQUEST,  // a sound request with a placeholder, on the stream of this number
    STEP_VALUE,    // a DATA frame with a part of the value, on the stream of this number
    STEP_FULL,     // the sides stop taking, or take again
    STEP_END,
    STEP_CODED, // a response that is deflated, with the value, on the stream of this number
    STEP_MAX
};

enum { FRAME_MAX = 512, FRAME_HEAD = 9, READ_MAX = 64 * 1024 * 1024 };
enum { DATA = 0, HEADERS = 1, CONTINUATION = 9, END_STREAM = 1, END_HEADERS = 4 };

static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};

static struct worker worker;

static void
put_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
          size_t size)
{
    const uint8_t head[] = {(uint8_t)(size >> 16),
                            (uint8_t)(size >> 8),
                            (uint8_t)size,
                            type,
                            flags,
                            (uint8_t)(stream >> 24 & 0x7f),
                            (uint8_t)(stream >> 16),
                            (uint8_t)(stream >> 8),
                            (uint8_t)stream};
    if (buf_append(out, head, sizeof head) != 0 || buf_append(out, payload, size) != 0)
        abort();
}

static void
put_field(struct buf *out, const char *name, const char *value)
{
    const uint8_t literal = 0x10; // never indexed
    uint8_t name_size = (uint8_t)strlen(name);
    uint8_t value_size = (uint8_t)strlen(value);
    (void)buf_append(out, &literal, 1);
    (void)buf_append(out, &name_size, 1);
    (void)buf_append_str(out, name);
    (void)buf_append(out, &value_size, 1);
    (void)buf_append_str(out, value);
}

static void
send_request(struct pair *p, unsigned number)
{
    cleanup_buf struct buf block;
    cleanup_buf struct buf frame;
    buf_init(&block, FRAME_MAX);
    buf_init(&frame, FRAME_MAX);
    put_field(&block, ":method", "POST");
    put_field(&block, ":scheme", "https");
    put_field(&block, ":authority", "api.test");
    put_field(&block, ":path", "/");
    put_field(&block, "x-key", policy_secret_placeholder(worker.policy, 0));
    put_frame(&frame, HEADERS, END_HEADERS, number, buf_bytes(&block), buf_size(&block));
    pair_feed(p, &p->client, buf_bytes(&frame), buf_size(&frame));
}

static void
send_value(struct pair *p, unsigned number, size_t from)
{
    static const char value[] = FAKE_VALUE;
    cleanup_buf struct buf frame;
    buf_init(&frame, FRAME_MAX);
    from = from % (sizeof value - 1);
    put_frame(&frame, DATA, 0, number, value + from, sizeof value - 1 - from);
    pair_feed(p, &p->upstream, buf_bytes(&frame), buf_size(&frame));
}

// In a block that is stored, cut in two.
static void
send_coded(struct pair *p, unsigned number, size_t cut)
{
    enum { SIZE = sizeof FAKE_VALUE - 1 };
    static const uint8_t head[] = {1, SIZE, 0, (uint8_t)~SIZE, 0xff};
    uint8_t body[sizeof head + SIZE];
    cleanup_buf struct buf block;
    cleanup_buf struct buf frame;
    buf_init(&block, FRAME_MAX);
    buf_init(&frame, FRAME_MAX);
    memcpy(body, head, sizeof head);
    memcpy(body + sizeof head, FAKE_VALUE, SIZE);
    cut %= sizeof body;
    put_field(&block, ":status", "200");
    put_field(&block, "content-encoding", "deflate");
    put_frame(&frame, HEADERS, END_HEADERS, number, buf_bytes(&block), buf_size(&block));
    put_frame(&frame, DATA, 0, number, body, cut);
    put_frame(&frame, DATA, END_STREAM, number, body + cut, sizeof body - cut);
    pair_feed(p, &p->upstream, buf_bytes(&frame), buf_size(&frame));
}

static void
toggle(struct fake *f)
{
    f->full = !f->full;
    if (!f->full && !f->closing && f->stream.events->on_drain != NULL)
        f->stream.events->on_drain(f->stream.user);
}

static void
end(struct pair *p, struct fake *f)
{
    if (!f->closing && f->stream.events->on_end != NULL)
        f->stream.events->on_end(f->stream.user);
    pair_settle(p);
}

static void
take_step(struct pair *p, uint8_t kind, uint8_t number, const uint8_t *data, size_t size)
{
    switch ((enum step)(kind % STEP_MAX)) {
    case STEP_CLIENT:
        pair_feed(p, &p->client, data, size);
        break;
    case STEP_UPSTREAM:
        pair_feed(p, &p->upstream, data, size);
        break;
    case STEP_REQUEST:
        send_request(p, number);
        break;
    case STEP_VALUE:
        send_value(p, number, size);
        break;
    case STEP_CODED:
        send_coded(p, number, size);
        break;
    case STEP_FULL:
        toggle(number % 2 == 0 ? &p->client : &p->upstream);
        break;
    case STEP_END:
        end(p, number % 2 == 0 ? &p->client : &p->upstream);
        break;
    case STEP_MAX:
        break;
    }
}

// --- what the client reads ---
// Not the bytes as they stand: those of frames and of HPACK's own, before a part of a value, can
// look like the rest of it.

struct frame {
    uint8_t type;
    uint8_t flags;
    uint32_t stream;
    const uint8_t *payload;
    size_t size;
};

static bool
next_frame(const uint8_t **at, const uint8_t *end, struct frame *ret)
{
    const uint8_t *p = *at;
    if (end - p < FRAME_HEAD)
        return false;
    *ret = (struct frame){
        .type = p[3],
        .flags = p[4],
        .stream = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8],
        .payload = p + FRAME_HEAD,
        .size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2],
    };
    *at = p + FRAME_HEAD + ret->size;
    return ret->size <= (size_t)(end - ret->payload);
}

static void
must_not_hold_value(const void *text, size_t size)
{
    if (size > 0 && memmem(text, size, FAKE_VALUE, sizeof FAKE_VALUE - 1) != NULL)
        abort();
}

// All bodies, one behind the other, each from the first of its frames on.
static void
look_at_bodies(const uint8_t *first, const uint8_t *end)
{
    struct frame f;
    struct frame g;
    for (const uint8_t *at = first, *begin = at; next_frame(&at, end, &f); begin = at) {
        cleanup_buf struct buf body;
        buf_init(&body, READ_MAX);
        bool seen = f.type != DATA;
        for (const uint8_t *p = first; !seen && p < begin && next_frame(&p, end, &g);)
            seen = g.type == DATA && g.stream == f.stream;
        for (const uint8_t *p = begin; !seen && next_frame(&p, end, &g);)
            if (g.type == DATA && g.stream == f.stream)
                (void)buf_append(&body, g.payload, g.size);
        must_not_hold_value(buf_bytes(&body), buf_size(&body));
    }
}

static void
look_at_block(nghttp2_hd_inflater *inflater, const uint8_t *block, size_t size)
{
    int flags = 0;
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv field;
        ssize_t n = nghttp2_hd_inflate_hd2(inflater, &field, &flags, block, size, 1);
        if (n < 0)
            abort();
        block += n;
        size -= (size_t)n;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0)
            continue;
        must_not_hold_value(field.name, field.namelen);
        must_not_hold_value(field.value, field.valuelen);
    }
    (void)nghttp2_hd_inflate_end_headers(inflater);
}

static void
look_at_heads(const uint8_t *at, const uint8_t *end)
{
    struct frame f;
    nghttp2_hd_inflater *inflater;
    cleanup_buf struct buf block;
    buf_init(&block, READ_MAX);
    if (nghttp2_hd_inflate_new(&inflater) != 0)
        abort();
    while (next_frame(&at, end, &f)) {
        if (f.type != HEADERS && f.type != CONTINUATION)
            continue;
        (void)buf_append(&block, f.payload, f.size);
        if ((f.flags & END_HEADERS) == 0)
            continue;
        look_at_block(inflater, buf_bytes(&block), buf_size(&block));
        buf_clear(&block);
    }
    nghttp2_hd_inflate_del(inflater);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pair p;
    if (worker.policy == NULL)
        pair_policy(&worker);
    pair_start(&p, &worker, true);
    pair_feed(&p, &p.client, preface, sizeof preface - 1);
    pair_feed(&p, &p.upstream, settings, sizeof settings);
    while (size >= 2) {
        size_t n = data[1] < size - 2 ? data[1] : size - 2;
        take_step(&p, data[0], data[1], data + 2, n);
        bool has_bytes = data[0] % STEP_MAX == STEP_CLIENT || data[0] % STEP_MAX == STEP_UPSTREAM;
        n = has_bytes ? n : 0;
        data += 2 + n;
        size -= 2 + n;
    }
    const uint8_t *out = buf_bytes(&p.client.out);
    if (buf_size(&p.client.out) > 0) {
        look_at_bodies(out, out + buf_size(&p.client.out));
        look_at_heads(out, out + buf_size(&p.client.out));
    }
    pair_end(&p);
    return 0;
}
