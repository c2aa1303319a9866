// SPDX-License-Identifier: Apache-2.0
// Everything comes down to next_token(): the next place where "csec_" begins one of ours, exactly,
// or what is well-formed as one. Ours are looked up by hash and compared byte for byte, the public
// prefix before them included: without it, it is nobody's. What follows one does not matter, so two
// in a row are two. Encoded text (query, path) is decoded first, with a map from decoded to written
// offsets, because a placeholder may hide behind any mixture of raw and encoded bytes. A head
// without placeholders and percent signs costs one search for "csec_".
#include "mask/substitute.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

static const char prefix[] = POLICY_PLACEHOLDER_PREFIX;
enum { PREFIX_SIZE = sizeof prefix - 1 };

static_assert((int)POLICY_SECRETS_MAX <= 64, "a secret's number is a bit of swapped");
static_assert((1 << SUBSTITUTE_HEADER) == POLICY_HEADER &&
                  (1 << SUBSTITUTE_BASIC) == POLICY_BASIC &&
                  (1 << SUBSTITUTE_QUERY) == POLICY_QUERY && (1 << SUBSTITUTE_PATH) == POLICY_PATH,
              "places are bits of where");

struct token {
    size_t at;
    size_t size;
    const struct policy_secret *secret; // NULL: nobody's
    size_t number;
};

const char *
substitute_where_name(enum substitute_where where)
{
    static const char *const names[] = {"header", "basic", "query", "path"};
    static_assert(ARRAY_SIZE(names) == SUBSTITUTE_MAX, "a name for each place");
    return names[where];
}

// As CGI and its heirs compare names: without case, and "_" is "-".
static bool
is_alike(struct h1_span name, const char *other)
{
    if (name.size != strlen(other))
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i] == '_' ? '-' : name.data[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c) != other[i])
            return false;
    }
    return true;
}

void
substitute_note_override(struct substitute *s, struct h1_span name)
{
    static const char *const of_method[] = {"x-http-method-override", "x-http-method",
                                            "x-method-override", "x-original-method"};
    static const char *const of_path[] = {"x-original-url", "x-original-uri", "x-rewrite-url"};
    if (name.size < 2 || (name.data[0] | 0x20) != 'x')
        return;
    for (size_t i = 0; i < ARRAY_SIZE(of_method); i++)
        if (is_alike(name, of_method[i]))
            s->method = (struct h1_span){0};
    for (size_t i = 0; i < ARRAY_SIZE(of_path); i++)
        if (is_alike(name, of_path[i]))
            s->path = (struct h1_span){0};
}

static bool
is_base62(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// Is there a placeholder whose "csec_" is at text + at? Its prefix may not begin before from.
static bool
token_at(const struct policy *policy, const char *text, size_t size, size_t from, size_t at,
         struct token *ret)
{
    size_t number = 0;
    const struct policy_secret *secret =
        policy_find_placeholder(policy, text + at, size - at, &number);
    if (secret != NULL && at - from >= secret->prefix_size &&
        memcmp(text + at - secret->prefix_size, secret->placeholder, secret->prefix_size) == 0) {
        *ret = (struct token){.at = at - secret->prefix_size,
                              .size = secret->placeholder_size,
                              .secret = secret,
                              .number = number};
        return true;
    }
    *ret = (struct token){.at = at, .size = POLICY_PLACEHOLDER_MIN};
    return policy_placeholder_is_wellformed(text + at, size - at);
}

static bool
next_token(const struct policy *policy, const char *text, size_t size, size_t from,
           struct token *ret)
{
    size_t at = from;
    while (at < size) {
        const char *hit = memmem(text + at, size - at, prefix, PREFIX_SIZE);
        if (hit == NULL)
            return false;
        at = (size_t)(hit - text);
        if (token_at(policy, text, size, from, at, ret))
            return true;
        at++;
    }
    return false;
}

// A value may stand in a head only if it cannot end the line; policies are checked for it, and this
// is the last look before the wire.
static bool
fits_head(const struct policy_secret *secret)
{
    return memchr(secret->value, '\r', secret->value_size) == NULL &&
           memchr(secret->value, '\n', secret->value_size) == NULL &&
           memchr(secret->value, '\0', secret->value_size) == NULL;
}

// Why this placeholder may not become its value, in a place of which nothing is known yet; NULL: it
// may, and is somebody's.
static const char *
objection(const struct substitute *s, const struct token *token)
{
    const struct policy_secret *secret = token->secret;
    if (secret == NULL)
        return "placeholder_unknown";
    if (!policy_secret_applies(secret, s->host, s->host_size, s->port))
        return "placeholder_not_for_host";
    if (s->plain && !secret->plain_http)
        return "placeholder_without_tls";
    if (!policy_secret_permits(secret, s->method.data, s->method.size, s->path.data, s->path.size))
        return "placeholder_not_for_request";
    return fits_head(secret) ? NULL : "value_not_for_headers";
}

static const char *
objection_there(const struct substitute *s, const struct token *token, enum substitute_where where)
{
    const char *why = objection(s, token);
    if (why != NULL)
        return why;
    return (token->secret->where >> where & 1) != 0 ? NULL : "placeholder_not_enabled_here";
}

// OK: the policy wants it left as it is.
static enum substitute_result
misuse(struct substitute *s, const struct token *token, const char *place, const char *reason)
{
    if (s->reason == NULL) {
        s->secret = token->secret != NULL ? token->secret->name : NULL;
        s->place = place;
        s->reason = reason;
    }
    return policy_settings(s->policy)->pass_misused_heads ? SUBSTITUTE_OK : SUBSTITUTE_MISUSE;
}

enum substitute_result
substitute_forbid(struct substitute *s, struct h1_span text, const char *place)
{
    struct token token;
    if (!next_token(s->policy, text.data, text.size, 0, &token))
        return SUBSTITUTE_OK;
    const char *why = objection(s, &token);
    return misuse(s, &token, place, why != NULL ? why : "placeholder_not_enabled_here");
}

// --- fields ---

static enum substitute_result
append(struct buf *out, const void *data, size_t size)
{
    return buf_append(out, data, size) == 0 ? SUBSTITUTE_OK : SUBSTITUTE_FULL;
}

static enum substitute_result
swap_raw(struct substitute *s, struct h1_span text, enum substitute_where where, struct buf *out)
{
    struct token token;
    size_t done = 0;
    while (next_token(s->policy, text.data, text.size, done, &token)) {
        const char *why = objection_there(s, &token, where);
        size_t end = token.at + token.size;
        enum substitute_result r = SUBSTITUTE_OK;
        if (why != NULL) {
            r = misuse(s, &token, substitute_where_name(where), why);
            if (r == SUBSTITUTE_OK)
                r = append(out, text.data + done, end - done);
        } else {
            r = append(out, text.data + done, token.at - done);
            if (r == SUBSTITUTE_OK)
                r = append(out, token.secret->value, token.secret->value_size);
            s->swapped[where] |= UINT64_C(1) << token.number;
        }
        if (r != SUBSTITUTE_OK)
            return r;
        done = end;
    }
    return append(out, text.data + done, text.size - done);
}

// The blob of "Basic <blob>" (RFC 7617), or size 0.
static struct h1_span
basic_blob(struct h1_span value)
{
    static const char scheme[] = "basic";
    const size_t scheme_size = sizeof scheme - 1;
    if (value.size <= scheme_size ||
        !h1_span_is_nocase((struct h1_span){value.data, scheme_size}, scheme))
        return (struct h1_span){0};
    size_t at = scheme_size;
    while (at < value.size && (value.data[at] == ' ' || value.data[at] == '\t'))
        at++;
    if (at == scheme_size)
        return (struct h1_span){0};
    return (struct h1_span){value.data + at, value.size - at};
}

static enum substitute_result
append_base64(struct buf *out, const struct buf *plain)
{
    size_t size = base64_encoded_size(buf_size(plain));
    char *room = (char *)buf_reserve(out, size);
    if (room == NULL)
        return SUBSTITUTE_FULL;
    base64_encode(room, buf_bytes(plain), buf_size(plain));
    buf_commit(out, size);
    return SUBSTITUTE_OK;
}

// Credentials in which no placeholder is hidden are a field's value as any other: some are handed
// out with their coding, and then the placeholder stands for all of them.
static enum substitute_result
swap_basic(struct substitute *s, struct h1_span value, struct h1_span blob, struct buf *out)
{
    cleanup_free char *decoded = xmalloc(base64_decoded_max(blob.size));
    ptrdiff_t n = base64_decode_unpadded((uint8_t *)decoded, blob.data, blob.size);
    struct token token;
    if (n < 0 || !next_token(s->policy, decoded, (size_t)n, 0, &token))
        return swap_raw(s, value, SUBSTITUTE_HEADER, out);
    cleanup_buf struct buf plain;
    buf_init_secret(&plain, out->cap);
    enum substitute_result r =
        swap_raw(s, (struct h1_span){decoded, (size_t)n}, SUBSTITUTE_BASIC, &plain);
    if (r == SUBSTITUTE_OK)
        r = append(out, value.data, (size_t)(blob.data - value.data));
    return r == SUBSTITUTE_OK ? append_base64(out, &plain) : r;
}

static bool
begins_nocase(struct h1_span text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && strncasecmp(text.data, word, size) == 0;
}

static bool
holds(struct h1_span text, const char *word)
{
    return memmem(text.data, text.size, word, strlen(word)) != NULL;
}

// A field that is, or is part of, a signature over the request: with a value put in, it would be a
// signature over something else, made with a key that is none.
static bool
is_signed_field(const struct h1_field *field)
{
    static const char *const schemes[] = {"aws4-", "aws ", "signature "};
    if (h1_span_is_nocase(field->name, "x-amz-security-token"))
        return true;
    if (!h1_span_is_nocase(field->name, "authorization"))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (begins_nocase(field->value, schemes[i]))
            return true;
    return begins_nocase(field->value, "oauth ") && holds(field->value, "oauth_signature=") &&
           !holds(field->value, "PLAINTEXT");
}

enum substitute_result
substitute_field(struct substitute *s, const struct h1_field *field, struct buf *out)
{
    struct token token;
    if (h1_span_is_nocase(field->name, "authorization")) {
        struct h1_span blob = basic_blob(field->value);
        if (blob.size > 0)
            return swap_basic(s, field->value, blob, out);
    }
    if (is_signed_field(field) &&
        next_token(s->policy, field->value.data, field->value.size, 0, &token)) {
        enum substitute_result r = misuse(s, &token, "header", "signed_request");
        return r == SUBSTITUTE_OK ? append(out, field->value.data, field->value.size) : r;
    }
    return swap_raw(s, field->value, SUBSTITUTE_HEADER, out);
}

// --- percent-encoded text ---

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

struct decoded {
    char *text;
    size_t size;
    uint32_t *start; // size + 1 offsets into the written form
};

static void
decoded_done(struct decoded *d)
{
    free(d->text);
    free(d->start);
}

// Once only: what is still encoded after that is not ours to guess at.
static void
decode(struct decoded *d, struct h1_span text)
{
    d->text = xmalloc(text.size + 1);
    d->start = xmalloc((text.size + 1) * sizeof *d->start);
    d->size = 0;
    size_t i = 0;
    while (i < text.size) {
        d->start[d->size] = (uint32_t)i;
        int high = text.data[i] == '%' && text.size - i > 2 ? hex_value(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text.data[i + 2]) : -1;
        if (low >= 0) {
            d->text[d->size++] = (char)(high << 4 | low);
            i += 3;
        } else {
            d->text[d->size++] = text.data[i++];
        }
    }
    d->start[d->size] = (uint32_t)text.size;
}

enum substitute_result
substitute_forbid_encoded(struct substitute *s, struct h1_span text, const char *place)
{
    __attribute__((cleanup(decoded_done))) struct decoded d = {0};
    if (memchr(text.data, '%', text.size) == NULL)
        return substitute_forbid(s, text, place);
    decode(&d, text);
    return substitute_forbid(s, (struct h1_span){d.text, d.size}, place);
}

static bool
is_unreserved(uint8_t c)
{
    return is_base62((char)c) || c == '-' || c == '.' || c == '_' || c == '~';
}

// In a path ":" and "@" mean nothing else (RFC 3986 3.3), and servers that compare bytes expect
// them as they are.
static enum substitute_result
append_encoded(struct buf *out, const char *value, size_t size, enum substitute_where where)
{
    static const char digits[] = "0123456789ABCDEF";
    char *room = (char *)buf_reserve(out, size * 3);
    if (room == NULL)
        return SUBSTITUTE_FULL;
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)value[i];
        if (is_unreserved(c) || (where == SUBSTITUTE_PATH && (c == ':' || c == '@'))) {
            room[n++] = (char)c;
        } else {
            room[n++] = '%';
            room[n++] = digits[c >> 4];
            room[n++] = digits[c & 15];
        }
    }
    buf_commit(out, n);
    return SUBSTITUTE_OK;
}

// A query that is signed, as the URLs of object stores are.
static bool
is_signed_query(const struct decoded *d)
{
    static const char *const names[] = {
        "x-amz-signature=", "x-goog-signature=", "oauth_signature=", "signature=", "sig="};
    for (size_t at = 0; at < d->size; at++) {
        struct h1_span rest = {d->text + at, d->size - at};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            if (begins_nocase(rest, names[i]))
                return true;
        const char *next = memchr(rest.data, '&', rest.size);
        if (next == NULL)
            return false;
        at = (size_t)(next - d->text);
    }
    return false;
}

static enum substitute_result
swap_decoded(struct substitute *s, const struct decoded *d, struct h1_span written,
             enum substitute_where where, struct buf *out)
{
    bool is_signed = where == SUBSTITUTE_QUERY && is_signed_query(d);
    struct token token;
    size_t done = 0; // decoded
    while (next_token(s->policy, d->text, d->size, done, &token)) {
        const char *why = is_signed ? "signed_request" : objection_there(s, &token, where);
        size_t end = token.at + token.size;
        enum substitute_result r = SUBSTITUTE_OK;
        if (why != NULL) {
            r = misuse(s, &token, substitute_where_name(where), why);
            if (r == SUBSTITUTE_OK)
                r = append(out, written.data + d->start[done], d->start[end] - d->start[done]);
        } else {
            r = append(out, written.data + d->start[done], d->start[token.at] - d->start[done]);
            if (r == SUBSTITUTE_OK)
                r = append_encoded(out, token.secret->value, token.secret->value_size, where);
            s->swapped[where] |= UINT64_C(1) << token.number;
        }
        if (r != SUBSTITUTE_OK)
            return r;
        done = end;
    }
    return append(out, written.data + d->start[done], written.size - d->start[done]);
}

static enum substitute_result
swap_encoded(struct substitute *s, struct h1_span text, enum substitute_where where,
             struct buf *out)
{
    __attribute__((cleanup(decoded_done))) struct decoded d = {0};
    if (memchr(text.data, '%', text.size) == NULL &&
        memmem(text.data, text.size, prefix, PREFIX_SIZE) == NULL)
        return append(out, text.data, text.size);
    decode(&d, text);
    return swap_decoded(s, &d, text, where, out);
}

enum substitute_result
substitute_query(struct substitute *s, struct h1_span query, struct buf *out)
{
    return swap_encoded(s, query, SUBSTITUTE_QUERY, out);
}

enum substitute_result
substitute_path(struct substitute *s, struct h1_span path, struct buf *out)
{
    return swap_encoded(s, path, SUBSTITUTE_PATH, out);
}

// --- for the audit ---

static size_t
show(char *out, size_t used, size_t size, const char *text, size_t text_size)
{
    size_t n = text_size < size - used ? text_size : size - used;
    memcpy(out + used, text, n);
    return used + n;
}

void
substitute_show_path(const struct policy *policy, struct h1_span target, char *out, size_t size)
{
    out[0] = '\0';
    if (target.size == 0)
        return;
    const char *mark = memchr(target.data, '?', target.size);
    size_t path_size = mark != NULL ? (size_t)(mark - target.data) : target.size;
    __attribute__((cleanup(decoded_done))) struct decoded d = {0};
    struct token token;
    size_t used = 0;
    size_t done = 0; // decoded
    decode(&d, (struct h1_span){target.data, path_size});
    size--;
    while (next_token(policy, d.text, d.size, done, &token)) {
        const char *name = token.secret != NULL ? token.secret->name : "";
        used =
            show(out, used, size, target.data + d.start[done], d.start[token.at] - d.start[done]);
        used = show(out, used, size, "{", 1);
        used = show(out, used, size, name, strlen(name));
        used = show(out, used, size, "}", 1);
        done = token.at + token.size;
    }
    used = show(out, used, size, target.data + d.start[done], path_size - d.start[done]);
    out[used] = '\0';
}

// --- bodies ---

static bool
looks_like_token(const char *text, size_t size)
{
    for (size_t i = PREFIX_SIZE; i < SEEN_CARRY; i++) {
        if (i >= size || !is_base62(text[i]))
            return false;
    }
    return true;
}

// By the part of a placeholder that is looked at here.
static const char *
seen_name(const struct policy *policy, const char *text)
{
    size_t count = policy_secret_count(policy);
    for (size_t i = 0; i < count; i++) {
        const struct policy_secret *secret = policy_secret_at(policy, i);
        if (memcmp(text, secret->placeholder + secret->prefix_size, SEEN_CARRY) == 0)
            return secret->name;
    }
    return NULL;
}

static bool
find_seen(const struct policy *policy, const char *text, size_t size, const char **ret_secret)
{
    const char *end = text + size;
    while ((text = memmem(text, (size_t)(end - text), prefix, PREFIX_SIZE)) != NULL) {
        if (looks_like_token(text, (size_t)(end - text))) {
            *ret_secret = seen_name(policy, text);
            return true;
        }
        text++;
    }
    return false;
}

enum substitute_sight
substitute_watch(struct substitute_seen *s, const struct policy *policy, const uint8_t *data,
                 size_t size, const char **ret_secret)
{
    bool block = policy_settings(policy)->block_seen_bodies;
    if ((s->found && !block) || size == 0)
        return SUBSTITUTE_UNSEEN;
    const char *text = (const char *)data;
    // Across the cut: what was carried, and as much of the new bytes as a placeholder from there
    // needs.
    char joined[2 * SEEN_CARRY];
    size_t taken = size < SEEN_CARRY ? size : SEEN_CARRY;
    memcpy(joined, s->carry, s->carried);
    memcpy(joined + s->carried, text, taken);
    size_t joined_size = s->carried + taken;
    if ((s->carried > 0 && find_seen(policy, joined, joined_size, ret_secret)) ||
        find_seen(policy, text, size, ret_secret)) {
        s->found = true;
        return block ? SUBSTITUTE_BLOCK : SUBSTITUTE_SEEN;
    }
    bool small = size < SEEN_CARRY;
    const char *tail = small ? joined : text;
    size_t tail_size = small ? joined_size : size;
    s->carried = tail_size < SEEN_CARRY - 1 ? tail_size : SEEN_CARRY - 1;
    memcpy(s->carry, tail + tail_size - s->carried, s->carried);
    return SUBSTITUTE_UNSEEN;
}
