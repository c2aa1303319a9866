// SPDX-License-Identifier: Apache-2.0
#include "base/base64.h"

#include <string.h>

static const char alphabet[64] = {
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P',
    'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f',
    'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
    'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/',
};

enum { NO_DIGIT = 0x80 }; // in no value of a digit

// Value of each character of the alphabet; NO_DIGIT for all others.
static const uint8_t values[256] = {
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 62,  128, 128, 128, 63,  52,  53,  54,  55,  56,  57,  58,  59,  60,
    61,  128, 128, 128, 128, 128, 128, 128, 0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,
    11,  12,  13,  14,  15,  16,  17,  18,  19,  20,  21,  22,  23,  24,  25,  128, 128, 128, 128,
    128, 128, 26,  27,  28,  29,  30,  31,  32,  33,  34,  35,  36,  37,  38,  39,  40,  41,  42,
    43,  44,  45,  46,  47,  48,  49,  50,  51,  128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    128, 128, 128, 128, 128, 128, 128, 128, 128,
};

enum { PAIRS = 64 * 64 };

// The two characters of each twelve bits: half as many lookups as by the alphabet.
static const char (*pairs_of(void))[2]
{
    static char pairs[PAIRS][2];
    if (pairs[0][0] == 0)
        for (size_t i = 0; i < PAIRS; i++)
            memcpy(pairs[i], (const char[2]){alphabet[i / 64], alphabet[i % 64]}, 2);
    return (const char(*)[2])pairs;
}

void
base64_encode(char *out, const uint8_t *data, size_t size)
{
    const char(*pairs)[2] = pairs_of();
    size_t i = 0;
    for (; size - i >= 3; i += 3, out += 4) {
        uint32_t v = (uint32_t)data[i] << 16 | (uint32_t)data[i + 1] << 8 | data[i + 2];
        memcpy(out, pairs[v >> 12], 2);
        memcpy(out + 2, pairs[v & (PAIRS - 1)], 2);
    }
    size_t rest = size - i;
    if (rest == 0)
        return;
    uint32_t v = (uint32_t)data[i] << 16 | (rest == 2 ? (uint32_t)data[i + 1] << 8 : 0);
    *out++ = alphabet[v >> 18];
    *out++ = alphabet[v >> 12 & 63];
    *out++ = rest == 2 ? alphabet[v >> 6 & 63] : '=';
    *out++ = '=';
}

static size_t
unpadded_size(const char *text, size_t size)
{
    if (size > 0 && text[size - 1] == '=')
        size--;
    if (size > 0 && text[size - 1] == '=')
        size--;
    return size;
}

ptrdiff_t
base64_decode(uint8_t *out, const char *text, size_t size)
{
    return size % 4 == 0 ? base64_decode_unpadded(out, text, size) : -1;
}

// Values of four digits, or'ed.
static uint8_t
any_of(const uint8_t *text)
{
    return values[text[0]] | values[text[1]] | values[text[2]] | values[text[3]];
}

ptrdiff_t
base64_decode_unpadded(uint8_t *out, const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t digits = size % 4 == 0 ? unpadded_size(text, size) : size;
    if (digits % 4 == 1)
        return -1;
    uint8_t *start = out;
    uint8_t seen = 0; // looked at once, at the end: what is written before is not used then
    for (; digits >= 4; digits -= 4, p += 4) {
        seen |= any_of(p);
        uint32_t v = (uint32_t)values[p[0]] << 18 | (uint32_t)values[p[1]] << 12 |
                     (uint32_t)values[p[2]] << 6 | values[p[3]];
        *out++ = (uint8_t)(v >> 16);
        *out++ = (uint8_t)(v >> 8);
        *out++ = (uint8_t)v;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        seen |= values[p[i]];
        v = v << 6 | values[p[i]];
    }
    if (seen & NO_DIGIT)
        return -1;
    if (digits == 2) {
        if (v & 15)
            return -1;
        *out++ = (uint8_t)(v >> 4);
    } else if (digits == 3) {
        if (v & 3)
            return -1;
        *out++ = (uint8_t)(v >> 10);
        *out++ = (uint8_t)(v >> 2);
    }
    return out - start;
}

enum { BLOCK = 64 };

// Without lookups and branches, so that compilers make vectors of it.
static bool
block_is_valid(const uint8_t *p)
{
    uint8_t bad = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t c = p[i];
        uint8_t letter = (uint8_t)((uint8_t)(c | 0x20) - 'a');
        uint8_t digit = (uint8_t)(c - '0');
        bad |= (uint8_t) !((letter < 26) | (digit < 10) | (c == '+') | (c == '/'));
    }
    return bad == 0;
}

bool
base64_is_valid(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    if (size % 4 != 0)
        return false;
    size_t digits = unpadded_size(text, size);
    uint8_t seen = 0;
    size_t i = 0;
    for (; digits - i >= BLOCK; i += BLOCK)
        if (!block_is_valid(p + i))
            return false;
    for (; i < digits; i++)
        seen |= values[p[i]];
    if (seen & NO_DIGIT)
        return false;
    if (digits == size)
        return true;
    uint8_t unused = digits % 4 == 2 ? 15 : 3;
    return digits > 0 && (values[p[digits - 1]] & unused) == 0;
}
