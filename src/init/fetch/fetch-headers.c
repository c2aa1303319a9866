// SPDX-License-Identifier: Apache-2.0
// Headers are bytes, and in JSON text whose characters are these bytes, as the Fetch standard has
// it
// ("isomorphic"). Clients throw on anything else, and on control characters: those do not pass
// either way.
#include "init/fetch/fetch-internal.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

enum {
    METHOD_MAX = 64,
    STATUS_MIN = 200, // a client cannot make a response of less
    STATUS_LAST = 599,
    RESULT_ROOM = 256, // of the frame, beside the head's text
};

static bool
is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return size > 0;
}

// One byte of a value that may be: no control character but the tabulator.
static bool
is_value_byte(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

// The request.

// The bytes that the characters stand for, terminated; NULL if one is none. The caller frees it.
static char *
to_bytes(const char *text, size_t size)
{
    char *out = xcalloc(size + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        // U+0080 to U+00FF are c2 or c3 and one byte more; jansson has checked that it is UTF-8.
        if (c >= 0x80 && (c > 0xc3 || i + 1 >= size)) {
            free(out);
            return NULL;
        }
        if (c >= 0x80)
            c = (uint8_t)((c & 3) << 6 | ((uint8_t)text[++i] & 0x3f));
        if (!is_value_byte(c)) {
            free(out);
            return NULL;
        }
        out[n++] = (char)c;
    }
    return out;
}

static const char *
write_header(struct buf *out, const json_t *pair)
{
    const json_t *name = json_array_get(pair, 0);
    const json_t *value = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_string(name) || !json_is_string(value))
        return "Invalid headers: a list of pairs of name and value is wanted";
    if (!is_token(json_string_value(name), json_string_length(name)))
        return "Invalid header name";
    cleanup_free char *bytes = to_bytes(json_string_value(value), json_string_length(value));
    if (bytes == NULL)
        return "Invalid header value";
    if (pack_str(out, json_string_value(name)) < 0 || pack_str(out, bytes) < 0)
        return "The request's headers are too large";
    return NULL;
}

static const char *
write_method(struct buf *out, const char *method, bool has_body)
{
    static const char *const upper[] = {"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"};
    static const char *const forbidden[] = {"CONNECT", "TRACE", "TRACK"};
    size_t size = strlen(method);
    if (size > METHOD_MAX || !is_token(method, size))
        return "Invalid method";
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
        if (strcasecmp(method, forbidden[i]) == 0)
            return "The method is forbidden";
    for (size_t i = 0; i < ARRAY_SIZE(upper); i++)
        if (strcasecmp(method, upper[i]) == 0)
            method = upper[i];
    if (has_body && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0))
        return "A request with method GET or HEAD cannot have a body";
    return pack_str(out, method) < 0 ? "The request is too large" : NULL;
}

static const char *
write_url(struct buf *out, const char *url)
{
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return "Invalid URL: one that begins with http:// or https:// is wanted";
    for (const char *c = url; *c != '\0'; c++)
        if ((uint8_t)*c <= 0x20 || *c == 0x7f)
            return "Invalid URL";
    return pack_str(out, url) < 0 ? "The URL is too large" : NULL;
}

static enum fetch_redirect
redirect_of(const json_t *params)
{
    const char *text = param_text(params, "redirect");
    if (text != NULL && strcmp(text, "manual") == 0)
        return FETCH_MANUAL;
    return text != NULL && strcmp(text, "error") == 0 ? FETCH_ERROR : FETCH_FOLLOW;
}

static const char *
write_all(struct buf *out, const json_t *params, bool has_body)
{
    static_assert(FETCH_HEADERS_MAX == 1000, "as the message tells");
    const json_t *headers = param_value(params, "headers");
    uint64_t pid = 0;
    (void)param_index(params, "pid", &pid);
    const char *method = param_text(params, "method");
    const char *wrong = write_method(out, method != NULL ? method : "GET", has_body);
    if (wrong == NULL)
        wrong = write_url(out, param_text(params, "url"));
    if (wrong == NULL && headers != NULL &&
        (!json_is_array(headers) || json_array_size(headers) > FETCH_HEADERS_MAX))
        wrong = "Invalid headers: a list of at most 1000 is wanted";
    if (wrong != NULL)
        return wrong;
    (void)pack_u8(out, has_body ? FETCH_HAS_BODY : 0);
    (void)pack_u8(out, (uint8_t)redirect_of(params));
    (void)pack_u32(out, (uint32_t)pid);
    if (pack_u16(out, (uint16_t)json_array_size(headers)) < 0)
        return "The URL is too large";
    for (size_t i = 0; i < json_array_size(headers) && wrong == NULL; i++)
        wrong = write_header(out, json_array_get(headers, i));
    return wrong;
}

const char *
fetch_request_write(struct buf *out, const json_t *params, bool has_body)
{
    cleanup_buf struct buf payload;
    buf_init(&payload, FETCH_REQUEST_MAX);
    const char *wrong = write_all(&payload, params, has_body);
    if (wrong == NULL && pack_bytes(out, buf_bytes(&payload), buf_size(&payload)) < 0)
        wrong = "The request is too large";
    return wrong;
}

// The response.

// NULL if a byte may not stand in a header.
static json_t *
to_text(const uint8_t *data, size_t size)
{
    cleanup_free char *out = xcalloc(2 * size + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = data[i];
        if (!is_value_byte(c))
            return NULL;
        if (c >= 0x80)
            out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
    }
    return json_stringn(out, n);
}

// Leaves out what no client could take.
static void
read_header(struct unpack *u, json_t *list)
{
    size_t name_size;
    size_t value_size;
    const char *name = (const char *)unpack_bytes(u, FETCH_HEAD_MAX, &name_size);
    const uint8_t *value = unpack_bytes(u, FETCH_HEAD_MAX, &value_size);
    if (u->failed || !is_token(name, name_size))
        return;
    json_t *text = to_text(value, value_size);
    if (text == NULL)
        return;
    json_t *pair = json_array();
    (void)json_array_append_new(pair, json_stringn(name, name_size));
    (void)json_array_append_new(pair, text);
    (void)json_array_append_new(list, pair);
}

static bool
is_null_body(unsigned status)
{
    return status == 204 || status == 205 || status == 304;
}

json_t *
fetch_head_json(const uint8_t *data, size_t size, bool *ret_has_body)
{
    struct unpack u;
    unpack_init(&u, data, size);
    unsigned status = unpack_u16(&u);
    size_t reason_size;
    const uint8_t *reason = unpack_bytes(&u, FETCH_HEAD_MAX, &reason_size);
    unsigned count = unpack_u16(&u);
    if (u.failed || count > FETCH_HEADERS_MAX || status < STATUS_MIN || status > STATUS_LAST)
        return NULL;
    json_t *text = to_text(reason, reason_size);
    json_t *headers = json_array();
    for (unsigned i = 0; i < count && !u.failed; i++)
        read_header(&u, headers);
    *ret_has_body = unpack_u8(&u) != 0 && !is_null_body(status);
    json_t *value = json_pack("{s:i, s:o, s:o}", "status", (int)status, "statusText",
                              text != NULL ? text : json_string(""), "headers", headers);
    bool fits = json_dumpb(value, NULL, 0, JSON_COMPACT) <= FRAME_PAYLOAD_MAX - RESULT_ROOM;
    if (unpack_complete(&u) && fits)
        return value;
    json_decref(value);
    return NULL;
}
