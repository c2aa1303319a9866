// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_MIN_CAPACITY = 256 };

void
buf_init(struct buf *b, size_t cap)
{
    *b = (struct buf){.cap = cap};
}

void
buf_init_secret(struct buf *b, size_t cap)
{
    *b = (struct buf){.cap = cap, .secret = true};
}

static void
release(struct buf *b, uint8_t *data, size_t capacity)
{
    if (b->secret && data != NULL)
        explicit_bzero(data, capacity);
    free(data);
}

void
buf_done(struct buf *b)
{
    release(b, b->data, b->capacity);
    b->data = NULL;
    b->head = b->tail = b->capacity = 0;
}

uint8_t *
buf_reserve(struct buf *b, size_t size)
{
    size_t held = buf_size(b);
    if (held > b->cap || size > b->cap - held)
        return NULL;
    if (b->data != NULL && size <= b->capacity - b->tail)
        return b->data + b->tail;
    if (b->data != NULL && size <= b->capacity - held && b->head >= b->capacity / 2) {
        memmove(b->data, b->data + b->head, held);
        if (b->secret)
            explicit_bzero(b->data + held, b->tail - held);
        b->head = 0;
        b->tail = held;
        return b->data + b->tail;
    }
    size_t capacity = b->capacity > BUF_MIN_CAPACITY ? b->capacity : BUF_MIN_CAPACITY;
    while (capacity < held + size)
        capacity *= 2;
    uint8_t *data = malloc(capacity);
    if (data == NULL)
        return NULL;
    if (b->data != NULL)
        memcpy(data, b->data + b->head, held);
    release(b, b->data, b->capacity);
    b->data = data;
    b->head = 0;
    b->tail = held;
    b->capacity = capacity;
    return b->data + b->tail;
}

void
buf_commit(struct buf *b, size_t size)
{
    b->tail += size;
}

int
buf_append(struct buf *b, const void *data, size_t size)
{
    uint8_t *room = buf_reserve(b, size);
    if (room == NULL)
        return -1;
    if (size > 0)
        memcpy(room, data, size);
    buf_commit(b, size);
    return 0;
}

int
buf_append_str(struct buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

int
buf_append_decimal(struct buf *b, uint64_t number)
{
    char text[20]; // of UINT64_MAX
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return buf_append(b, text + at, sizeof text - at);
}

int
buf_append_fmt(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_list again;
    size_t there = b->data != NULL && buf_size(b) < b->cap ? b->capacity - b->tail : 0;
    if (there > b->cap - buf_size(b))
        there = b->cap - buf_size(b);
    va_start(args, fmt);
    va_copy(again, args);
    // Most often it fits where it belongs, and is formatted once.
    int needed = vsnprintf(there > 0 ? (char *)b->data + b->tail : NULL, there, fmt, args);
    va_end(args);
    uint8_t *room = needed < 0 ? NULL : buf_reserve(b, (size_t)needed + 1);
    if (room != NULL) {
        if ((size_t)needed >= there)
            (void)vsnprintf((char *)room, (size_t)needed + 1, fmt, again);
        buf_commit(b, (size_t)needed);
    }
    va_end(again);
    return room == NULL ? -1 : 0;
}

void
buf_consume(struct buf *b, size_t size)
{
    if (b->secret && size > 0)
        explicit_bzero(b->data + b->head, size);
    b->head += size;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

void
buf_clear(struct buf *b)
{
    buf_consume(b, buf_size(b));
}
