// SPDX-License-Identifier: Apache-2.0
// A growing byte buffer with a mandatory cap: the home of everything whose size a peer chooses.
// Bytes are appended at the tail and consumed at the head.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; // NULL while nothing was appended
    size_t head;   // bytes consumed
    size_t tail;   // bytes written
    size_t capacity;
    size_t cap;  // most bytes that may be held unread
    bool secret; // memory is wiped before it is given back
};

void buf_init(struct buf *b, size_t cap);
void buf_init_secret(struct buf *b, size_t cap);
void buf_done(struct buf *b); // accepts a zeroed buf
#define cleanup_buf __attribute__((cleanup(buf_done)))

static inline size_t
buf_size(const struct buf *b)
{
    return b->tail - b->head;
}

static inline uint8_t *
buf_bytes(const struct buf *b)
{
    // Not pointer arithmetic, which on an empty buffer's NULL would be undefined.
    return (uint8_t *)((uintptr_t)b->data + b->head);
}

// All appenders return 0, or -1 (nothing appended) when the cap would be passed or memory is out.
int buf_append(struct buf *b, const void *data, size_t size);
int buf_append_str(struct buf *b, const char *text);
int buf_append_decimal(struct buf *b, uint64_t number);
int buf_append_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Room for size bytes at the tail, or NULL; buf_commit says how many of them were written.
uint8_t *buf_reserve(struct buf *b, size_t size);
void buf_commit(struct buf *b, size_t size);

void buf_consume(struct buf *b, size_t size); // size <= buf_size
void buf_clear(struct buf *b);
