// SPDX-License-Identifier: Apache-2.0
// A parser of ECMAScript's Pattern (with Annex B, unless the flag u or v is given) that writes
// PCRE2 as it goes. Every literal is written as \x{…} and every group that captures without its
// name, so nothing of the source reaches PCRE2 unread.
#include "init/files/regex.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"  \
    "\\x{3000}\\x{feff}"
#define NOT_SPACES                                                                                 \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-"     \
    "\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}"        \
    "\\x{ff00}-\\x{10ffff}"
#define NEWLINES "\\x{a}\\x{d}\\x{2028}\\x{2029}"

struct name {
    const char *text;
    size_t size;
    unsigned group;
};

struct parser {
    struct buf *out;
    const char *at;
    const char *end;
    const struct regex_flags *flags;
    const char *error;
    unsigned groups; // that capture, in the whole source
    size_t depth;
    bool repeatable; // something stands before that a quantifier may follow
    size_t name_count;
    struct name names[REGEX_GROUPS_MAX];
};

static void
fail(struct parser *p, const char *error)
{
    if (p->error == NULL)
        p->error = error;
    p->at = p->end;
}

static void
put(struct parser *p, const char *text)
{
    if (buf_append_str(p->out, text) < 0)
        fail(p, "!a regular expression of this size");
}

static void
put_char(struct parser *p, uint32_t c)
{
    if (c >= 0xd800 && c <= 0xdfff)
        fail(p, "!a lone surrogate in a regular expression");
    else if (buf_append_fmt(p->out, "\\x{%x}", c) < 0)
        fail(p, "!a regular expression of this size");
}

static bool
take(struct parser *p, const char *text)
{
    size_t size = strlen(text);
    if ((size_t)(p->end - p->at) < size || memcmp(p->at, text, size) != 0)
        return false;
    p->at += size;
    return true;
}

// The source is valid UTF-8, as all that came in JSON.
static uint32_t
take_code_point(struct parser *p)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const uint8_t *bytes = (const uint8_t *)p->at;
    size_t size = utf8_sequence(bytes, (size_t)(p->end - p->at));
    if (size == 0) {
        fail(p, "Invalid text");
        return 0;
    }
    uint32_t c = bytes[0] & masks[size];
    for (size_t i = 1; i < size; i++)
        c = c << 6 | (bytes[i] & 0x3f);
    p->at += size;
    return c;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Exactly this many hexadecimal digits, or nothing.
static bool
take_hex(struct parser *p, int count, uint32_t *ret)
{
    uint32_t v = 0;
    if (p->end - p->at < count)
        return false;
    for (int i = 0; i < count; i++) {
        int digit = hex_value(p->at[i]);
        if (digit < 0)
            return false;
        v = v << 4 | (uint32_t)digit;
    }
    p->at += count;
    *ret = v;
    return true;
}

static bool
take_decimal(struct parser *p, uint32_t *ret)
{
    uint32_t v = 0;
    if (p->at == p->end || !is_digit(*p->at))
        return false;
    for (; p->at < p->end && is_digit(*p->at); p->at++)
        v = v > 100000 ? v : v * 10 + (uint32_t)(*p->at - '0');
    *ret = v;
    return true;
}

// Behind "\u".
static uint32_t
take_unicode_escape(struct parser *p)
{
    uint32_t c = 0;
    uint32_t low;
    if (p->flags->unicode && take(p, "{")) {
        size_t digits = 0;
        for (; p->at < p->end && hex_value(*p->at) >= 0 && c <= 0x10ffff; p->at++, digits++)
            c = c << 4 | (uint32_t)hex_value(*p->at);
        if (digits == 0 || c > 0x10ffff || !take(p, "}"))
            fail(p, "Invalid Unicode escape");
        return c;
    }
    if (!take_hex(p, 4, &c)) {
        if (p->flags->unicode)
            fail(p, "Invalid Unicode escape");
        return 'u';
    }
    const char *before = p->at;
    if (c >= 0xd800 && c <= 0xdbff && take(p, "\\u") && take_hex(p, 4, &low) && low >= 0xdc00 &&
        low <= 0xdfff)
        return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    p->at = before;
    return c;
}

// Behind "\c".
static uint32_t
take_control(struct parser *p)
{
    char c = p->at < p->end ? (char)(*p->at | 0x20) : '\0';
    if (c >= 'a' && c <= 'z') {
        p->at++;
        return (uint32_t)(c - 'a' + 1);
    }
    if (p->flags->unicode)
        fail(p, "Invalid escape");
    p->at--; // the c stands for itself, and so does the backslash
    return '\\';
}

// Up to \377, which is what has a meaning only for old time's sake.
static uint32_t
take_octal(struct parser *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 3 && p->at < p->end && *p->at >= '0' && *p->at <= '7'; i++) {
        uint32_t next = v * 8 + (uint32_t)(*p->at - '0');
        if (next > 0377)
            break;
        v = next;
        p->at++;
    }
    return v;
}

// Behind "\", what stands for one character. in_class: as in […].
static uint32_t
take_character_escape(struct parser *p, bool in_class)
{
    static const char controls[] = "t\tn\nv\vf\fr\r";
    uint32_t c = 0;
    if (p->at == p->end) {
        fail(p, "\\ at end of pattern");
        return 0;
    }
    for (const char *k = controls; *k != '\0'; k += 2)
        if (*p->at == *k) {
            p->at++;
            return (uint32_t)k[1];
        }
    if (in_class && take(p, "b"))
        return '\b';
    if (take(p, "u"))
        return take_unicode_escape(p);
    if (take(p, "c"))
        return take_control(p);
    if (*p->at == 'x') {
        p->at++;
        if (take_hex(p, 2, &c))
            return c;
        if (p->flags->unicode)
            fail(p, "Invalid escape");
        return 'x';
    }
    bool nul = *p->at == '0' && (p->at + 1 == p->end || !is_digit(p->at[1]));
    if (p->flags->unicode && !nul && strchr("^$\\.*+?()[]{}|/-", *p->at) == NULL)
        fail(p, "Invalid escape");
    if (p->at < p->end && *p->at >= '0' && *p->at <= '7')
        return take_octal(p);
    return p->at < p->end ? take_code_point(p) : 0;
}

// Behind "\", what stands for many: writes it. False: it is none of these.
static bool
take_set_escape(struct parser *p, bool in_class)
{
    if (p->at == p->end)
        return false;
    char c = *p->at;
    if (memchr("dDwW", c, 4) != NULL) {
        char text[] = {'\\', c, '\0'};
        put(p, text);
    } else if (c == 's') {
        put(p, in_class ? SPACES : "[" SPACES "]");
    } else if (c == 'S') {
        put(p, in_class ? NOT_SPACES : "[^" SPACES "]");
    } else if (p->flags->unicode && (c == 'p' || c == 'P')) {
        const char *close = memchr(p->at, '}', (size_t)(p->end - p->at));
        if (close == NULL || p->at[1] != '{' || close == p->at + 2)
            fail(p, "Invalid property name");
        for (const char *i = p->at + 2; p->error == NULL && i < close; i++)
            if (hex_value(*i) < 0 && !(*i >= 'A' && *i <= 'z') && *i != '=')
                fail(p, "Invalid property name");
        if (p->error != NULL)
            return true;
        const char *name = p->at + 2;
        const char *equals = memchr(name, '=', (size_t)(close - name));
        bool category = equals != NULL &&
                        (equals - name == 2 ? memcmp(name, "gc", 2) == 0 : equals - name == 16);
        if (category)
            name = equals + 1;
        if (buf_append_fmt(p->out, "\\%c{%.*s}", c, (int)(close - name), name) < 0)
            fail(p, "!a regular expression of this size");
        p->at = close;
    } else {
        return false;
    }
    if (p->at < p->end)
        p->at++;
    return true;
}

// Classes.

// One element. Returns whether it is one character, not a set, which is written already.
static bool
take_class_atom(struct parser *p, uint32_t *ret)
{
    if (!take(p, "\\")) {
        *ret = take_code_point(p);
        return true;
    }
    if (take_set_escape(p, true))
        return false;
    if (p->at < p->end && *p->at == 'c' && p->end - p->at > 1 && !p->flags->unicode &&
        (is_digit(p->at[1]) || p->at[1] == '_')) {
        *ret = (uint32_t)p->at[1] % 32;
        p->at += 2;
        return true;
    }
    *ret = take_character_escape(p, true);
    return true;
}

static void
take_class(struct parser *p)
{
    bool negated = take(p, "^");
    if (take(p, "]")) {
        put(p, negated ? "[\\x{0}-\\x{10ffff}]" : "(?!)");
        return;
    }
    put(p, negated ? "[^" : "[");
    while (p->at < p->end && *p->at != ']') {
        uint32_t first;
        uint32_t last;
        bool single = take_class_atom(p, &first);
        assert(p->at != NULL);
        bool range = p->end - p->at > 1 && p->at[0] == '-' && p->at[1] != ']';
        if (single)
            put_char(p, first);
        if (!range)
            continue;
        p->at++;
        put(p, single ? "-" : "\\x{2d}");
        bool last_single = take_class_atom(p, &last);
        if (single && last_single && last < first)
            fail(p, "Range out of order in character class");
        if (single != last_single || !single) {
            if (p->flags->unicode)
                fail(p, "Invalid character class");
            // The hyphen stands for itself.
            else if (single)
                fail(p, "!a range from a character to a set");
        }
        if (last_single)
            put_char(p, last);
    }
    if (!take(p, "]"))
        fail(p, "Unterminated character class");
    put(p, "]");
}

// Groups and references.

static bool
take_name(struct parser *p, const char **ret, size_t *ret_size)
{
    const char *close = memchr(p->at, '>', (size_t)(p->end - p->at));
    if (close == NULL || close == p->at)
        return false;
    *ret = p->at;
    *ret_size = (size_t)(close - p->at);
    p->at = close + 1;
    return true;
}

// Counts the groups and notes their names, before anything can refer to them.
static void
scan_groups(struct parser *p)
{
    struct parser s = *p;
    bool in_class = false;
    for (; s.at < s.end; s.at++) {
        if (*s.at == '\\') {
            s.at++;
            continue;
        }
        if (in_class || *s.at == '[')
            in_class = *s.at != ']';
        if (in_class || *s.at != '(')
            continue;
        bool named =
            s.end - s.at > 3 && memcmp(s.at, "(?<", 3) == 0 && s.at[3] != '=' && s.at[3] != '!';
        if (s.end - s.at > 1 && s.at[1] == '?' && !named)
            continue;
        p->groups++;
        if (!named)
            continue;
        if (p->name_count == REGEX_GROUPS_MAX) {
            fail(p, "!so many groups in a regular expression");
            return;
        }
        struct name *n = &p->names[p->name_count];
        struct parser t = s;
        t.at += 3;
        if (take_name(&t, &n->text, &n->size)) {
            n->group = p->groups;
            p->name_count++;
        }
    }
}

static void
put_reference(struct parser *p, unsigned group)
{
    if (buf_append_fmt(p->out, "\\g{%u}", group) < 0)
        fail(p, "!a regular expression of this size");
}

static void
take_group(struct parser *p)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!"};
    const char *name;
    size_t size;
    p->depth++;
    p->repeatable = false;
    put(p, "(");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (take(p, kinds[i])) {
            put(p, kinds[i]);
            return;
        }
    if (take(p, "?<")) {
        if (!take_name(p, &name, &size))
            fail(p, "Invalid capture group name");
    } else if (p->at < p->end && *p->at == '?') {
        fail(p, "!a group of this kind in a regular expression");
    }
}

static void
take_named_reference(struct parser *p)
{
    const char *name = NULL;
    size_t size = 0;
    if (!take(p, "<") || !take_name(p, &name, &size)) {
        fail(p, "Invalid named reference");
        return;
    }
    for (size_t i = 0; i < p->name_count; i++)
        if (p->names[i].size == size && memcmp(p->names[i].text, name, size) == 0) {
            put_reference(p, p->names[i].group);
            return;
        }
    fail(p, "Invalid named capture referenced");
}

// Behind "\", outside of a class.
static void
take_escape(struct parser *p)
{
    p->repeatable = true;
    if (p->at < p->end && (*p->at == 'b' || *p->at == 'B')) {
        put(p, *p->at == 'b' ? "\\b" : "\\B");
        p->at++;
        p->repeatable = false;
        return;
    }
    if (take_set_escape(p, false))
        return;
    if ((p->name_count > 0 || p->flags->unicode) && take(p, "k")) {
        take_named_reference(p);
        return;
    }
    const char *before = p->at;
    uint32_t group;
    if (p->at < p->end && *p->at != '0' && take_decimal(p, &group)) {
        if (group <= p->groups) {
            put_reference(p, group);
            return;
        }
        if (p->flags->unicode)
            fail(p, "Invalid escape");
        else
            p->at = before;
    }
    put_char(p, take_character_escape(p, false));
}

// Quantifiers.

// {n}, {n,} or {n,m}; nothing is taken if it is none.
static bool
take_braces(struct parser *p, uint32_t *ret_min, uint32_t *ret_max, bool *ret_open)
{
    const char *before = p->at;
    *ret_open = false;
    if (take(p, "{") && take_decimal(p, ret_min)) {
        *ret_max = *ret_min;
        if (take(p, ","))
            *ret_open = !take_decimal(p, ret_max);
        if (take(p, "}"))
            return true;
    }
    p->at = before;
    return false;
}

static bool
take_quantifier(struct parser *p)
{
    uint32_t min;
    uint32_t max;
    bool open;
    const char *mark = p->at;
    if (take(p, "*") || take(p, "+") || take(p, "?")) {
        char text[] = {*mark, '\0'};
        put(p, text);
    } else if (take_braces(p, &min, &max, &open)) {
        if (!open && max < min)
            fail(p, "numbers out of order in {} quantifier");
        int r = open ? buf_append_fmt(p->out, "{%u,}", min)
                     : buf_append_fmt(p->out, "{%u,%u}", min, max);
        if (r < 0)
            fail(p, "!a regular expression of this size");
    } else {
        return false;
    }
    if (!p->repeatable)
        fail(p, "Nothing to repeat");
    if (take(p, "?"))
        put(p, "?");
    p->repeatable = false;
    return true;
}

static void
take_term(struct parser *p)
{
    if (take_quantifier(p))
        return;
    char c = *p->at++;
    p->repeatable = true;
    if (c == '(') {
        take_group(p);
    } else if (c == ')') {
        if (p->depth-- == 0)
            fail(p, "Unmatched ')'");
        put(p, ")");
    } else if (c == '[') {
        take_class(p);
    } else if (c == '\\') {
        take_escape(p);
    } else if (c == '.') {
        put(p, p->flags->dot_all ? "[\\x{0}-\\x{10ffff}]" : "[^" NEWLINES "]");
    } else if (c == '^') {
        put(p, p->flags->multiline ? "(?<![^" NEWLINES "])" : "\\A");
        p->repeatable = false;
    } else if (c == '$') {
        put(p, p->flags->multiline ? "(?![^" NEWLINES "])" : "\\z");
        p->repeatable = false;
    } else if (c == '|') {
        put(p, "|");
        p->repeatable = false;
    } else if (p->flags->unicode && strchr("{}]", c) != NULL) {
        fail(p, "Lone quantifier brackets");
    } else {
        p->at--;
        put_char(p, take_code_point(p));
    }
}

const char *
regex_translate(struct buf *out, const char *source, size_t size, const struct regex_flags *flags)
{
    struct parser p = {.out = out, .at = source, .end = source + size, .flags = flags};
    if (size > REGEX_SOURCE_MAX)
        return "!a regular expression of this size";
    scan_groups(&p);
    while (p.at < p.end)
        take_term(&p);
    if (p.error == NULL && p.depth > 0)
        return "Unterminated group";
    return p.error;
}
