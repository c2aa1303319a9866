// SPDX-License-Identifier: Apache-2.0
#include "net/chunks.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_MAX = 64 * 1024 - sizeof(struct chunk),
    // A first small write does not cost a whole chunk; each that follows may be twice as large.
    CHUNK_MIN = 4 * 1024 - sizeof(struct chunk),
};

static void
add_chunk(struct chunks *q, size_t wanted)
{
    size_t capacity = q->last == NULL ? CHUNK_MIN : (size_t)q->last->capacity * 2;
    if (capacity < wanted)
        capacity = wanted;
    if (capacity > CHUNK_MAX)
        capacity = CHUNK_MAX;
    struct chunk *c = xmalloc(sizeof *c + capacity);
    c->next = NULL;
    c->size = 0;
    c->capacity = (uint32_t)capacity;
    if (q->last == NULL)
        q->first = c;
    else
        q->last->next = c;
    q->last = c;
}

void
chunks_append(struct chunks *q, const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size > 0) {
        if (q->last == NULL || q->last->size == q->last->capacity)
            add_chunk(q, size);
        struct chunk *c = q->last;
        size_t n = c->capacity - c->size;
        if (n > size)
            n = size;
        memcpy(c->bytes + c->size, p, n);
        c->size += (uint32_t)n;
        q->size += n;
        p += n;
        size -= n;
    }
}

void
chunks_move(struct chunks *to, struct chunks *from, unsigned count)
{
    *to = (struct chunks){.first = from->first};
    while (count-- > 0 && from->first != NULL) {
        to->last = from->first;
        to->size += from->first->size;
        from->first = from->first->next;
    }
    from->size -= to->size;
    if (from->first == NULL)
        from->last = NULL;
    if (to->last != NULL)
        to->last->next = NULL;
}

void
chunks_clear(struct chunks *q)
{
    for (struct chunk *c = q->first, *next; c != NULL; c = next) {
        next = c->next;
        explicit_bzero(c->bytes, c->size);
        free(c);
    }
    *q = (struct chunks){0};
}
