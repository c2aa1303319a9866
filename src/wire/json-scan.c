// SPDX-License-Identifier: Apache-2.0
// One explicit state for what is read next, one bit a level for array or object, and nothing else:
// the scanner's memory does not depend on its input.
#include "wire/json-scan.h"

#include <assert.h>
#include <string.h>

enum state {
    SCAN_VALUE,        // a value must begin
    SCAN_VALUE_OR_END, // after '['
    SCAN_KEY_OR_END,   // after '{'
    SCAN_KEY,          // after ',' in an object
    SCAN_COLON,
    SCAN_AFTER, // after a value, inside a container
    SCAN_STRING,
    SCAN_ESCAPE,
    SCAN_HEX,
    SCAN_LITERAL,
    SCAN_MINUS,
    SCAN_ZERO,
    SCAN_INTEGER,
    SCAN_POINT,
    SCAN_FRACTION,
    SCAN_EXPONENT,
    SCAN_EXPONENT_SIGN,
    SCAN_EXPONENT_DIGITS,
    SCAN_DONE,
    SCAN_BAD,
};

enum { KEY_MATCHES_NOTHING = JSON_SCAN_KEY_MAX + 1 };

void
json_scan_init(struct json_scan *s)
{
    memset(s, 0, offsetof(struct json_scan, key));
    s->state = SCAN_VALUE;
}

void
json_scan_watch(struct json_scan *s, const char *parent, const char *name)
{
    assert(s->capture_count < JSON_SCAN_CAPTURES_MAX);
    struct json_capture *c = &s->captures[s->capture_count++];
    c->parent = parent;
    c->name = name;
}

static bool
level_is_array(const struct json_scan *s, unsigned level)
{
    return s->in_array[level / 64] >> (level % 64) & 1;
}

static bool
key_is(const struct json_scan *s, const char *name)
{
    return s->key_size == strlen(name) && memcmp(s->key, name, s->key_size) == 0;
}

static bool
watches(const struct json_scan *s, size_t i)
{
    const struct json_capture *c = &s->captures[i];
    if (s->depth == 0 || level_is_array(s, 0) || !key_is(s, c->name))
        return false;
    if (c->parent == NULL)
        return s->depth == 1;
    return s->depth == 2 && !level_is_array(s, 1) && s->parent_matches[i];
}

// A value of this kind begins: notes it where it is watched for.
static void
value_begins(struct json_scan *s, enum json_kind kind)
{
    s->capture = NULL;
    if (s->depth == 0)
        s->root_kind = kind;
    if (s->depth == 0 || s->depth > 2)
        return;
    for (size_t i = 0; i < s->capture_count; i++) {
        struct json_capture *c = &s->captures[i];
        if (s->depth == 1)
            s->parent_matches[i] =
                c->parent != NULL && !level_is_array(s, 0) && key_is(s, c->parent);
        if (!watches(s, i))
            continue;
        c->repeated = c->kind != JSON_KIND_ABSENT;
        c->kind = kind;
        c->too_long = false;
        c->size = 0;
        if (kind == JSON_KIND_STRING || kind == JSON_KIND_NUMBER)
            s->capture = c;
    }
}

static void
capture_byte(struct json_scan *s, uint8_t c)
{
    if (s->in_key) {
        if (c == '\\' || s->key_size >= JSON_SCAN_KEY_MAX)
            s->key_size = KEY_MATCHES_NOTHING;
        else
            s->key[s->key_size++] = (char)c;
    } else if (s->capture != NULL) {
        if (s->capture->size < JSON_SCAN_VALUE_MAX)
            s->capture->text[s->capture->size++] = (char)c;
        else
            s->capture->too_long = true;
    }
}

static void
value_ends(struct json_scan *s)
{
    s->capture = NULL;
    s->state = s->depth == 0 ? SCAN_DONE : SCAN_AFTER;
}

static bool
open_container(struct json_scan *s, bool array)
{
    value_begins(s, array ? JSON_KIND_ARRAY : JSON_KIND_OBJECT);
    if (s->depth == JSON_SCAN_DEPTH_MAX)
        return false;
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    if (array)
        s->in_array[s->depth / 64] |= bit;
    else
        s->in_array[s->depth / 64] &= ~bit;
    s->depth++;
    s->state = array ? SCAN_VALUE_OR_END : SCAN_KEY_OR_END;
    return true;
}

static bool
close_container(struct json_scan *s, bool array)
{
    if (s->depth == 0 || level_is_array(s, s->depth - 1) != array)
        return false;
    s->depth--;
    value_ends(s);
    return true;
}

static bool
begin_literal(struct json_scan *s, const char *word, enum json_kind kind)
{
    value_begins(s, kind);
    s->literal = word;
    s->literal_at = 1;
    s->state = SCAN_LITERAL;
    return true;
}

static bool
begin_number(struct json_scan *s, uint8_t c, enum state state)
{
    value_begins(s, JSON_KIND_NUMBER);
    capture_byte(s, c);
    s->state = (uint8_t)state;
    return true;
}

static void
begin_string(struct json_scan *s, bool key)
{
    s->in_key = key;
    if (key)
        s->key_size = 0;
    else
        value_begins(s, JSON_KIND_STRING);
    s->state = SCAN_STRING;
}

static bool
begin_value(struct json_scan *s, uint8_t c)
{
    switch (c) {
    case '{':
        return open_container(s, false);
    case '[':
        return open_container(s, true);
    case '"':
        begin_string(s, false);
        return true;
    case 't':
        return begin_literal(s, "true", JSON_KIND_TRUE);
    case 'f':
        return begin_literal(s, "false", JSON_KIND_FALSE);
    case 'n':
        return begin_literal(s, "null", JSON_KIND_NULL);
    case '-':
        return begin_number(s, c, SCAN_MINUS);
    case '0':
        return begin_number(s, c, SCAN_ZERO);
    default:
        return c >= '1' && c <= '9' && begin_number(s, c, SCAN_INTEGER);
    }
}

static bool
is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
step_structure(struct json_scan *s, uint8_t c)
{
    if (is_space(c))
        return true;
    switch (s->state) {
    case SCAN_VALUE:
        return begin_value(s, c);
    case SCAN_VALUE_OR_END:
        return c == ']' ? close_container(s, true) : begin_value(s, c);
    case SCAN_KEY_OR_END:
        if (c == '}')
            return close_container(s, false);
        __attribute__((fallthrough));
    case SCAN_KEY:
        if (c != '"')
            return false;
        begin_string(s, true);
        return true;
    case SCAN_COLON:
        s->state = SCAN_VALUE;
        return c == ':';
    case SCAN_AFTER:
        if (c == ',') {
            s->state = level_is_array(s, s->depth - 1) ? SCAN_VALUE : SCAN_KEY;
            return true;
        }
        return (c == ']' && close_container(s, true)) || (c == '}' && close_container(s, false));
    default: // SCAN_DONE
        return false;
    }
}

// The first byte of a sequence sets how many follow and the range of the next (RFC 3629 section 4).
static bool
begin_utf8(struct json_scan *s, uint8_t c)
{
    s->utf8_low = 0x80;
    s->utf8_high = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        s->utf8_left = 1;
    } else if (c >= 0xe0 && c <= 0xef) {
        s->utf8_left = 2;
        s->utf8_low = c == 0xe0 ? 0xa0 : 0x80;
        s->utf8_high = c == 0xed ? 0x9f : 0xbf;
    } else if (c >= 0xf0 && c <= 0xf4) {
        s->utf8_left = 3;
        s->utf8_low = c == 0xf0 ? 0x90 : 0x80;
        s->utf8_high = c == 0xf4 ? 0x8f : 0xbf;
    } else {
        return false;
    }
    return true;
}

static bool
step_string(struct json_scan *s, uint8_t c)
{
    if (s->utf8_left > 0) {
        if (c < s->utf8_low || c > s->utf8_high)
            return false;
        s->utf8_left--;
        s->utf8_low = 0x80;
        s->utf8_high = 0xbf;
        capture_byte(s, c);
        return true;
    }
    if (c == '"') {
        if (s->in_key)
            s->state = SCAN_COLON;
        else
            value_ends(s);
        s->in_key = false;
        return true;
    }
    if (c < 0x20 || (c >= 0x80 && !begin_utf8(s, c)))
        return false;
    if (c == '\\')
        s->state = SCAN_ESCAPE;
    capture_byte(s, c);
    return true;
}

static bool
step_escape(struct json_scan *s, uint8_t c)
{
    capture_byte(s, c);
    if (c == 'u') {
        s->hex_left = 4;
        s->state = SCAN_HEX;
        return true;
    }
    s->state = SCAN_STRING;
    return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
}

static bool
step_hex(struct json_scan *s, uint8_t c)
{
    capture_byte(s, c);
    if (--s->hex_left == 0)
        s->state = SCAN_STRING;
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
step_literal(struct json_scan *s, uint8_t c)
{
    if (c != (uint8_t)s->literal[s->literal_at])
        return false;
    if (s->literal[++s->literal_at] == '\0')
        value_ends(s);
    return true;
}

// The state after c in a number, or SCAN_BAD: c does not belong to it.
static enum state
number_next(enum state state, uint8_t c)
{
    bool digit = c >= '0' && c <= '9';
    bool exponent = c == 'e' || c == 'E';
    switch ((unsigned)state) {
    case SCAN_MINUS:
        return c == '0' ? SCAN_ZERO : digit ? SCAN_INTEGER : SCAN_BAD;
    case SCAN_ZERO:
        return c == '.' ? SCAN_POINT : exponent ? SCAN_EXPONENT : SCAN_BAD;
    case SCAN_INTEGER:
        return digit ? SCAN_INTEGER : c == '.' ? SCAN_POINT : exponent ? SCAN_EXPONENT : SCAN_BAD;
    case SCAN_POINT:
        return digit ? SCAN_FRACTION : SCAN_BAD;
    case SCAN_FRACTION:
        return digit ? SCAN_FRACTION : exponent ? SCAN_EXPONENT : SCAN_BAD;
    case SCAN_EXPONENT:
        return digit ? SCAN_EXPONENT_DIGITS : c == '+' || c == '-' ? SCAN_EXPONENT_SIGN : SCAN_BAD;
    default: // SCAN_EXPONENT_SIGN, SCAN_EXPONENT_DIGITS
        return digit ? SCAN_EXPONENT_DIGITS : SCAN_BAD;
    }
}

static bool
number_may_end(enum state state)
{
    return state == SCAN_ZERO || state == SCAN_INTEGER || state == SCAN_FRACTION ||
           state == SCAN_EXPONENT_DIGITS;
}

static bool
step_number(struct json_scan *s, uint8_t c)
{
    enum state next = number_next((enum state)s->state, c);
    if (next != SCAN_BAD) {
        capture_byte(s, c);
        s->state = (uint8_t)next;
        return true;
    }
    if (!number_may_end((enum state)s->state))
        return false;
    value_ends(s);
    return step_structure(s, c);
}

static bool
step(struct json_scan *s, uint8_t c)
{
    switch ((unsigned)s->state) {
    case SCAN_STRING:
        return step_string(s, c);
    case SCAN_ESCAPE:
        return step_escape(s, c);
    case SCAN_HEX:
        return step_hex(s, c);
    case SCAN_LITERAL:
        return step_literal(s, c);
    case SCAN_MINUS:
    case SCAN_ZERO:
    case SCAN_INTEGER:
    case SCAN_POINT:
    case SCAN_FRACTION:
    case SCAN_EXPONENT:
    case SCAN_EXPONENT_SIGN:
    case SCAN_EXPONENT_DIGITS:
        return step_number(s, c);
    case SCAN_BAD:
        return false;
    default:
        return step_structure(s, c);
    }
}

// Length of the run of plain ASCII characters at p: most of a large message is base64 in a string.
static size_t
plain_run(const uint8_t *p, size_t size)
{
    size_t i = 0;
    while (i < size && p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

bool
json_scan_feed(struct json_scan *s, const void *data, size_t size)
{
    const uint8_t *p = data;
    size_t i = 0;
    while (i < size) {
        if (s->state == SCAN_STRING && s->utf8_left == 0 && !s->in_key && s->capture == NULL) {
            i += plain_run(p + i, size - i);
            if (i == size)
                break;
        }
        if (!step(s, p[i++])) {
            s->state = SCAN_BAD;
            return false;
        }
    }
    return s->state != SCAN_BAD;
}

bool
json_scan_complete(const struct json_scan *s)
{
    return s->state == SCAN_DONE || (s->depth == 0 && number_may_end((enum state)s->state));
}

enum json_kind
json_scan_root(const struct json_scan *s)
{
    return s->root_kind;
}

const struct json_capture *
json_scan_captured(const struct json_scan *s, size_t index)
{
    return &s->captures[index];
}
