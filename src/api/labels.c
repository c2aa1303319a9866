// SPDX-License-Identifier: Apache-2.0
#include "api/labels.h"

#include "base/buf.h"

#include <string.h>

struct reader {
    const char *p;
    const char *end;
};

static int
malformed(struct error *err)
{
    return error_set(err, ERR_INVALID_REQUEST,
                     "the label filter is malformed: send labels[key]=value, percent-encoded");
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

// Reads count hex digits, or returns -1.
static long
read_hex(struct reader *r, int count)
{
    long value = 0;
    if (r->end - r->p < count)
        return -1;
    for (int i = 0; i < count; i++) {
        int digit = hex_value(*r->p++);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

// application/x-www-form-urlencoded (WHATWG URL, section 5.1), but strict about "%".
static int
decode_form(const char *text, size_t size, struct buf *out)
{
    struct reader r = {text, text + size};
    while (r.p < r.end) {
        char c = *r.p++;
        if (c == '+')
            c = ' ';
        if (c == '%') {
            long value = read_hex(&r, 2);
            if (value < 0)
                return -1;
            c = (char)value;
        }
        if (buf_append(out, &c, 1) < 0)
            return -1;
    }
    return 0;
}

static int
add_label(json_t *filter, const char *key, size_t key_size, const char *value, size_t value_size)
{
    if (json_object_size(filter) == LABELS_FILTER_MAX || memchr(key, '\0', key_size) != NULL)
        return -1;
    char *name = strndup(key, key_size);
    json_t *text = json_stringn(value, value_size); // NULL unless it is UTF-8
    int status = name != NULL && text != NULL ? json_object_set_new(filter, name, text) : -1;
    if (name == NULL)
        json_decref(text);
    free(name);
    return status;
}

static int
append_code_point(struct buf *out, long c)
{
    uint8_t b[4];
    size_t n = 0;
    if (c < 0 || c > 0x10ffff)
        return -1;
    if (c < 0x80) {
        b[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        b[n++] = (uint8_t)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        b[n++] = (uint8_t)(0xe0 | c >> 12);
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    } else {
        b[n++] = (uint8_t)(0xf0 | c >> 18);
        b[n++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    return buf_append(out, b, n);
}

// What repr() of a str writes after a backslash.
static int
unescape_python(struct reader *r, struct buf *out)
{
    char c = r->p < r->end ? *r->p++ : '\0';
    switch (c) {
    case '\\':
    case '\'':
    case '"':
        return buf_append(out, &c, 1);
    case 'n':
        return buf_append(out, "\n", 1);
    case 'r':
        return buf_append(out, "\r", 1);
    case 't':
        return buf_append(out, "\t", 1);
    case 'x':
        return append_code_point(out, read_hex(r, 2));
    case 'u':
        return append_code_point(out, read_hex(r, 4));
    case 'U':
        return append_code_point(out, read_hex(r, 8));
    default:
        return -1;
    }
}

static void
skip_spaces(struct reader *r)
{
    while (r->p < r->end && *r->p == ' ')
        r->p++;
}

static bool
take(struct reader *r, char c)
{
    skip_spaces(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static int
read_python_string(struct reader *r, struct buf *out)
{
    skip_spaces(r);
    char quote = r->p < r->end ? *r->p++ : '\0';
    if (quote != '\'' && quote != '"')
        return -1;
    while (r->p < r->end) {
        char c = *r->p++;
        if (c == quote)
            return 0;
        int status = c == '\\' ? unescape_python(r, out) : buf_append(out, &c, 1);
        if (status < 0)
            return -1;
    }
    return -1;
}

static int
read_python_pair(struct reader *r, json_t *filter)
{
    cleanup_buf struct buf key;
    cleanup_buf struct buf value;
    buf_init(&key, LABELS_QUERY_MAX);
    buf_init(&value, LABELS_QUERY_MAX);
    if (read_python_string(r, &key) < 0 || !take(r, ':') || read_python_string(r, &value) < 0 ||
        buf_size(&key) == 0)
        return -1;
    return add_label(filter, (const char *)buf_bytes(&key), buf_size(&key),
                     buf_size(&value) > 0 ? (const char *)buf_bytes(&value) : "", buf_size(&value));
}

// {'a': 'b', "it's": 'c'}
static int
read_python_dict(struct reader r, json_t *filter)
{
    if (!take(&r, '{'))
        return -1;
    if (!take(&r, '}')) {
        do
            if (read_python_pair(&r, filter) < 0)
                return -1;
        while (take(&r, ','));
        if (!take(&r, '}'))
            return -1;
    }
    skip_spaces(&r);
    return r.p == r.end ? 0 : -1;
}

static int
read_parameter(const char *text, size_t size, json_t *filter)
{
    static const char plain[] = "labels";
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals != NULL ? (size_t)(equals - text) : size;
    cleanup_buf struct buf name;
    cleanup_buf struct buf value;
    buf_init(&name, LABELS_QUERY_MAX);
    buf_init(&value, LABELS_QUERY_MAX);
    if (decode_form(text, name_size, &name) < 0 ||
        (equals != NULL && decode_form(equals + 1, size - name_size - 1, &value) < 0))
        return -1;
    size_t n = buf_size(&name);
    const char *p = n > 0 ? (const char *)buf_bytes(&name) : "";
    const char *v = buf_size(&value) > 0 ? (const char *)buf_bytes(&value) : "";
    size_t prefix = sizeof plain - 1;
    if (n < prefix || memcmp(p, plain, prefix) != 0)
        return 0;
    if (n == prefix) // Python sends an empty value for None
        return buf_size(&value) == 0
                   ? 0
                   : read_python_dict((struct reader){v, v + buf_size(&value)}, filter);
    if (p[prefix] != '[')
        return 0;
    if (n < prefix + 3 || p[n - 1] != ']')
        return -1;
    return add_label(filter, p + prefix + 1, n - prefix - 2, v, buf_size(&value));
}

int
labels_parse_query(const char *query, size_t size, json_t **ret, struct error *err)
{
    if (size > LABELS_QUERY_MAX)
        return error_set(err, ERR_INVALID_REQUEST, "the query is too long: at most %d bytes",
                         LABELS_QUERY_MAX);
    json_t *filter = json_object();
    if (filter == NULL)
        return error_set(err, ERR_UNAVAILABLE, "out of memory; try again later");
    const char *end = query + size;
    for (const char *p = query; p < end;) {
        const char *stop = memchr(p, '&', (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        if (read_parameter(p, (size_t)(stop - p), filter) < 0) {
            json_decref(filter);
            return malformed(err);
        }
        p = stop < end ? stop + 1 : end;
    }
    *ret = filter;
    return 0;
}

bool
labels_match(const json_t *labels, const json_t *filter)
{
    const char *key;
    const json_t *wanted;
    // The macro asks for a mutable object, but only looks.
    json_object_foreach((json_t *)(uintptr_t)filter, key, wanted)
    {
        if (!json_equal(json_object_get(labels, key), wanted))
            return false;
    }
    return true;
}
