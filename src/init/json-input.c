// SPDX-License-Identifier: Apache-2.0
#include "init/json-input.h"

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

json_t *
json_input_parse(struct buf *text)
{
    if (buf_size(text) == 0)
        return NULL;
    char *p = (char *)buf_bytes(text);
    json_input_replace_surrogates(p, buf_size(text));
    json_error_t ignored;
    return json_loadb(p, buf_size(text),
                      JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &ignored);
}
