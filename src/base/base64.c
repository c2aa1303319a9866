// SPDX-License-Identifier: Apache-2.0
#include "base/base64.h"

static const char alphabet[64] = {
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P',
    'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f',
    'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
    'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/',
};

// Value plus one of each character of the alphabet; 0 for all others.
static const uint8_t value_plus_one[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

void
base64_encode(char *out, const uint8_t *data, size_t size)
{
    size_t i = 0;
    for (; size - i >= 3; i += 3) {
        uint32_t v = (uint32_t)data[i] << 16 | (uint32_t)data[i + 1] << 8 | data[i + 2];
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = alphabet[v >> 6 & 63];
        *out++ = alphabet[v & 63];
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

ptrdiff_t
base64_decode_unpadded(uint8_t *out, const char *text, size_t size)
{
    size_t digits = size % 4 == 0 ? unpadded_size(text, size) : size;
    if (digits % 4 == 1)
        return -1;
    uint8_t *start = out;
    uint32_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        uint8_t digit = value_plus_one[(uint8_t)text[i]];
        if (digit == 0)
            return -1;
        v = v << 6 | (uint32_t)(digit - 1);
        if (i % 4 == 3) {
            *out++ = (uint8_t)(v >> 16);
            *out++ = (uint8_t)(v >> 8);
            *out++ = (uint8_t)v;
            v = 0;
        }
    }
    if (digits % 4 == 2) {
        if (v & 15)
            return -1;
        *out++ = (uint8_t)(v >> 4);
    } else if (digits % 4 == 3) {
        if (v & 3)
            return -1;
        *out++ = (uint8_t)(v >> 10);
        *out++ = (uint8_t)(v >> 2);
    }
    return out - start;
}

bool
base64_is_valid(const char *text, size_t size)
{
    if (size % 4 != 0)
        return false;
    size_t digits = unpadded_size(text, size);
    for (size_t i = 0; i < digits; i++)
        if (value_plus_one[(uint8_t)text[i]] == 0)
            return false;
    if (digits == size)
        return true;
    uint32_t unused = digits % 4 == 2 ? 15 : 3;
    return digits > 0 && ((uint32_t)(value_plus_one[(uint8_t)text[digits - 1]] - 1) & unused) == 0;
}
