// SPDX-License-Identifier: Apache-2.0
#include "init/sha1.h"

#include <string.h>

enum { BLOCK = 64, LENGTH_AT = 56 };

static uint32_t
rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

// The function and the constant of a round.
static uint32_t
mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    switch (round / 20) {
    case 0:
        return ((b & c) | (~b & d)) + 0x5A827999;
    case 1:
        return (b ^ c ^ d) + 0x6ED9EBA1;
    case 2:
        return ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC;
    default:
        return (b ^ c ^ d) + 0xCA62C1D6;
    }
}

static void
compress(struct sha1 *s, const uint8_t *p)
{
    uint32_t w[80];
    for (unsigned i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = s->state[0];
    uint32_t b = s->state[1];
    uint32_t c = s->state[2];
    uint32_t d = s->state[3];
    uint32_t e = s->state[4];
    for (unsigned i = 0; i < 80; i++) {
        uint32_t next = rotate(a, 5) + mix(i, b, c, d) + e + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    s->state[0] += a;
    s->state[1] += b;
    s->state[2] += c;
    s->state[3] += d;
    s->state[4] += e;
}

void
sha1_init(struct sha1 *s)
{
    *s = (struct sha1){.state = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}};
}

void
sha1_update(struct sha1 *s, const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size > 0) {
        size_t held = s->total % BLOCK;
        size_t n = size < BLOCK - held ? size : BLOCK - held;
        memcpy(s->block + held, p, n);
        s->total += n;
        p += n;
        size -= n;
        if (held + n == BLOCK)
            compress(s, s->block);
    }
}

void
sha1_final(struct sha1 *s, uint8_t ret_digest[static SHA1_SIZE])
{
    static const uint8_t pad[BLOCK] = {0x80};
    uint64_t bits = s->total * 8;
    size_t held = s->total % BLOCK;
    uint8_t length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    sha1_update(s, pad, held < LENGTH_AT ? LENGTH_AT - held : BLOCK + LENGTH_AT - held);
    sha1_update(s, length, sizeof length);
    for (unsigned i = 0; i < SHA1_SIZE; i++)
        ret_digest[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}
