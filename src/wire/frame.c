// SPDX-License-Identifier: Apache-2.0
#include "wire/frame.h"

#include "wire/pack.h"

#include <assert.h>

static const char *const kind_names[] = {
    [FRAME_NONE] = "none",
    [FRAME_ENV] = "env",
    [FRAME_TRUST] = "trust",
    [FRAME_SETUP_DONE] = "setup-done",
    [FRAME_OPEN] = "open",
    [FRAME_CLOSE] = "close",
    [FRAME_MESSAGE] = "message",
    [FRAME_CREDIT] = "credit",
    [FRAME_CANCEL] = "cancel",
    [FRAME_BARRIER_DONE] = "barrier-done",
    [FRAME_DENIAL] = "denial",
    [FRAME_COUNTS] = "counts",
    [FRAME_HELLO] = "hello",
    [FRAME_RESULT] = "result",
    [FRAME_STREAM_START] = "stream-start",
    [FRAME_STREAM_DATA] = "stream-data",
    [FRAME_STREAM_END] = "stream-end",
    [FRAME_STREAM_ERROR] = "stream-error",
    [FRAME_STREAM_REFUSE] = "stream-refuse",
    [FRAME_RESTARTED] = "restarted",
    [FRAME_BARRIER] = "barrier",
};
static_assert(sizeof kind_names / sizeof *kind_names == FRAME_KIND_MAX, "a name for each kind");

const char *
frame_kind_name(enum frame_kind kind)
{
    return kind < FRAME_KIND_MAX ? kind_names[kind] : "unknown";
}

int
frame_encode(struct buf *out, const struct frame *f)
{
    if (f->size > FRAME_PAYLOAD_MAX || buf_reserve(out, FRAME_HEADER_SIZE + f->size) == NULL)
        return -1;
    (void)pack_u32(out, (uint32_t)f->size);
    (void)pack_u8(out, (uint8_t)f->kind);
    (void)pack_u8(out, f->flags);
    (void)pack_u16(out, 0);
    (void)pack_u32(out, f->channel);
    (void)pack_u64(out, f->number);
    return f->size > 0 ? buf_append(out, f->payload, f->size) : 0;
}

enum frame_status
frame_decode(const struct buf *in, struct frame *ret, size_t *ret_size)
{
    if (buf_size(in) < FRAME_HEADER_SIZE)
        return FRAME_STATUS_MORE;
    struct unpack u;
    unpack_init(&u, buf_bytes(in), FRAME_HEADER_SIZE);
    size_t size = unpack_u32(&u);
    uint8_t kind = unpack_u8(&u);
    uint8_t flags = unpack_u8(&u);
    uint16_t zero = unpack_u16(&u);
    uint32_t channel = unpack_u32(&u);
    uint64_t number = unpack_u64(&u);
    if (size > FRAME_PAYLOAD_MAX || kind == FRAME_NONE || kind >= FRAME_KIND_MAX || zero != 0 ||
        (flags & 0x80) != 0)
        return FRAME_STATUS_BAD;
    if (buf_size(in) - FRAME_HEADER_SIZE < size)
        return FRAME_STATUS_MORE;
    *ret = (struct frame){
        .kind = (enum frame_kind)kind,
        .flags = flags,
        .channel = channel,
        .number = number,
        .payload = buf_bytes(in) + FRAME_HEADER_SIZE,
        .size = size,
    };
    *ret_size = FRAME_HEADER_SIZE + size;
    return FRAME_STATUS_OK;
}
