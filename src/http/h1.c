// SPDX-License-Identifier: Apache-2.0
// Heads of HTTP/1 messages. A head is read line by line; each line must end in CR LF and hold no
// other CR, LF, NUL or control byte, so that no recipient can see more or fewer lines than we do. A
// second pass over the fields settles the framing, by one rule: exactly one reading, or refuse.
#include "http/h1.h"

#include "http/h1-internal.h"

enum {
    BLANK_LINES_MAX = 2,            // RFC 9112 2.2: some clients send one after a body
    CONTENT_LENGTH_DIGITS_MAX = 18, // fits 63 bits whatever the digits
    PORT_DIGITS_MAX = 5,
};

#define T H1_CHAR_TOKEN
#define V H1_CHAR_VALUE
#define A H1_CHAR_TARGET
#define H H1_CHAR_HOST

// RFC 9110 5.6.2 and 5.5; the target is printable ASCII without '#', which only a client may see.
const uint8_t h1_chars[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | A,
    ['"'] = V | A,
    ['#'] = T | V,
    ['$'] = T | V | A,
    ['%'] = T | V | A,
    ['&'] = T | V | A,
    ['\''] = T | V | A,
    ['('] = V | A,
    [')'] = V | A,
    ['*'] = T | V | A,
    ['+'] = T | V | A,
    [','] = V | A,
    ['-'] = T | V | A | H,
    ['.'] = T | V | A | H,
    ['/'] = V | A,
    ['0' ... '9'] = T | V | A | H,
    [':' ... '@'] = V | A,
    ['A' ... 'Z'] = T | V | A | H,
    ['['] = V | A,
    ['\\'] = V | A,
    [']'] = V | A,
    ['^'] = T | V | A,
    ['_'] = T | V | A | H,
    ['`'] = T | V | A,
    ['a' ... 'z'] = T | V | A | H,
    ['{'] = V | A,
    ['|'] = T | V | A,
    ['}'] = V | A,
    ['~'] = T | V | A,
    [0x80 ... 0xff] = V,
};

#undef T
#undef V
#undef A
#undef H

struct parser {
    const uint8_t *data;
    size_t size;
    size_t at;
    struct h1_problem *problem;
    int bad_status; // what a plain violation is answered with
};

static enum h1_status
bad(const struct parser *p, int status, const char *reason)
{
    *p->problem = (struct h1_problem){.status = status, .reason = reason};
    return H1_BAD;
}

static enum h1_status
violation(const struct parser *p, const char *reason)
{
    return bad(p, p->bad_status, reason);
}

static bool
span_all(struct h1_span s, uint8_t class)
{
    for (size_t i = 0; i < s.size; i++)
        if ((h1_chars[(uint8_t)s.data[i]] & class) == 0)
            return false;
    return true;
}

static struct h1_span
span_trim(struct h1_span s)
{
    while (s.size > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.size--;
    }
    while (s.size > 0 && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t'))
        s.size--;
    return s;
}

// Cuts the next line, without its CR LF.
static enum h1_status
next_line(struct parser *p, struct h1_span *ret)
{
    const uint8_t *start = p->data + p->at;
    size_t left = p->size - p->at;
    const uint8_t *lf = left == 0 ? NULL : memchr(start, '\n', left);
    if (lf == NULL)
        return H1_MORE;
    if (lf == start || lf[-1] != '\r')
        return violation(p, "line feed without carriage return");
    *ret = (struct h1_span){.data = (const char *)start, .size = (size_t)(lf - 1 - start)};
    p->at += (size_t)(lf + 1 - start);
    return H1_OK;
}

static enum h1_status
parse_version(const struct parser *p, struct h1_span text, int *ret_minor)
{
    if (h1_span_is(text, "HTTP/1.1"))
        *ret_minor = 1;
    else if (h1_span_is(text, "HTTP/1.0"))
        *ret_minor = 0;
    else if (text.size == strlen("HTTP/1.1") && memcmp(text.data, "HTTP/", strlen("HTTP/")) == 0)
        return bad(p, p->bad_status == 400 ? 505 : p->bad_status, "HTTP version not supported");
    else
        return violation(p, "malformed HTTP version");
    return H1_OK;
}

// host [":" port] with a registered name, an IPv4 address or a bracketed IPv6 address; no user
// information, no percent-encoding, nothing that another parser could split elsewhere.
static bool
is_authority(struct h1_span s)
{
    size_t host = 0;
    if (s.size > 0 && s.data[0] == '[') {
        while (host < s.size && s.data[host] != ']') {
            host++;
            if (host < s.size && s.data[host] != ']' && s.data[host] != ':' &&
                s.data[host] != '.' && strchr("0123456789abcdefABCDEF", s.data[host]) == NULL)
                return false;
        }
        if (host < sizeof "[::" - 1 || host == s.size)
            return false;
        host++;
    } else {
        while (host < s.size && (h1_chars[(uint8_t)s.data[host]] & H1_CHAR_HOST) != 0)
            host++;
    }
    if (host == 0)
        return false;
    if (host == s.size)
        return true;
    size_t digits = s.size - host - 1;
    if (s.data[host] != ':' || digits == 0 || digits > PORT_DIGITS_MAX)
        return false;
    for (size_t i = host + 1; i < s.size; i++)
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
    return true;
}

// The authority of an absolute-form target, or an empty span if there is none.
static struct h1_span
absolute_authority(struct h1_span target)
{
    static const char mark[] = "://";
    struct h1_span none = {0};
    size_t i = 0;
    while (i < target.size && (h1_chars[(uint8_t)target.data[i]] & H1_CHAR_HOST) != 0)
        i++;
    if (i == 0 || target.size - i < sizeof mark - 1 ||
        memcmp(target.data + i, mark, sizeof mark - 1) != 0)
        return none;
    i += sizeof mark - 1;
    struct h1_span rest = {.data = target.data + i, .size = target.size - i};
    size_t n = 0;
    while (n < rest.size && rest.data[n] != '/' && rest.data[n] != '?')
        n++;
    rest.size = n;
    return is_authority(rest) ? rest : none;
}

// RFC 9112 3.2: origin-form, absolute-form, authority-form with CONNECT only, "*" with OPTIONS
// only.
static bool
is_target(struct h1_span method, struct h1_span target)
{
    if (target.size == 0 || !span_all(target, H1_CHAR_TARGET))
        return false;
    if (h1_span_is(method, "CONNECT"))
        return is_authority(target);
    if (target.data[0] == '/')
        return true;
    if (h1_span_is(target, "*"))
        return h1_span_is(method, "OPTIONS");
    return absolute_authority(target).size > 0;
}

static enum h1_status
parse_request_line(const struct parser *p, struct h1_span line, struct h1_head *h)
{
    const char *end = line.data + line.size;
    const char *first = memchr(line.data, ' ', line.size);
    if (first == NULL)
        return violation(p, "malformed request line");
    const char *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL)
        return violation(p, "malformed request line");
    h->method = (struct h1_span){line.data, (size_t)(first - line.data)};
    h->target = (struct h1_span){first + 1, (size_t)(second - first - 1)};
    struct h1_span version = {second + 1, (size_t)(end - second - 1)};
    if (h->method.size == 0 || !span_all(h->method, H1_CHAR_TOKEN))
        return violation(p, "malformed method");
    if (!is_target(h->method, h->target))
        return violation(p, "malformed request target");
    return parse_version(p, version, &h->minor_version);
}

static enum h1_status
parse_status_line(const struct parser *p, struct h1_span line, struct h1_head *h)
{
    enum { VERSION = 8, STATUS_END = VERSION + 4 }; // "HTTP/1.1 200"
    if (line.size < STATUS_END || line.data[VERSION] != ' ')
        return violation(p, "malformed status line");
    struct h1_span version = {line.data, VERSION};
    if (parse_version(p, version, &h->minor_version) != H1_OK)
        return H1_BAD;
    for (size_t i = VERSION + 1; i < STATUS_END; i++) {
        if (line.data[i] < '0' || line.data[i] > '9')
            return violation(p, "malformed status code");
        h->status = h->status * 10 + (line.data[i] - '0');
    }
    if (h->status < 100)
        return violation(p, "malformed status code");
    if (line.size > STATUS_END) {
        h->reason = (struct h1_span){line.data + STATUS_END + 1, line.size - STATUS_END - 1};
        if (line.data[STATUS_END] != ' ' || !span_all(h->reason, H1_CHAR_VALUE))
            return violation(p, "malformed reason phrase");
    }
    return H1_OK;
}

static enum h1_status
parse_field(const struct parser *p, struct h1_span line, struct h1_head *h)
{
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return violation(p, "folded field line");
    const char *colon = memchr(line.data, ':', line.size);
    if (colon == NULL)
        return violation(p, "field line without a colon");
    struct h1_span name = {line.data, (size_t)(colon - line.data)};
    struct h1_span value = {colon + 1, line.size - name.size - 1};
    if (name.size == 0 || !span_all(name, H1_CHAR_TOKEN))
        return violation(p, "malformed field name");
    if (!span_all(value, H1_CHAR_VALUE))
        return violation(p, "control character in a field value");
    if (h->field_count == H1_FIELDS_MAX)
        return bad(p, p->bad_status == 400 ? 431 : p->bad_status, "too many fields");
    h->fields[h->field_count++] = (struct h1_field){.name = name, .value = span_trim(value)};
    return H1_OK;
}

static enum h1_status
parse_fields(struct parser *p, struct h1_head *h)
{
    for (;;) {
        struct h1_span line;
        enum h1_status r = next_line(p, &line);
        if (r != H1_OK || line.size == 0)
            return r;
        r = parse_field(p, line, h);
        if (r != H1_OK)
            return r;
    }
}

const struct h1_field *
h1_find(const struct h1_head *head, const char *name, size_t *ret_count)
{
    const struct h1_field *first = NULL;
    size_t count = 0;
    size_t size = strlen(name);
    for (size_t i = 0; i < head->field_count; i++) {
        struct h1_span there = head->fields[i].name;
        if (there.size != size || strncasecmp(there.data, name, size) != 0)
            continue;
        if (count++ == 0)
            first = &head->fields[i];
    }
    if (ret_count != NULL)
        *ret_count = count;
    return first;
}

static bool
list_holds(struct h1_span list, const char *token)
{
    const char *at = list.data;
    const char *end = list.data + list.size;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma == NULL ? end : comma;
        struct h1_span item = {at, (size_t)(stop - at)};
        if (h1_span_is_nocase(span_trim(item), token))
            return true;
        at = stop + 1;
    }
    return false;
}

bool
h1_list_has(const struct h1_head *head, const char *name, const char *token)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (h1_span_is_nocase(head->fields[i].name, name) &&
            list_holds(head->fields[i].value, token))
            return true;
    return false;
}

// Digits only, no leading zero but "0" itself: signs, lists, hexadecimal and blanks all fail.
static bool
parse_content_length(struct h1_span s, uint64_t *ret)
{
    if (s.size == 0 || s.size > CONTENT_LENGTH_DIGITS_MAX || (s.size > 1 && s.data[0] == '0'))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.data[i] - '0');
    }
    *ret = v;
    return true;
}

// What the fields alone say; without either field framing is left as it was.
static enum h1_status
parse_framing(const struct parser *p, struct h1_head *h, bool *ret_coded)
{
    size_t lengths;
    size_t codings;
    const struct h1_field *length = h1_find(h, "content-length", &lengths);
    const struct h1_field *coding = h1_find(h, "transfer-encoding", &codings);
    *ret_coded = coding != NULL;
    if (lengths > 1 || codings > 1)
        return violation(p, "repeated framing field");
    if (length != NULL && coding != NULL)
        return violation(p, "Content-Length beside Transfer-Encoding");
    if (coding != NULL) {
        if (h->minor_version == 0)
            return violation(p, "Transfer-Encoding in HTTP/1.0");
        if (!h1_span_is_nocase(coding->value, "chunked"))
            return violation(p, "transfer coding other than chunked");
        h->framing = H1_BODY_CHUNKED;
    }
    if (length != NULL) {
        if (!parse_content_length(length->value, &h->content_length))
            return violation(p, "malformed Content-Length");
        h->framing = H1_BODY_LENGTH;
    }
    return H1_OK;
}

static void
parse_connection(struct h1_head *h)
{
    h->upgrade = false;
    h->keep_alive = h->minor_version == 1;
    h->has_connection = h1_find(h, "connection", NULL) != NULL;
    if (!h->has_connection)
        return;
    bool closes = h1_list_has(h, "connection", "close");
    h->keep_alive =
        !closes && (h->minor_version == 1 || h1_list_has(h, "connection", "keep-alive"));
    h->upgrade = h1_list_has(h, "connection", "upgrade") && h1_find(h, "upgrade", NULL) != NULL;
}

static enum h1_status
check_host(const struct parser *p, const struct h1_head *h)
{
    size_t count;
    const struct h1_field *host = h1_find(h, "host", &count);
    if (count > 1)
        return violation(p, "repeated Host");
    if (host == NULL)
        return h->minor_version == 0 && absolute_authority(h->target).size == 0
                   ? H1_OK
                   : violation(p, "no Host");
    if (!is_authority(host->value))
        return violation(p, "malformed Host");
    if (h->target.data[0] == '/' || h1_span_is(h->method, "CONNECT"))
        return H1_OK;
    struct h1_span authority = absolute_authority(h->target);
    if (authority.size > 0 && (authority.size != host->value.size ||
                               strncasecmp(authority.data, host->value.data, authority.size) != 0))
        return violation(p, "request target and Host disagree");
    return H1_OK;
}

static enum h1_status
finish_request(const struct parser *p, struct h1_head *h)
{
    bool coded;
    h->framing = H1_BODY_NONE;
    if (check_host(p, h) != H1_OK || parse_framing(p, h, &coded) != H1_OK)
        return H1_BAD;
    const struct h1_field *expect = h1_find(h, "expect", NULL);
    h->expect_continue =
        expect != NULL && h->minor_version == 1 && h1_span_is_nocase(expect->value, "100-continue");
    parse_connection(h);
    return H1_OK;
}

// RFC 9112 6.3: which responses have no body whatever their fields say. 1xx and 204 must not
// announce one either; where such a response does, a recipient may well wait for it.
static enum h1_status
finish_response(const struct parser *p, struct h1_head *h, struct h1_span method)
{
    bool coded;
    h->framing = H1_BODY_UNTIL_CLOSE;
    if (parse_framing(p, h, &coded) != H1_OK)
        return H1_BAD;
    parse_connection(h);
    if (h->status < 200 || h->status == 204) {
        if (coded || h->content_length > 0)
            return violation(p, "body announced where none can be");
        h->framing = H1_BODY_NONE;
    } else if (h->status == 304 || h1_span_is(method, "HEAD") ||
               (h1_span_is(method, "CONNECT") && h->status < 300)) {
        h->framing = H1_BODY_NONE;
    }
    if (h->framing == H1_BODY_UNTIL_CLOSE)
        h->keep_alive = false;
    return H1_OK;
}

enum h1_status
h1_parse_request(const uint8_t *data, size_t size, struct h1_head *ret, size_t *ret_size,
                 struct h1_problem *problem)
{
    struct parser p = {.data = data, .size = size, .problem = problem, .bad_status = 400};
    struct h1_span line;
    enum h1_status r;
    unsigned blank = 0;
    do {
        r = next_line(&p, &line);
        if (r != H1_OK)
            return r;
        if (line.size == 0 && ++blank > BLANK_LINES_MAX)
            return violation(&p, "blank lines before the request");
    } while (line.size == 0);

    // The field array is left as it is: only the first field_count entries mean anything.
    ret->status = 0;
    ret->reason = (struct h1_span){0};
    ret->field_count = 0;
    ret->content_length = 0;
    r = parse_request_line(&p, line, ret);
    if (r == H1_OK)
        r = parse_fields(&p, ret);
    if (r == H1_OK)
        r = finish_request(&p, ret);
    if (r == H1_OK)
        *ret_size = p.at;
    return r;
}

enum h1_status
h1_parse_response(const uint8_t *data, size_t size, struct h1_span request_method,
                  struct h1_head *ret, size_t *ret_size, struct h1_problem *problem)
{
    struct parser p = {.data = data, .size = size, .problem = problem, .bad_status = 502};
    struct h1_span line;
    enum h1_status r = next_line(&p, &line);
    if (r != H1_OK)
        return r;

    ret->method = ret->target = ret->reason = (struct h1_span){0};
    ret->status = 0;
    ret->field_count = 0;
    ret->content_length = 0;
    ret->expect_continue = false;
    r = parse_status_line(&p, line, ret);
    if (r == H1_OK)
        r = parse_fields(&p, ret);
    if (r == H1_OK)
        r = finish_response(&p, ret, request_method);
    if (r == H1_OK)
        *ret_size = p.at;
    return r;
}
