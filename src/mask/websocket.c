// SPDX-License-Identifier: Apache-2.0
// Replacements are as long as what they replace (redact_keep_length), so a message in one frame
// keeps its frame: the header goes on as it comes, the payload follows as the filter lets go of it,
// and is all out at the frame's end. A message in several frames is another matter, for what the
// filter holds at the end of one belongs into the next. It is cut anew: each block that comes out
// of the filter becomes a frame, and the last one has the FIN bit. As nothing may stand within a
// message but control frames, each of which is collected and passed as a whole, every header that
// is read finds the output between two frames.
//
// Within a message more surely follows, so whatever may be a value's beginning is held; but a host
// that ends a fragment and pauses may not go on for long, and the sandbox must see what it sent:
// that is what settling is for (redact.c tells what then passes).
#include "mask/websocket.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIN = 0x80,
    RESERVED = 0x70,
    OPCODE = 0x0f,
    MASK = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
};

enum opcode {
    CONTINUATION = 0,
    TEXT = 1,
    BINARY = 2,
    CLOSE = 8,
    PING = 9,
    PONG = 10,
};

struct websocket {
    struct redact *message;
    struct redact *control;
    const char *problem;

    // The frame that is read.
    size_t header_size; // bytes of it that have come; 0 outside of a header
    uint8_t header[WEBSOCKET_HEADER_MAX];
    bool within; // its payload
    bool final;
    uint8_t opcode;
    uint64_t left;
    size_t collected;
    uint8_t collection[WEBSOCKET_CONTROL_MAX];

    // The message that it is of.
    bool open;
    bool whole;    // in one frame, whose header is out
    uint64_t owed; // of its payload, to the output
    uint8_t next;  // opcode of the next frame that is written
};

struct websocket *
websocket_new(const struct policy *policy, struct patterns *patterns, const char *host,
              size_t host_size)
{
    struct websocket *w = xcalloc(1, sizeof *w);
    w->message = redact_new(policy, patterns, host, host_size);
    w->control = redact_new(policy, patterns, host, host_size);
    redact_keep_length(w->message);
    redact_keep_length(w->control);
    return w;
}

void
websocket_free(struct websocket *w)
{
    if (w == NULL)
        return;
    redact_free(w->message);
    redact_free(w->control);
    explicit_bzero(w, sizeof *w);
    free(w);
}

uint64_t
websocket_take_count(struct websocket *w, size_t secret)
{
    return redact_take_count(w->message, secret) + redact_take_count(w->control, secret);
}

const char *
websocket_problem(const struct websocket *w)
{
    return w->problem;
}

static int
fail(struct websocket *w, const char *problem)
{
    w->problem = problem;
    return -1;
}

// --- writing ---

static int
write_header(uint8_t first, uint64_t size, struct buf *out)
{
    uint8_t header[WEBSOCKET_HEADER_MAX] = {first};
    unsigned wide = size < LENGTH_16 ? 0 : size <= UINT16_MAX ? 2 : 8;
    header[1] = (uint8_t)(wide == 0 ? size : wide == 2 ? LENGTH_16 : LENGTH_64);
    for (unsigned i = 0; i < wide; i++)
        header[2 + i] = (uint8_t)(size >> 8 * (wide - 1 - i));
    return buf_append(out, header, 2 + wide);
}

static int
write_frame(uint8_t first, struct h1_span payload, struct buf *out)
{
    return write_header(first, payload.size, out) == 0 &&
                   buf_append(out, payload.data, payload.size) == 0
               ? 0
               : -1;
}

// A block that the filter let go of.
static int
write_block(struct websocket *w, struct h1_span clean, bool last, struct buf *out)
{
    if (w->whole) {
        // A frame of another length than it says would have its reader take a payload for headers.
        if (clean.size > w->owed || (last && clean.size < w->owed))
            return -1;
        w->owed -= clean.size;
        return buf_append(out, clean.data, clean.size);
    }
    if (clean.size == 0 && !last)
        return 0;
    uint8_t first = (uint8_t)(w->next | (last ? FIN : 0));
    w->next = CONTINUATION;
    return write_frame(first, clean, out);
}

int
websocket_write_close(const char *problem, struct buf *out)
{
    enum { PROTOCOL_ERROR = 1002, CODE_SIZE = 2 };
    char payload[WEBSOCKET_CONTROL_MAX] = {(char)(PROTOCOL_ERROR >> 8),
                                           (char)(PROTOCOL_ERROR & 0xff)};
    size_t size = strnlen(problem, sizeof payload - CODE_SIZE);
    memcpy(payload + CODE_SIZE, problem, size);
    return write_frame(FIN | CLOSE, (struct h1_span){payload, CODE_SIZE + size}, out);
}

// --- reading ---

static int
filter(struct websocket *w, const uint8_t *data, size_t size, bool last, struct buf *out)
{
    struct h1_span clean;
    redact_expect_more(w->message, true);
    clean = redact_release(w->message, data, size);
    if (clean.size > 0 && write_block(w, clean, false, out) != 0)
        return -1;
    if (redact_feed(w->message, data, size, last, &clean) != 0)
        return -1;
    return write_block(w, clean, last, out);
}

static bool
is_control(uint8_t opcode)
{
    return opcode >= CLOSE;
}

static int
pass_control(struct websocket *w, struct buf *out)
{
    cleanup_buf struct buf clean;
    buf_init_secret(&clean, WEBSOCKET_CONTROL_MAX);
    struct h1_span payload = {(const char *)w->collection, w->collected};
    if (redact_text(w->control, payload, &clean) != 0)
        return -1;
    payload = (struct h1_span){(const char *)buf_bytes(&clean), buf_size(&clean)};
    return write_frame((uint8_t)(FIN | w->opcode), payload, out);
}

static int
end_frame(struct websocket *w, struct buf *out)
{
    w->within = false;
    if (is_control(w->opcode))
        return pass_control(w, out);
    w->open = !w->final;
    return 0;
}

// The next bytes of a payload; none, for a frame that has none.
static int
take_payload(struct websocket *w, const uint8_t *data, size_t size, struct buf *out)
{
    w->left -= size;
    if (is_control(w->opcode)) {
        memcpy(w->collection + w->collected, data, size);
        w->collected += size;
    } else if (filter(w, data, size, w->left == 0 && w->final, out) != 0) {
        return -1;
    }
    return w->left == 0 ? end_frame(w, out) : 0;
}

static size_t
header_room(const struct websocket *w)
{
    uint8_t length = w->header_size < 2 ? 0 : w->header[1] & LENGTH;
    return length == LENGTH_64 ? 10 : length == LENGTH_16 ? 4 : 2;
}

static uint64_t
read_length(const struct websocket *w)
{
    uint64_t length = 0;
    if (w->header_size == 2)
        return w->header[1] & LENGTH;
    for (size_t i = 2; i < w->header_size; i++)
        length = length << 8 | w->header[i];
    return length;
}

static int
check_frame(struct websocket *w)
{
    bool control = is_control(w->opcode);
    if ((w->header[0] & RESERVED) != 0)
        return fail(w, "a frame of an extension that was not negotiated");
    if ((w->header[1] & MASK) != 0)
        return fail(w, "a frame of the host that is masked");
    if (w->opcode > PONG || (w->opcode > BINARY && w->opcode < CLOSE))
        return fail(w, "a frame of an unknown kind");
    if (control && (!w->final || w->left > WEBSOCKET_CONTROL_MAX))
        return fail(w, "a control frame that is too long or cut");
    if (!control && (w->opcode == CONTINUATION) != w->open)
        return fail(w, "a frame that belongs to no message, or within another");
    if (w->left > INT64_MAX)
        return fail(w, "a frame without a length");
    return 0;
}

static int
begin_frame(struct websocket *w, struct buf *out)
{
    w->final = (w->header[0] & FIN) != 0;
    w->opcode = w->header[0] & OPCODE;
    w->left = read_length(w);
    w->collected = 0;
    w->header_size = 0;
    if (check_frame(w) != 0)
        return -1;
    w->within = true;
    if (!is_control(w->opcode) && !w->open) {
        redact_reset(w->message);
        w->open = true;
        w->whole = w->final;
        w->next = w->opcode;
        w->owed = w->left;
        if (w->whole && write_header(w->header[0], w->left, out) != 0)
            return -1;
    }
    return w->left == 0 ? take_payload(w, (const uint8_t *)"", 0, out) : 0;
}

int
websocket_feed(struct websocket *w, const uint8_t *data, size_t size, struct buf *out)
{
    size_t at = 0;
    while (at < size) {
        size_t n = size - at;
        int rc = 0;
        if (w->within) {
            n = w->left < n ? (size_t)w->left : n;
            rc = take_payload(w, data + at, n, out);
        } else {
            n = 1;
            w->header[w->header_size++] = data[at];
            if (w->header_size == header_room(w))
                rc = begin_frame(w, out);
        }
        if (rc != 0)
            return -1;
        at += n;
    }
    return 0;
}

bool
websocket_holds(const struct websocket *w)
{
    return w->open && !w->whole && !w->within && w->header_size == 0 && redact_holds(w->message);
}

int
websocket_settle(struct websocket *w, struct buf *out)
{
    struct h1_span clean;
    if (!websocket_holds(w))
        return 0;
    redact_expect_more(w->message, false);
    if (redact_feed(w->message, (const uint8_t *)"", 0, false, &clean) != 0)
        return -1;
    return write_block(w, clean, false, out);
}
