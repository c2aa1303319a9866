// SPDX-License-Identifier: Apache-2.0
// Bodies of HTTP/1 messages (RFC 9112 6 and 7), a byte at a time where framing is concerned, so
// that it does not matter how the bytes were cut. Nothing is stored here: sizes are counted,
// trailers are checked as they pass and appended to the caller's buffer if there is one, chunk
// extensions are dropped.
#include "http/h1.h"

#include "http/h1-internal.h"

#include <string.h>

enum { CHUNK_DIGITS_MAX = 15 }; // 60 bits: cannot overflow, whatever stands there

enum body_state {
    STATE_SIZE,      // in the digits of a chunk's size
    STATE_EXTENSION, // after ';' on that line
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
    STATE_DONE,
    STATE_BAD,
};

void
h1_body_init(struct h1_body *b, const struct h1_head *head)
{
    *b = (struct h1_body){.framing = head->framing, .state = STATE_SIZE};
    if (b->framing == H1_BODY_LENGTH)
        b->left = head->content_length;
}

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum body_state
in_size(struct h1_body *b, uint8_t c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++b->digits > CHUNK_DIGITS_MAX)
            return STATE_BAD;
        b->left = b->left << 4 | (uint64_t)digit;
        return STATE_SIZE;
    }
    if (b->digits == 0)
        return STATE_BAD;
    if (c == '\r')
        return STATE_SIZE_LF;
    return c == ';' ? STATE_EXTENSION : STATE_BAD;
}

static enum body_state
in_extension(struct h1_body *b, uint8_t c)
{
    if (c == '\r')
        return STATE_SIZE_LF;
    if (++b->line_size > H1_CHUNK_LINE_MAX || ++b->trailer_size > H1_TRAILER_MAX)
        return STATE_BAD;
    return (h1_chars[c] & H1_CHAR_VALUE) != 0 ? STATE_EXTENSION : STATE_BAD;
}

static enum body_state
after_size(struct h1_body *b, uint8_t c)
{
    b->digits = 0;
    b->line_size = 0;
    if (c != '\n')
        return STATE_BAD;
    return b->left > 0 ? STATE_DATA : STATE_TRAILER_START;
}

static enum body_state
in_trailer(struct h1_body *b, uint8_t c)
{
    if (++b->trailer_size > H1_TRAILER_MAX)
        return STATE_BAD;
    switch (b->state) {
    case STATE_TRAILER_START:
        if (c == '\r')
            return STATE_END_LF;
        if (++b->trailer_fields > H1_FIELDS_MAX)
            return STATE_BAD;
        return (h1_chars[c] & H1_CHAR_TOKEN) != 0 ? STATE_TRAILER_NAME : STATE_BAD;
    case STATE_TRAILER_NAME:
        if (c == ':')
            return STATE_TRAILER_VALUE;
        return (h1_chars[c] & H1_CHAR_TOKEN) != 0 ? STATE_TRAILER_NAME : STATE_BAD;
    case STATE_TRAILER_VALUE:
        if (c == '\r')
            return STATE_TRAILER_LF;
        return (h1_chars[c] & H1_CHAR_VALUE) != 0 ? STATE_TRAILER_VALUE : STATE_BAD;
    case STATE_TRAILER_LF:
        return c == '\n' ? STATE_TRAILER_START : STATE_BAD;
    default:
        return c == '\n' ? STATE_DONE : STATE_BAD;
    }
}

// The lines, without the empty one that ends them.
static enum body_state
keep_trailer(struct h1_body *b, uint8_t c)
{
    bool of_line = b->state != STATE_END_LF && !(b->state == STATE_TRAILER_START && c == '\r');
    enum body_state next = in_trailer(b, c);
    if (next == STATE_BAD || b->trailers == NULL || !of_line)
        return next;
    return buf_append(b->trailers, &c, 1) == 0 ? next : STATE_BAD;
}

static enum body_state
step(struct h1_body *b, uint8_t c)
{
    switch (b->state) {
    case STATE_SIZE:
        return in_size(b, c);
    case STATE_EXTENSION:
        return in_extension(b, c);
    case STATE_SIZE_LF:
        return after_size(b, c);
    case STATE_DATA_CR:
        return c == '\r' ? STATE_DATA_LF : STATE_BAD;
    case STATE_DATA_LF:
        return c == '\n' ? STATE_SIZE : STATE_BAD;
    default:
        return keep_trailer(b, c);
    }
}

static size_t
take_content(struct h1_body *b, const uint8_t *data, size_t size, struct h1_span *ret_content)
{
    size_t n = size < b->left ? size : (size_t)b->left;
    *ret_content = (struct h1_span){.data = (const char *)data, .size = n};
    b->left -= n;
    return n;
}

static enum h1_status
feed_chunked(struct h1_body *b, const uint8_t *data, size_t size, size_t *ret_used,
             struct h1_span *ret_content)
{
    size_t at = 0;
    while (at < size && b->state < STATE_DONE) {
        if (b->state == STATE_DATA) {
            at += take_content(b, data + at, size - at, ret_content);
            if (b->left == 0)
                b->state = STATE_DATA_CR;
            break;
        }
        b->state = (uint8_t)step(b, data[at++]);
    }
    *ret_used = at;
    if (b->state == STATE_BAD)
        return H1_BAD;
    return b->state == STATE_DONE ? H1_OK : H1_MORE;
}

enum h1_status
h1_body_feed(struct h1_body *b, const uint8_t *data, size_t size, size_t *ret_used,
             struct h1_span *ret_content)
{
    *ret_used = 0;
    *ret_content = (struct h1_span){0};
    switch (b->framing) {
    case H1_BODY_CHUNKED:
        return feed_chunked(b, data, size, ret_used, ret_content);
    case H1_BODY_LENGTH:
        *ret_used = take_content(b, data, size, ret_content);
        return b->left == 0 ? H1_OK : H1_MORE;
    case H1_BODY_UNTIL_CLOSE:
        *ret_content = (struct h1_span){.data = (const char *)data, .size = size};
        *ret_used = size;
        return H1_MORE;
    case H1_BODY_NONE:
        break;
    }
    return H1_OK;
}

bool
h1_body_is_within(const struct h1_body *b)
{
    if (b->framing == H1_BODY_CHUNKED)
        return (b->state == STATE_DATA && b->left > 0) || b->digits > 0;
    return b->framing == H1_BODY_LENGTH && b->left > 0;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool
h1_next_trailer(const struct buf *trailers, size_t *at, struct h1_field *ret)
{
    size_t left = buf_size(trailers) - *at;
    if (left == 0)
        return false;
    const char *text = (const char *)buf_bytes(trailers) + *at;
    const char *end = memmem(text, left, "\r\n", 2);
    const char *colon = end == NULL ? NULL : memchr(text, ':', (size_t)(end - text));
    if (colon == NULL)
        return false;
    *at += (size_t)(end - text) + 2;
    ret->name = (struct h1_span){text, (size_t)(colon - text)};
    const char *from = colon + 1;
    while (from < end && is_blank(*from))
        from++;
    while (end > from && is_blank(end[-1]))
        end--;
    ret->value = (struct h1_span){from, (size_t)(end - from)};
    return true;
}
