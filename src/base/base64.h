// SPDX-License-Identifier: Apache-2.0
// Base64, RFC 4648 section 4, with padding.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t
base64_encoded_size(size_t size)
{
    return (size + 2) / 3 * 4;
}

static inline size_t
base64_decoded_max(size_t size)
{
    return size / 4 * 3 + 3;
}

// Writes exactly base64_encoded_size(size) characters, no NUL.
void base64_encode(char *out, const uint8_t *data, size_t size);

// Decodes strictly: length a multiple of four, alphabet of section 4, padding only at the end,
// unused bits zero. Writes at most base64_decoded_max(size) bytes. Returns the count, or -1.
ptrdiff_t base64_decode(uint8_t *out, const char *text, size_t size);

// As base64_decode, but padding may be missing (RFC 7617 clients).
ptrdiff_t base64_decode_unpadded(uint8_t *out, const char *text, size_t size);

// True if text is what base64_decode accepts.
bool base64_is_valid(const char *text, size_t size);
