// SPDX-License-Identifier: Apache-2.0
// Theory of operation.
//
// jansson reads byte by byte, which for a chunk of a stream or the content of a file costs more
// than all else that is done with it. So the first long plain string of a text, which is most of
// such a message, is set aside, and a short one that nobody can guess stands in its place while the
// rest is parsed. It is put back where clients have long strings: as params.data or
// params.content. Should it belong elsewhere, the text is parsed again as it came.
#include "init/json-input.h"

#include "base/cleanup.h"
#include "base/ident.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static size_t memory_used;

static void *
bounded_malloc(size_t size)
{
    if (size > JSON_INPUT_MEMORY_MAX || memory_used > JSON_INPUT_MEMORY_MAX - size)
        return NULL;
    void *p = malloc(size);
    if (p != NULL)
        memory_used += malloc_usable_size(p);
    return p;
}

static void
bounded_free(void *p)
{
    if (p != NULL)
        memory_used -= malloc_usable_size(p);
    free(p);
}

void
json_input_init(void)
{
    json_set_alloc_funcs(bounded_malloc, bounded_free);
}

enum { ESCAPE_SIZE = 6 }; // \uXXXX

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Code unit of the escape at p, or -1 if none stands there within size bytes.
static int
escaped_unit(const char *p, size_t size)
{
    if (size < ESCAPE_SIZE || p[0] != '\\' || p[1] != 'u')
        return -1;
    int unit = 0;
    for (size_t i = 2; i < ESCAPE_SIZE; i++) {
        int v = hex_value(p[i]);
        if (v < 0)
            return -1;
        unit = unit << 4 | v;
    }
    return unit;
}

static bool
is_high(int unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool
is_low(int unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

void
json_input_replace_surrogates(char *text, size_t size)
{
    char *p = text;
    char *end = text + size;
    // In valid JSON a backslash stands only in strings, so there is no need to know where they
    // begin.
    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        int unit = escaped_unit(p, (size_t)(end - p));
        if (unit < 0) {
            p += end - p >= 2 ? 2 : 1;
            continue;
        }
        if (is_high(unit) &&
            is_low(escaped_unit(p + ESCAPE_SIZE, (size_t)(end - p) - ESCAPE_SIZE))) {
            p += (size_t)2 * ESCAPE_SIZE;
            continue;
        }
        if (is_high(unit) || is_low(unit))
            memcpy(p, "\\ufffd", ESCAPE_SIZE);
        p += ESCAPE_SIZE;
    }
}

enum {
    LONG_MIN = 1024, // shorter ones are not worth it
    MARK_SIZE = 24,
};

// Set aside, of a text.
struct long_string {
    const char *text;
    size_t size;
};

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

// True if these are all ASCII, without control characters and backslashes.
static bool
is_plain(const char *p, size_t size)
{
    uint64_t bad = 0;
    for (; size >= sizeof bad; p += sizeof bad, size -= sizeof bad) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        uint64_t slash = v ^ EACH_BYTE('\\');
        // The high bit of a byte below 0x20, of one that is zero in slash, of one beyond ASCII; a
        // borrow from a bad byte may mark its neighbour too, which changes nothing.
        bad |= (v - EACH_BYTE(0x20)) | (slash - EACH_BYTE(1)) | v;
    }
    bad &= EACH_BYTE(0x80);
    for (; size > 0; p++, size--)
        bad |= (unsigned char)*p < 0x20 || (unsigned char)*p >= 0x80 || *p == '\\';
    return bad == 0;
}

// The end of the string that begins at p, its closing quote; NULL if there is none.
static const char *
string_end(const char *p, const char *end)
{
    const char *quote = memchr(p, '"', (size_t)(end - p));
    if (quote == NULL || memchr(p, '\\', (size_t)(quote - p)) == NULL)
        return quote;
    for (; p < end && *p != '"'; p++)
        p += *p == '\\' ? 1 : 0;
    return p < end ? p : NULL;
}

static bool
find_long(const char *text, size_t size, struct long_string *ret)
{
    const char *end = text + size;
    const char *p = text;
    while (end - p > LONG_MIN && (p = memchr(p, '"', (size_t)(end - p))) != NULL) {
        const char *close = string_end(++p, end);
        if (close == NULL)
            return false;
        if (close - p >= LONG_MIN && is_plain(p, (size_t)(close - p))) {
            *ret = (struct long_string){.text = p, .size = (size_t)(close - p)};
            return true;
        }
        p = close + 1;
    }
    return false;
}

static json_t *
parse(const char *text, size_t size)
{
    json_error_t ignored;
    return json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL,
                      &ignored);
}

// Puts the long string where the mark is. False if that is none of the usual places.
static bool
put_back(json_t *message, const char *mark, const struct long_string *s)
{
    static const char *const places[] = {"data", "content"};
    json_t *params = json_object_get(message, "params");
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        json_t *v = json_object_get(params, places[i]);
        if (json_string_length(v) == MARK_SIZE && strcmp(json_string_value(v), mark) == 0)
            return json_object_set_new_nocheck(params, places[i],
                                               json_stringn_nocheck(s->text, s->size)) == 0;
    }
    return false;
}

// As parse, for a text with a long string; NULL also where that takes the other way.
static json_t *
parse_around(const char *text, size_t size, const struct long_string *s)
{
    char mark[MARK_SIZE + 1] = "";
    struct buf rest cleanup_buf;
    buf_init(&rest, size + MARK_SIZE);
    ident_base62(mark, MARK_SIZE);
    const char *behind = s->text + s->size;
    if (buf_append(&rest, text, (size_t)(s->text - text)) < 0 ||
        buf_append(&rest, mark, MARK_SIZE) < 0 ||
        buf_append(&rest, behind, size - (size_t)(behind - text)) < 0)
        return NULL;
    json_t *message = parse((char *)buf_bytes(&rest), buf_size(&rest));
    if (message == NULL || put_back(message, mark, s))
        return message;
    json_decref(message);
    return NULL;
}

json_t *
json_input_parse(struct buf *text)
{
    struct long_string s;
    if (buf_size(text) == 0)
        return NULL;
    char *p = (char *)buf_bytes(text);
    json_input_replace_surrogates(p, buf_size(text));
    json_t *message = find_long(p, buf_size(text), &s) ? parse_around(p, buf_size(text), &s) : NULL;
    return message != NULL ? message : parse(p, buf_size(text));
}
