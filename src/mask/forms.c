// SPDX-License-Identifier: Apache-2.0
#include "mask/forms.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum style { STYLE_HEX, STYLE_PERCENT, STYLE_JSON, STYLE_HTML };

// Which characters are written otherwise.
enum choice {
    CHOICE_ALL,
    CHOICE_BUT,  // all but letters, digits and set
    CHOICE_ONLY, // those of set
};

enum option {
    OPTION_UPPER = 1 << 0, // hexadecimal digits
    OPTION_PLUS = 1 << 1,  // a space is '+'
    OPTION_ASCII = 1 << 2, // also all beyond ASCII, as code points
    OPTION_SLASH = 1 << 3, // "\/"
    OPTION_QUOTE = 1 << 4, // no '\"' but "\u0022"
    OPTION_DECIMAL = 1 << 5,
    OPTION_NAMED = 1 << 6, // what has a name is written by it: "&amp;"
};

struct form {
    enum style style;
    enum choice choice;
    const char *set;
    unsigned options;       // enum option
    const char *apostrophe; // of HTML, where it is not a number like the others
};

#define BOTH_CASES(STYLE, CHOICE, SET, OPTIONS)                                                    \
    {STYLE, CHOICE, SET, OPTIONS, NULL},                                                           \
    {                                                                                              \
        STYLE, CHOICE, SET, (OPTIONS) | OPTION_UPPER, NULL                                         \
    }

static const struct form forms[] = {
    BOTH_CASES(STYLE_HEX, CHOICE_ALL, "", 0),
    // URLs: RFC 3986 2.3; the same for forms, and as the WHATWG and PHP write these; JavaScript's
    // two; Python's; RFC 3986 3.3 and Go's path segments; what cannot stand in any URL.
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~", OPTION_PLUS),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._*", OPTION_PLUS),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._", OPTION_PLUS),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._!*()", OPTION_PLUS),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~!*'()", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~!*'();/?:@&=+$,#", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~/", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~!$&'()*+,;=:@", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~$&+=:@", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~:@", 0), // and ours (substitute.c)
    BOTH_CASES(STYLE_PERCENT, CHOICE_BUT, "-._~!*'();/?:@&=+$,#[]", 0),
    BOTH_CASES(STYLE_PERCENT, CHOICE_ALL, "", 0),
    // JSON: what must be; for ASCII readers; safe within HTML, in the three common degrees.
    {STYLE_JSON, CHOICE_ONLY, "", 0, NULL},
    {STYLE_JSON, CHOICE_ONLY, "", OPTION_SLASH, NULL},
    BOTH_CASES(STYLE_JSON, CHOICE_ONLY, "", OPTION_ASCII),
    BOTH_CASES(STYLE_JSON, CHOICE_ONLY, "", OPTION_ASCII | OPTION_SLASH),
    BOTH_CASES(STYLE_JSON, CHOICE_ONLY, "<>&", 0),
    BOTH_CASES(STYLE_JSON, CHOICE_ONLY, "<>&'=", 0),
    BOTH_CASES(STYLE_JSON, CHOICE_ONLY, "<>&'", OPTION_ASCII | OPTION_SLASH | OPTION_QUOTE),
    BOTH_CASES(STYLE_JSON, CHOICE_ONLY, "<>&'+`", OPTION_ASCII | OPTION_QUOTE),
    BOTH_CASES(STYLE_JSON, CHOICE_ALL, "", OPTION_ASCII | OPTION_QUOTE),
    // HTML and XML: in text, in attributes, by number, and everything by number.
    {STYLE_HTML, CHOICE_ONLY, "&<>", OPTION_NAMED, NULL},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"", OPTION_NAMED, NULL},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"'", OPTION_NAMED, "&#39;"},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"'", OPTION_NAMED, "&#039;"},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"'", OPTION_NAMED, "&#x27;"},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"'", OPTION_NAMED, "&apos;"},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"'/", OPTION_NAMED | OPTION_UPPER, "&#x27;"},
    {STYLE_HTML, CHOICE_ONLY, "&<>\"'/`=", OPTION_NAMED | OPTION_UPPER, "&#39;"},
    {STYLE_HTML, CHOICE_ONLY, "&<>", OPTION_NAMED | OPTION_ASCII | OPTION_DECIMAL, NULL},
    {STYLE_HTML, CHOICE_BUT, "-._", OPTION_ASCII | OPTION_DECIMAL, NULL},
    {STYLE_HTML, CHOICE_ALL, "", OPTION_ASCII | OPTION_DECIMAL, NULL},
    BOTH_CASES(STYLE_HTML, CHOICE_BUT, "-._", OPTION_ASCII),
    BOTH_CASES(STYLE_HTML, CHOICE_ALL, "", OPTION_ASCII),
};

size_t
forms_count(void)
{
    return ARRAY_SIZE(forms);
}

static bool
is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool
is_chosen(const struct form *f, char c)
{
    bool listed = c != '\0' && strchr(f->set, c) != NULL;
    switch (f->choice) {
    case CHOICE_BUT:
        return !listed && !is_letter_or_digit(c);
    case CHOICE_ONLY:
        return listed;
    case CHOICE_ALL:
        break;
    }
    return true;
}

static size_t
put_hex(char *out, unsigned byte, bool upper)
{
    static const char digits[2][17] = {"0123456789abcdef", "0123456789ABCDEF"};
    out[0] = digits[upper][byte >> 4 & 15];
    out[1] = digits[upper][byte & 15];
    return 2;
}

// The character at text, and how many bytes it takes: what is no UTF-8 is a byte.
static uint32_t
code_point(const char *text, size_t size, size_t *ret_size)
{
    const uint8_t *in = (const uint8_t *)text;
    size_t more = in[0] >= 0xf0 ? 3 : in[0] >= 0xe0 ? 2 : in[0] >= 0xc0 ? 1 : 0;
    uint32_t code = more == 0 ? in[0] : in[0] & (0x3fu >> more);
    *ret_size = 1;
    if (more >= size)
        return in[0];
    for (size_t i = 1; i <= more; i++) {
        if ((in[i] & 0xc0) != 0x80)
            return in[0];
        code = code << 6 | (in[i] & 0x3f);
    }
    *ret_size = more + 1;
    return code;
}

static size_t
put_unicode(char *out, uint32_t unit, bool upper)
{
    memcpy(out, "\\u", 2);
    return 2 + put_hex(out + 2, unit >> 8, upper) + put_hex(out + 4, unit & 0xff, upper);
}

static size_t
put_json(const struct form *f, char *out, uint32_t code)
{
    enum { SUPPLEMENTARY = 0x10000, HIGH = 0xd800, LOW = 0xdc00 }; // surrogates, RFC 8259 7
    bool upper = (f->options & OPTION_UPPER) != 0;
    bool all = f->choice == CHOICE_ALL;
    bool quote = code == '"' && (f->options & OPTION_QUOTE) != 0;
    char shorthand = code == '"' || code == '\\' ? (char)code : code == '\t' ? 't' : '\0';
    if (code == '/' && (f->options & OPTION_SLASH) != 0)
        shorthand = '/';
    if (!all && !quote && shorthand != '\0') {
        out[0] = '\\';
        out[1] = shorthand;
        return 2;
    }
    if (code < SUPPLEMENTARY)
        return put_unicode(out, code, upper);
    code -= SUPPLEMENTARY;
    size_t n = put_unicode(out, HIGH + (code >> 10), upper);
    return n + put_unicode(out + n, LOW + (code & 0x3ff), upper);
}

static size_t
put_html(const struct form *f, char *out, uint32_t code)
{
    static const char names[][7] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;"};
    char number[16];
    const char *text = number;
    (void)snprintf(number, sizeof number,
                   (f->options & OPTION_DECIMAL) != 0 ? "&#%u;"
                   : (f->options & OPTION_UPPER) != 0 ? "&#x%X;"
                                                      : "&#x%x;",
                   code);
    if ((f->options & OPTION_NAMED) != 0 && code < ARRAY_SIZE(names) && names[code][0] != '\0')
        text = names[code];
    else if (code == '\'' && f->apostrophe != NULL)
        text = f->apostrophe;
    memcpy(out, text, strlen(text));
    return strlen(text);
}

// JSON writes some characters otherwise whatever is chosen.
static bool
must_escape(const struct form *f, uint32_t code)
{
    if (code >= 0x80)
        return (f->options & OPTION_ASCII) != 0;
    if (is_chosen(f, (char)code))
        return true;
    return f->style == STYLE_JSON && (code < ' ' || code == '"' || code == '\\' ||
                                      (code == '/' && (f->options & OPTION_SLASH) != 0));
}

static size_t
put_byte(const struct form *f, char *out, char c)
{
    bool upper = (f->options & OPTION_UPPER) != 0;
    if (f->style == STYLE_HEX)
        return put_hex(out, (uint8_t)c, upper);
    if (c == ' ' && (f->options & OPTION_PLUS) != 0) {
        *out = '+';
        return 1;
    }
    *out = is_chosen(f, c) ? '%' : c;
    return is_chosen(f, c) ? 1 + put_hex(out + 1, (uint8_t)c, upper) : 1;
}

static size_t
put_character(const struct form *f, char *out, const char *text, size_t size, size_t *ret_taken)
{
    *ret_taken = 1;
    if (f->style == STYLE_HEX || f->style == STYLE_PERCENT)
        return put_byte(f, out, *text);
    uint32_t code = code_point(text, size, ret_taken);
    if (must_escape(f, code))
        return f->style == STYLE_JSON ? put_json(f, out, code) : put_html(f, out, code);
    memcpy(out, text, *ret_taken);
    return *ret_taken;
}

size_t
forms_write(size_t i, char *out, const char *text, size_t size)
{
    size_t n = 0;
    size_t taken;
    for (size_t at = 0; at < size; at += taken)
        n += put_character(&forms[i], out + n, text + at, size - at, &taken);
    return n;
}

// --- to a length ---

// Escapes as many of the first characters as take target bytes together, if each escape adds so
// many.
static size_t
write_stepwise(const struct form *f, char *out, const char *text, size_t size, size_t target,
               size_t step)
{
    struct form all = *f;
    all.choice = CHOICE_ALL;
    size_t escaped = (target - size) / step;
    if ((target - size) % step != 0 || escaped > size)
        return 0;
    size_t n = 0;
    size_t taken;
    for (size_t at = 0; at < escaped; at++)
        n += put_character(&all, out + n, text + at, 1, &taken);
    memcpy(out + n, text + escaped, size - escaped);
    return n + size - escaped;
}

// Likewise with numbers, of which the last gets as many leading zeros as are missing.
static size_t
write_numbers(const struct form *f, char *out, const char *text, size_t size, size_t target)
{
    bool decimal = (f->options & OPTION_DECIMAL) != 0;
    char number[16];
    size_t n = 0;
    size_t last = 0;
    size_t at = 0;
    for (; at < size; at++) {
        size_t length = (size_t)snprintf(number, sizeof number, decimal ? "&#%u;" : "&#x%x;",
                                         (unsigned)(uint8_t)text[at]);
        if (n + length + (size - at - 1) > target)
            break;
        memcpy(out + n, number, length);
        last = n;
        n += length;
    }
    size_t missing = target - n - (size - at);
    if (at == 0 && missing > 0)
        return 0;
    if (missing > 0) {
        size_t digits = last + (decimal ? 2 : 3);
        memmove(out + digits + missing, out + digits, n - digits);
        memset(out + digits, '0', missing);
        n += missing;
    }
    memcpy(out + n, text + at, size - at);
    return n + size - at;
}

size_t
forms_write_sized(size_t i, char *out, const char *text, size_t size, size_t target)
{
    enum { PERCENT_STEP = 2, JSON_STEP = 5 }; // what "%63" and "\u0063" are longer than "c"
    const struct form *f = &forms[i];
    size_t n = 0;
    if (target >= size && f->style == STYLE_PERCENT)
        n = write_stepwise(f, out, text, size, target, PERCENT_STEP);
    else if (target >= size && f->style == STYLE_JSON)
        n = write_stepwise(f, out, text, size, target, JSON_STEP);
    else if (target >= size && f->style == STYLE_HTML)
        n = write_numbers(f, out, text, size, target);
    return n > 0 ? n : forms_write(i, out, text, size);
}

// --- base64 ---

enum { ALIGNMENTS = 3 };

// The first character that belongs to a text alone which stands behind shift bytes.
static size_t
first_own(size_t shift)
{
    return (shift * 8 + 5) / 6;
}

size_t
forms_base64_room(size_t size)
{
    return base64_encoded_size(size + ALIGNMENTS);
}

size_t
forms_write_base64(size_t i, char *out, const char *text, size_t size, size_t *ret_from)
{
    size_t shift = i % ALIGNMENTS;
    uint8_t *plain = xcalloc(1, size + shift);
    memcpy(plain + shift, text, size);
    base64_encode(out, plain, size + shift);
    explicit_bzero(plain, size + shift);
    free(plain);
    size_t from = first_own(shift);
    size_t to = (size + shift) * 8 / 6;
    for (size_t at = from; i >= ALIGNMENTS && at < to; at++)
        out[at] = (char)(out[at] == '+' ? '-' : out[at] == '/' ? '_' : out[at]);
    *ret_from = from;
    return to - from;
}

// One byte more than asked for, as up to six bits of the first are not in the form.
size_t
forms_base64_covers(size_t i, size_t count)
{
    size_t shift = i % ALIGNMENTS;
    return ((shift + count + 1) * 8 + 5) / 6 - first_own(shift);
}
