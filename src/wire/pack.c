// SPDX-License-Identifier: Apache-2.0
#include "wire/pack.h"

#include <string.h>

static int
pack_int(struct buf *out, uint64_t v, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    return buf_append(out, bytes, size);
}

int
pack_u8(struct buf *out, uint8_t v)
{
    return pack_int(out, v, 1);
}

int
pack_u16(struct buf *out, uint16_t v)
{
    return pack_int(out, v, 2);
}

int
pack_u32(struct buf *out, uint32_t v)
{
    return pack_int(out, v, 4);
}

int
pack_u64(struct buf *out, uint64_t v)
{
    return pack_int(out, v, 8);
}

int
pack_bytes(struct buf *out, const void *data, size_t size)
{
    if (size > UINT32_MAX || pack_u32(out, (uint32_t)size) < 0)
        return -1;
    return buf_append(out, data, size);
}

int
pack_str(struct buf *out, const char *text)
{
    return pack_bytes(out, text, strlen(text));
}

void
unpack_init(struct unpack *u, const void *data, size_t size)
{
    *u = (struct unpack){.data = data, .size = size};
}

static const uint8_t *
take(struct unpack *u, size_t size)
{
    if (u->failed || size > u->size) {
        u->failed = true;
        return NULL;
    }
    const uint8_t *p = u->data;
    u->data += size;
    u->size -= size;
    return p;
}

static uint64_t
unpack_int(struct unpack *u, size_t size)
{
    const uint8_t *p = take(u, size);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < size; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t
unpack_u8(struct unpack *u)
{
    return (uint8_t)unpack_int(u, 1);
}

uint16_t
unpack_u16(struct unpack *u)
{
    return (uint16_t)unpack_int(u, 2);
}

uint32_t
unpack_u32(struct unpack *u)
{
    return (uint32_t)unpack_int(u, 4);
}

uint64_t
unpack_u64(struct unpack *u)
{
    return unpack_int(u, 8);
}

const uint8_t *
unpack_bytes(struct unpack *u, size_t max, size_t *ret_size)
{
    size_t size = unpack_u32(u);
    if (size > max)
        u->failed = true;
    const uint8_t *p = take(u, size);
    *ret_size = p != NULL ? size : 0;
    return p;
}

void
unpack_str(struct unpack *u, char *out, size_t capacity)
{
    size_t size;
    const uint8_t *p = unpack_bytes(u, capacity - 1, &size);
    out[0] = '\0';
    if (p == NULL)
        return;
    if (memchr(p, '\0', size) != NULL) {
        u->failed = true;
        return;
    }
    memcpy(out, p, size);
    out[size] = '\0';
}

bool
unpack_complete(const struct unpack *u)
{
    return !u->failed && u->size == 0;
}
