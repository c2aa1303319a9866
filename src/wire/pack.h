// SPDX-License-Identifier: Apache-2.0
// Typed putters and cursor-checked getters for messages between Casemate's processes: little-endian
// integers, and byte strings behind a 32-bit length. Never a struct cast out of a buffer.
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

// Putters append to out; 0, or -1 when its cap would be passed.
int pack_u8(struct buf *out, uint8_t v);
int pack_u16(struct buf *out, uint16_t v);
int pack_u32(struct buf *out, uint32_t v);
int pack_u64(struct buf *out, uint64_t v);
int pack_bytes(struct buf *out, const void *data, size_t size);
int pack_str(struct buf *out, const char *text);

// A cursor over received bytes, which must outlive it. A getter that finds too little sets failed
// and returns zero; later getters then return zero as well, so one check at the end is enough.
struct unpack {
    const uint8_t *data;
    size_t size;
    bool failed;
};

void unpack_init(struct unpack *u, const void *data, size_t size);
uint8_t unpack_u8(struct unpack *u);
uint16_t unpack_u16(struct unpack *u);
uint32_t unpack_u32(struct unpack *u);
uint64_t unpack_u64(struct unpack *u);
// Points into the message; not terminated. Longer than max counts as failure.
const uint8_t *unpack_bytes(struct unpack *u, size_t max, size_t *ret_size);
// Copies into out, terminated; fails on more than capacity - 1 bytes and on a NUL among them.
void unpack_str(struct unpack *u, char *out, size_t capacity);
// True if nothing failed and every byte was taken.
bool unpack_complete(const struct unpack *u);
