// SPDX-License-Identifier: Apache-2.0
#include "base/json-text.h"

#include "base/utf8.h"

static int
append_escaped(struct buf *out, uint8_t c)
{
    switch (c) {
    case '"':
        return buf_append_str(out, "\\\"");
    case '\\':
        return buf_append_str(out, "\\\\");
    case '\n':
        return buf_append_str(out, "\\n");
    case '\r':
        return buf_append_str(out, "\\r");
    case '\t':
        return buf_append_str(out, "\\t");
    default:
        return buf_append_fmt(out, "\\u%04x", c);
    }
}

int
json_text_string(struct buf *out, const char *text, size_t size)
{
    if (buf_append_str(out, "\"") < 0)
        return -1;
    const uint8_t *p = (const uint8_t *)text;
    const uint8_t *end = p + size;
    while (p < end) {
        const uint8_t *plain = p;
        while (p < end && *p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
            p++;
        if (p > plain && buf_append(out, plain, (size_t)(p - plain)) < 0)
            return -1;
        if (p == end)
            break;
        if (*p < 0x80) {
            if (append_escaped(out, *p++) < 0)
                return -1;
            continue;
        }
        size_t n = utf8_sequence(p, (size_t)(end - p));
        if (n > 0 ? buf_append(out, p, n) < 0 : buf_append_str(out, "\xef\xbf\xbd") < 0)
            return -1;
        p += n > 0 ? n : 1;
    }
    return buf_append_str(out, "\"");
}
