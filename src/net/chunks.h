// SPDX-License-Identifier: Apache-2.0
// A queue of bytes that are waiting to be written, in chunks: it costs what it holds and less than
// one chunk more, and gives memory back while it is written. The bytes may hold secrets: they are
// wiped before their memory is given back.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct chunk {
    struct chunk *next;
    uint32_t size;
    uint32_t capacity;
    uint8_t bytes[];
};

// Zeroed: empty.
struct chunks {
    struct chunk *first;
    struct chunk *last;
    size_t size; // bytes in all chunks
};

// Takes a copy; the caller bounds the size of the whole.
void chunks_append(struct chunks *q, const void *data, size_t size);
// Moves up to count chunks from the front of one queue to another, which is empty.
void chunks_move(struct chunks *to, struct chunks *from, unsigned count);
void chunks_clear(struct chunks *q);
