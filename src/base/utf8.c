// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

static bool
is_continuation(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

size_t
utf8_sequence(const uint8_t *p, size_t size)
{
    if (size == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    if (p[0] < 0xe0)
        return size >= 2 && is_continuation(p[1]) ? 2 : 0;
    if (p[0] < 0xf0) {
        if (size < 3 || !is_continuation(p[1]) || !is_continuation(p[2]))
            return 0;
        bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
        bool surrogate = p[0] == 0xed && p[1] > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    if (size < 4 || !is_continuation(p[1]) || !is_continuation(p[2]) || !is_continuation(p[3]))
        return 0;
    bool overlong = p[0] == 0xf0 && p[1] < 0x90;
    bool too_high = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || too_high ? 0 : 4;
}

bool
utf8_is_valid(const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size > 0) {
        size_t n = utf8_sequence(p, size);
        if (n == 0)
            return false;
        p += n;
        size -= n;
    }
    return true;
}
