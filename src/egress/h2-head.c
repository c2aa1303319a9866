// SPDX-License-Identifier: Apache-2.0
#include "egress/h2-head.h"

#include "base/cleanup.h"

#include <string.h>

// --- requests ---

static enum h2_verdict
refuse(struct refusal *ret, int status, const char *code, const char *message)
{
    *ret = (struct refusal){.status = status, .code = code, .message = message};
    return H2_REFUSE;
}

static enum h2_verdict
verdict_of(enum substitute_result r, const struct substitute *s, struct refusal *ret)
{
    if (r == SUBSTITUTE_OK)
        return H2_PASS;
    if (r == SUBSTITUTE_FULL)
        return refuse(ret, 431, "HEADER_TOO_LARGE",
                      "the request head is too large with its values");
    (void)head_refuse_misuse(s, ret);
    return H2_REFUSE;
}

static bool
is_pseudo(struct h1_span name)
{
    return name.size > 0 && name.data[0] == ':';
}

static bool
is_one_of(struct h1_span name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (h1_span_is(name, names[i]))
            return true;
    }
    return false;
}

// What only makes sense on one connection of HTTP/1.1: nobody who speaks HTTP/2 sends it
// (RFC 9113 8.2.2).
static bool
is_forbidden(const struct h1_field *field)
{
    static const char *const names[] = {
        "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
    };
    return is_one_of(field->name, names, ARRAY_SIZE(names)) ||
           (h1_span_is(field->name, "te") && !h1_span_is_nocase(field->value, "trailers"));
}

// What is meant for us, or for a server of HTTP/1.1 that could be talked into another protocol.
static bool
ends_here(struct h1_span name)
{
    static const char *const names[] = {
        "http2-settings",
        "proxy-authenticate",
        "proxy-authorization",
        "alt-svc",
    };
    return is_one_of(name, names, ARRAY_SIZE(names));
}

// A name in lower case without a control byte, a value without one that ends a line: the last look
// before the wire, whatever nghttp2 was told to check.
static bool
is_sound(const struct h1_field *field)
{
    for (size_t i = 0; i < field->name.size; i++) {
        unsigned char c = (unsigned char)field->name.data[i];
        if (c <= ' ' || c >= 0x7f || (c >= 'A' && c <= 'Z') || (c == ':' && i > 0))
            return false;
    }
    return field->name.size > 0 && memchr(field->value.data, '\r', field->value.size) == NULL &&
           memchr(field->value.data, '\n', field->value.size) == NULL &&
           memchr(field->value.data, '\0', field->value.size) == NULL;
}

struct parts {
    struct h1_span scheme;
    struct h1_span host; // the field
    size_t hosts;
    bool has_protocol; // RFC 8441, which we do not offer
};

static bool
take_pseudo(const struct h1_field *field, struct h2_request *r, struct parts *parts)
{
    struct {
        const char *name;
        struct h1_span *span;
    } places[] = {
        {":method", &r->method},
        {":scheme", &parts->scheme},
        {":authority", &r->authority},
        {":path", &r->target},
    };
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (!h1_span_is(field->name, places[i].name))
            continue;
        bool again = places[i].span->data != NULL;
        *places[i].span = field->value;
        return !again;
    }
    parts->has_protocol = h1_span_is(field->name, ":protocol");
    return parts->has_protocol;
}

// False: a stream error.
static bool
take_apart(const struct h2_fields *in, struct h2_request *r, struct parts *parts)
{
    bool regular = false;
    for (size_t i = 0; i < in->count; i++) {
        struct h1_field field = h2_fields_at(in, i);
        if (!is_sound(&field) || is_forbidden(&field))
            return false;
        if (is_pseudo(field.name)) {
            if (regular || !take_pseudo(&field, r, parts))
                return false;
            continue;
        }
        regular = true;
        if (h1_span_is(field.name, "host")) {
            parts->host = field.value;
            parts->hosts++;
        }
    }
    return r->method.size > 0;
}

static bool
is_target(struct h1_span target, struct h1_span method)
{
    if (h1_span_is(target, "*"))
        return h1_span_is(method, "OPTIONS");
    if (target.size == 0 || target.data[0] != '/')
        return false;
    for (size_t i = 0; i < target.size; i++) {
        unsigned char c = (unsigned char)target.data[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return false;
    }
    return true;
}

// RFC 9113 8.3.1: Host beside :authority must not say something else.
static enum h2_verdict
check_authority(struct h2_request *r, const struct parts *parts, const struct destination *to,
                struct refusal *ret)
{
    if (parts->hosts > 1)
        return H2_RESET;
    if (r->authority.data == NULL)
        r->authority = parts->host;
    if (r->authority.size == 0)
        return refuse(ret, 400, "BAD_REQUEST", "a request needs an :authority");
    if (!head_is_authority_of(r->authority, to) ||
        (parts->hosts == 1 && !head_is_authority_of(parts->host, to)))
        return refuse(ret, 421, "MISDIRECTED_REQUEST",
                      "the :authority or Host of the request names another host");
    return H2_PASS;
}

static enum h2_verdict
check_request(const struct h2_fields *in, const struct destination *to, struct substitute *s,
              struct h2_request *r, struct refusal *ret)
{
    struct parts parts = {0};
    if (!take_apart(in, r, &parts))
        return H2_RESET;
    enum substitute_result found = substitute_forbid(s, r->method, "method");
    if (found == SUBSTITUTE_OK)
        found = substitute_forbid(s, r->authority, "host");
    if (found == SUBSTITUTE_OK)
        found = substitute_forbid(s, parts.host, "host");
    if (found != SUBSTITUTE_OK)
        return verdict_of(found, s, ret);
    if (h1_span_is(r->method, "CONNECT") || parts.has_protocol)
        return refuse(ret, 403, "CONNECT_REFUSED", "no tunnels through this connection");
    if (!h1_span_is(parts.scheme, "https"))
        return refuse(ret, 400, "BAD_REQUEST", "the scheme of a request here is https");
    if (!is_target(r->target, r->method))
        return H2_RESET;
    return check_authority(r, &parts, to, ret);
}

static bool
is_same(struct h1_span span, const struct buf *b)
{
    return buf_size(b) == span.size &&
           (span.size == 0 || memcmp(buf_bytes(b), span.data, span.size) == 0);
}

// Appends a field; what differs from in is a value, and is never to be indexed.
static enum substitute_result
add_swapped(struct h2_fields *out, struct h1_span name, struct h1_span before,
            const struct buf *value, bool sensitive)
{
    bool swapped = !is_same(before, value);
    return h2_fields_add(out, name.data, name.size, buf_bytes(value), buf_size(value),
                         sensitive || swapped) == 0
               ? SUBSTITUTE_OK
               : SUBSTITUTE_FULL;
}

static enum substitute_result
pass_target(const struct h2_request *r, struct substitute *s, struct h2_fields *out)
{
    static const struct h1_span name = {":path", sizeof ":path" - 1};
    cleanup_buf struct buf value;
    buf_init_secret(&value, HEAD_WRITTEN_MAX);
    enum substitute_result result = head_write_target(r->target, s, &value);
    return result == SUBSTITUTE_OK ? add_swapped(out, name, r->target, &value, false) : result;
}

static enum substitute_result
pass_field(const struct h1_field *field, bool sensitive, struct substitute *s,
           struct h2_fields *out)
{
    cleanup_buf struct buf value;
    buf_init_secret(&value, HEAD_WRITTEN_MAX);
    enum substitute_result r = substitute_field(s, field, &value);
    return r == SUBSTITUTE_OK ? add_swapped(out, field->name, field->value, &value, sensitive) : r;
}

static enum substitute_result
pass_fields(const struct h2_fields *in, bool narrowed, struct substitute *s, struct h2_fields *out)
{
    for (size_t i = 0; i < in->count; i++) {
        struct h1_field field = h2_fields_at(in, i);
        if (is_pseudo(field.name) || h1_span_is(field.name, "host"))
            continue;
        enum substitute_result r = substitute_forbid(s, field.name, "header name");
        // What is misused is refused, not lost.
        if (r == SUBSTITUTE_OK && ends_here(field.name))
            r = substitute_forbid(s, field.value, "connection header");
        else if (r == SUBSTITUTE_OK && !(narrowed && head_defeats_redaction(field.name)))
            r = pass_field(&field, in->items[i].sensitive, s, out);
        if (r != SUBSTITUTE_OK)
            return r;
    }
    return SUBSTITUTE_OK;
}

static int
add_text(struct h2_fields *out, const char *name, struct h1_span value)
{
    return h2_fields_add(out, name, strlen(name), value.data, value.size, false);
}

enum h2_verdict
h2_head_pass_request(const struct h2_fields *in, const struct destination *to, bool narrowed,
                     struct substitute *s, struct h2_fields *out, struct h2_request *ret_request,
                     struct refusal *ret)
{
    static const struct h1_span https = {"https", 5};
    static const struct h1_span identity = {"identity", 8};
    struct h2_request *r = ret_request;
    *r = (struct h2_request){0};
    enum h2_verdict verdict = check_request(in, to, s, r, ret);
    if (verdict != H2_PASS)
        return verdict;
    enum substitute_result result = SUBSTITUTE_FULL;
    const char *mark = memchr(r->target.data, '?', r->target.size);
    s->method = r->method;
    s->path = (struct h1_span){r->target.data,
                               mark == NULL ? r->target.size : (size_t)(mark - r->target.data)};
    for (size_t i = 0; i < in->count; i++)
        substitute_note_override(s, h2_fields_at(in, i).name);
    if (add_text(out, ":method", r->method) == 0 && add_text(out, ":scheme", https) == 0 &&
        add_text(out, ":authority", r->authority) == 0)
        result = pass_target(r, s, out);
    if (result == SUBSTITUTE_OK)
        result = pass_fields(in, narrowed, s, out);
    if (result == SUBSTITUTE_OK && narrowed && add_text(out, "accept-encoding", identity) != 0)
        result = SUBSTITUTE_FULL;
    return verdict_of(result, s, ret);
}

enum h2_verdict
h2_head_pass_trailers(const struct h2_fields *in, struct substitute *s, struct h2_fields *out,
                      struct refusal *ret)
{
    for (size_t i = 0; i < in->count; i++) {
        struct h1_field field = h2_fields_at(in, i);
        if (!is_sound(&field) || is_pseudo(field.name) || is_forbidden(&field))
            return H2_RESET;
        enum substitute_result r = substitute_forbid(s, field.name, "trailer");
        if (r == SUBSTITUTE_OK)
            r = substitute_forbid(s, field.value, "trailer");
        if (r == SUBSTITUTE_OK &&
            h2_fields_add(out, field.name.data, field.name.size, field.value.data, field.value.size,
                          in->items[i].sensitive) != 0)
            r = SUBSTITUTE_FULL;
        if (r != SUBSTITUTE_OK)
            return verdict_of(r, s, ret);
    }
    return H2_PASS;
}

// --- responses ---

int
h2_head_status(const struct h2_fields *in)
{
    enum { STATUS_DIGITS = 3 };
    struct h1_field field = in->count > 0 ? h2_fields_at(in, 0) : (struct h1_field){0};
    if (in->count == 0 || !h1_span_is(field.name, ":status") || field.value.size != STATUS_DIGITS)
        return -1;
    int status = 0;
    for (size_t i = 0; i < STATUS_DIGITS; i++) {
        if (field.value.data[i] < '0' || field.value.data[i] > '9')
            return -1;
        status = status * 10 + (field.value.data[i] - '0');
    }
    return status >= 100 ? status : -1;
}

bool
h2_head_hides_text(const struct h2_fields *in)
{
    for (size_t i = 0; i < in->count; i++) {
        struct h1_field field = h2_fields_at(in, i);
        if (h1_span_is(field.name, "content-type") && head_hides_text(field.value))
            return true;
    }
    return false;
}

enum decode_coding
h2_head_coding(const struct h2_fields *in)
{
    enum decode_coding coding = DECODE_IDENTITY;
    size_t count = 0;
    for (size_t i = 0; i < in->count; i++) {
        struct h1_field field = h2_fields_at(in, i);
        if (h1_span_is(field.name, "content-encoding") && ++count == 1)
            coding = decode_coding_of(field.value);
    }
    return count <= 1 ? coding : DECODE_UNKNOWN;
}

static int
redact_value(const struct h1_field *field, bool sensitive, bool weak, struct redact *redact,
             struct h2_fields *out)
{
    cleanup_buf struct buf clean;
    buf_init_secret(&clean, HEAD_WRITTEN_MAX);
    if (redact_text(redact, field->name, &clean) != 0)
        return -1;
    // A placeholder is no name of a field: it has upper-case letters.
    if (!is_same(field->name, &clean))
        return 0;
    buf_clear(&clean);
    if ((weak && buf_append_str(&clean, "W/") != 0) ||
        redact_text(redact, field->value, &clean) != 0)
        return -1;
    return h2_fields_add(out, field->name.data, field->name.size, buf_bytes(&clean),
                         buf_size(&clean), sensitive);
}

static bool
is_withheld(const struct h1_field *field, const struct redact *redact, enum h2_body body)
{
    return ends_here(field->name) || !is_sound(field) ||
           (redact_is_active(redact) && head_is_digest(field->name)) ||
           (body != H2_BODY_KEPT && h1_span_is(field->name, "content-length")) ||
           (body == H2_BODY_DECODED && h1_span_is(field->name, "content-encoding"));
}

int
h2_head_pass_response(const struct h2_fields *in, struct redact *redact, enum h2_body body,
                      struct h2_fields *out)
{
    for (size_t i = 0; i < in->count; i++) {
        struct h1_field field = h2_fields_at(in, i);
        if (is_withheld(&field, redact, body))
            continue;
        bool sensitive = in->items[i].sensitive;
        // Decoded it is the same only in effect (RFC 9110 8.8.1).
        bool weak = body == H2_BODY_DECODED && h1_span_is(field.name, "etag") &&
                    field.value.size > 0 && field.value.data[0] == '"';
        int rc = is_pseudo(field.name) || !redact_is_active(redact)
                     ? h2_fields_add(out, field.name.data, field.name.size, field.value.data,
                                     field.value.size, sensitive)
                     : redact_value(&field, sensitive, weak, redact, out);
        if (rc != 0)
            return -1;
    }
    return 0;
}
