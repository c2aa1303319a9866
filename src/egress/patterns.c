// SPDX-License-Identifier: Apache-2.0
// Search is Wu and Manber's: of each place where patterns could begin, the last two bytes of the
// shortest pattern's length are looked up in a table that tells how far the next place is. With
// values of usual length most bytes are never looked at, however many patterns there are.
#include "egress/patterns.h"

#include "egress/policy-internal.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    BASE64_ALIGNMENTS = 3,
    BLOCKS = 4096,
    LENGTH_MAX = 255,    // of what is searched by; a shift is one byte
    ESCAPE_MAX = 6,      // "&quot;", of one character
    PLACEHOLDER_MAX = 3, // likewise of a placeholder, which needs no escapes: "%63"
};

struct patterns {
    struct vault vault;
    size_t count;
    struct pattern *list;
    size_t length;          // what is searched by: of the shortest, LENGTH_MAX at most
    uint8_t shift[BLOCKS];  // bytes from here to the next possible end of a block
    unsigned first[BLOCKS]; // 1 + the first pattern with that block at its end; 0: none
};

struct text {
    char *data;
    size_t size;
};

static const char lower[] = "0123456789abcdef";
static const char upper[] = "0123456789ABCDEF";

static struct text
encode_hex(char *out, const char *in, size_t size, const char *digits)
{
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[(uint8_t)in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    return (struct text){out, 2 * size};
}

static struct text
encode_hex_lower(char *out, const char *in, size_t size)
{
    return encode_hex(out, in, size, lower);
}

static struct text
encode_hex_upper(char *out, const char *in, size_t size)
{
    return encode_hex(out, in, size, upper);
}

static struct text
encode_percent(char *out, const char *in, size_t size, const char *digits, bool all)
{
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"; // RFC 3986 2.3
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (!all && memchr(unreserved, in[i], sizeof unreserved - 1) != NULL) {
            out[n++] = in[i];
        } else {
            out[n++] = '%';
            n += encode_hex(out + n, in + i, 1, digits).size;
        }
    }
    return (struct text){out, n};
}

static struct text
encode_percent_upper(char *out, const char *in, size_t size)
{
    return encode_percent(out, in, size, upper, false);
}

static struct text
encode_percent_lower(char *out, const char *in, size_t size)
{
    return encode_percent(out, in, size, lower, false);
}

static struct text
encode_percent_all(char *out, const char *in, size_t size)
{
    return encode_percent(out, in, size, upper, true);
}

// Each character of from becomes the text that stands in its place in to.
static struct text
escape(char *out, const char *in, size_t size, const char *from, const char *const *to)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        const char *at = memchr(from, in[i], strlen(from));
        const char *text = at == NULL ? NULL : to[at - from];
        size_t length = text == NULL ? 1 : strlen(text);
        memcpy(out + n, text == NULL ? in + i : text, length);
        n += length;
    }
    return (struct text){out, n};
}

static struct text
encode_json(char *out, const char *in, size_t size)
{
    static const char *const to[] = {"\\\"", "\\\\", "\\t"};
    return escape(out, in, size, "\"\\\t", to);
}

// As some encoders do, so that "</script>" cannot be.
static struct text
encode_json_slash(char *out, const char *in, size_t size)
{
    static const char *const to[] = {"\\\"", "\\\\", "\\t", "\\/"};
    return escape(out, in, size, "\"\\\t/", to);
}

static struct text
encode_html(char *out, const char *in, size_t size)
{
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    return escape(out, in, size, "&<>\"'", to);
}

static struct text (*const encoders[])(char *out, const char *in, size_t size) = {
    encode_hex_lower,   encode_hex_upper, encode_percent_upper, encode_percent_lower,
    encode_percent_all, encode_json,      encode_json_slash,    encode_html,
};
enum { FORMS_MAX = 1 + 2 * BASE64_ALIGNMENTS + ARRAY_SIZE(encoders) };
static_assert((int)POLICY_SECRETS_MAX <= 64, "a secret's number is a bit");
static_assert((int)PATTERN_FORM_MAX == POLICY_VALUE_MAX * ESCAPE_MAX, "the longest form");

// What text becomes within base64 when shift bytes stand before it, less the characters that it
// shares with its neighbours. out has room for base64_encoded_size(size + BASE64_ALIGNMENTS).
static struct text
encode_base64(char *out, const char *in, size_t size, size_t shift, bool url)
{
    uint8_t *plain = xcalloc(1, size + shift);
    memcpy(plain + shift, in, size);
    base64_encode(out, plain, size + shift);
    explicit_bzero(plain, size + shift);
    free(plain);
    size_t from = (shift * 8 + 5) / 6;
    size_t to = (size + shift) * 8 / 6;
    for (size_t i = from; url && i < to; i++)
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    return (struct text){out + from, to - from};
}

// --- making the list ---

static char *
take_room(struct patterns *p, size_t size)
{
    if (size > p->vault.capacity - p->vault.used)
        abort(); // vault_size() has counted
    char *at = p->vault.data + p->vault.used;
    p->vault.used += size;
    return at;
}

// Unless there is the same already: most forms of a plain value are the value.
static void
add(struct patterns *p, size_t number, struct text text, struct text replacement)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].size == text.size && p->list[i].number == number &&
            memcmp(p->list[i].text, text.data, text.size) == 0)
            return;
    p->list[p->count++] = (struct pattern){.text = text.data,
                                           .size = text.size,
                                           .replacement = replacement.data,
                                           .replacement_size = replacement.size,
                                           .number = number};
}

static void
add_secret(struct patterns *p, size_t number, const struct policy_secret *s)
{
    // The policy's own bytes, which nobody writes to.
    add(p, number, (struct text){(char *)(uintptr_t)s->value, s->value_size},
        (struct text){(char *)(uintptr_t)s->placeholder, s->placeholder_size});
    for (size_t i = 0; i < 2 * BASE64_ALIGNMENTS; i++) {
        size_t shift = i % BASE64_ALIGNMENTS;
        bool url = i >= BASE64_ALIGNMENTS;
        char *a = take_room(p, base64_encoded_size(s->value_size + BASE64_ALIGNMENTS));
        char *b = take_room(p, base64_encoded_size(s->placeholder_size + BASE64_ALIGNMENTS));
        add(p, number, encode_base64(a, s->value, s->value_size, shift, url),
            encode_base64(b, s->placeholder, s->placeholder_size, shift, url));
    }
    for (size_t i = 0; i < ARRAY_SIZE(encoders); i++) {
        char *a = take_room(p, s->value_size * ESCAPE_MAX);
        char *b = take_room(p, s->placeholder_size * PLACEHOLDER_MAX);
        add(p, number, encoders[i](a, s->value, s->value_size),
            encoders[i](b, s->placeholder, s->placeholder_size));
    }
}

static size_t
vault_size(const struct policy *policy)
{
    size_t total = 1;
    for (size_t i = 0; i < policy_secret_count(policy); i++) {
        const struct policy_secret *s = policy_secret_at(policy, i);
        size_t base64 = base64_encoded_size(s->value_size + BASE64_ALIGNMENTS) +
                        base64_encoded_size(s->placeholder_size + BASE64_ALIGNMENTS);
        size_t others = s->value_size * ESCAPE_MAX + s->placeholder_size * PLACEHOLDER_MAX;
        total += 2 * BASE64_ALIGNMENTS * base64 + ARRAY_SIZE(encoders) * others;
    }
    return total;
}

static unsigned
block_of(const char *end)
{
    return ((unsigned)(uint8_t)end[-1] << 4 ^ (uint8_t)end[0]) & (BLOCKS - 1);
}

static void
index_patterns(struct patterns *p)
{
    p->length = LENGTH_MAX;
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].size < p->length)
            p->length = p->list[i].size;
    memset(p->shift, (int)(p->length - 1), sizeof p->shift);
    for (size_t i = 0; i < p->count; i++) {
        for (size_t end = 1; end < p->length; end++) {
            uint8_t *shift = &p->shift[block_of(p->list[i].text + end)];
            if (p->length - 1 - end < *shift)
                *shift = (uint8_t)(p->length - 1 - end);
        }
        unsigned *first = &p->first[block_of(p->list[i].text + p->length - 1)];
        p->list[i].in_turn = *first;
        *first = (unsigned)i + 1;
    }
}

int
patterns_new(const struct policy *policy, struct patterns **ret, struct error *err)
{
    struct vault vault;
    if (vault_init(&vault, vault_size(policy), err) < 0)
        return -1;
    struct patterns *p = xcalloc(1, sizeof *p);
    p->vault = vault;
    size_t count = policy_secret_count(policy);
    p->list = xcalloc(count * FORMS_MAX + 1, sizeof *p->list);
    for (size_t i = 0; i < count; i++)
        if (policy_secret_at(policy, i)->value_size >= PATTERN_VALUE_MIN)
            add_secret(p, i, policy_secret_at(policy, i));
    index_patterns(p);
    *ret = p;
    return 0;
}

void
patterns_free(struct patterns *p)
{
    if (p == NULL)
        return;
    vault_done(&p->vault);
    free(p->list);
    free(p);
}

size_t
patterns_count(const struct patterns *p)
{
    return p->count;
}

const struct pattern *
patterns_at(const struct patterns *p, size_t i)
{
    return &p->list[i];
}

// --- search ---

static const struct pattern *
longest_at(const struct patterns *p, unsigned i, uint64_t secrets, const char *text, size_t size)
{
    const struct pattern *longest = NULL;
    for (; i != 0; i = p->list[i - 1].in_turn) {
        const struct pattern *candidate = &p->list[i - 1];
        if ((pattern_bit(candidate) & secrets) != 0 && candidate->size <= size &&
            (longest == NULL || candidate->size > longest->size) &&
            memcmp(candidate->text, text, candidate->size) == 0)
            longest = candidate;
    }
    return longest;
}

const struct pattern *
patterns_find(const struct patterns *p, uint64_t secrets, const char *text, size_t size,
              size_t from, size_t *ret_at)
{
    if (p->count == 0 || secrets == 0)
        return NULL;
    size_t end = from + p->length - 1;
    while (end < size) {
        unsigned block = block_of(text + end);
        size_t shift = p->shift[block];
        if (shift > 0) {
            end += shift;
            continue;
        }
        size_t at = end - (p->length - 1);
        const struct pattern *found = longest_at(p, p->first[block], secrets, text + at, size - at);
        if (found != NULL) {
            *ret_at = at;
            return found;
        }
        end++;
    }
    return NULL;
}
