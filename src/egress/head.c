// SPDX-License-Identifier: Apache-2.0
#include "egress/head.h"

#include "base/cleanup.h"

#include <string.h>

enum { NAME_TEXT_MAX = 256 }; // field names that are compared with the Connection field

// --- checks ---

static int
refuse(struct refusal *ret, int status, const char *code, const char *message)
{
    *ret = (struct refusal){.status = status, .code = code, .message = message};
    return -1;
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool
head_is_authority_of(struct h1_span text, const struct destination *to)
{
    enum { PORT_DIGITS_MAX = 5 };
    unsigned port = 0;
    if (text.size < to->name_size)
        return false;
    for (size_t i = 0; i < to->name_size; i++) {
        if (lower(text.data[i]) != to->name[i])
            return false;
    }
    size_t at = to->name_size;
    if (at < text.size && text.data[at] == '.')
        at++;
    if (at == text.size)
        return true;
    if (text.data[at++] != ':' || text.size - at > PORT_DIGITS_MAX)
        return false;
    for (; at < text.size; at++) {
        if (text.data[at] < '0' || text.data[at] > '9')
            return false;
        port = port * 10 + (unsigned)(text.data[at] - '0');
    }
    return port == to->port;
}

// Takes "https://authority" off an absolute target.
static int
check_absolute(struct h1_span *target, const struct destination *to, bool plain,
               struct refusal *ret)
{
    static const char http[] = "http://";
    static const char https[] = "https://";
    const char *scheme = plain ? http : https;
    size_t size = strlen(scheme);
    if (target->size < size || !h1_span_is_nocase((struct h1_span){target->data, size}, scheme))
        return refuse(ret, 400, "BAD_REQUEST",
                      "the request target is neither a path nor a URL here");
    struct h1_span rest = {target->data + size, target->size - size};
    size_t end = 0;
    while (end < rest.size && rest.data[end] != '/' && rest.data[end] != '?')
        end++;
    if (!head_is_authority_of((struct h1_span){rest.data, end}, to))
        return refuse(ret, 421, "MISDIRECTED_REQUEST", "the request target names another host");
    if (end == rest.size || rest.data[end] != '/')
        return refuse(ret, 400, "BAD_REQUEST", "the request target has no path");
    *target = (struct h1_span){rest.data + end, rest.size - end};
    return 0;
}

int
head_refuse_misuse(const struct substitute *s, struct refusal *ret)
{
    *ret = (struct refusal){
        .status = 403,
        .code = "SECRET_MISUSE",
        .reason = s->reason,
        .message = "a secret's placeholder may not stand here for this host",
        .secret = s->secret,
        .place = s->place,
    };
    return -1;
}

int
head_check_request(const struct h1_head *head, const struct destination *to, struct substitute *s,
                   struct h1_span *ret_target, struct refusal *ret)
{
    size_t hosts;
    const struct h1_field *host = h1_find(head, "host", &hosts);
    struct h1_span target = head->target;
    if (substitute_forbid(s, head->method, "method") != SUBSTITUTE_OK ||
        (host != NULL && substitute_forbid(s, host->value, "host") != SUBSTITUTE_OK))
        return head_refuse_misuse(s, ret);
    if (h1_span_is(head->method, "CONNECT"))
        return refuse(ret, 403, "CONNECT_REFUSED", "no tunnels through this connection");
    if (host == NULL || hosts != 1)
        return refuse(ret, 400, "BAD_REQUEST", "a request needs one Host field");
    if (!head_is_authority_of(host->value, to))
        return refuse(ret, 421, "MISDIRECTED_REQUEST", "the Host field names another host");
    if (memchr(target.data, '#', target.size) != NULL)
        return refuse(ret, 400, "BAD_REQUEST", "a request target has no fragment");
    bool star = h1_span_is(target, "*") && h1_span_is(head->method, "OPTIONS");
    if (!star && target.data[0] != '/' && check_absolute(&target, to, s->plain, ret) != 0)
        return -1;
    *ret_target = target;
    return 0;
}

// --- hop-by-hop ---

// RFC 9110 7.6.1; Content-Length and Transfer-Encoding are written from the parsed framing.
static bool
is_hop_by_hop(struct h1_span name)
{
    switch (name.size) {
    case sizeof "te" - 1:
        return h1_span_is_nocase(name, "te");
    case sizeof "upgrade" - 1:
        return h1_span_is_nocase(name, "upgrade") || h1_span_is_nocase(name, "trailer");
    case sizeof "connection" - 1:
        return h1_span_is_nocase(name, "connection") || h1_span_is_nocase(name, "keep-alive");
    case sizeof "content-length" - 1:
        return h1_span_is_nocase(name, "content-length") ||
               h1_span_is_nocase(name, "http2-settings");
    case sizeof "proxy-connection" - 1:
        return h1_span_is_nocase(name, "proxy-connection");
    case sizeof "transfer-encoding" - 1:
        return h1_span_is_nocase(name, "transfer-encoding");
    case sizeof "proxy-authenticate" - 1:
        return h1_span_is_nocase(name, "proxy-authenticate");
    case sizeof "proxy-authorization" - 1:
        return h1_span_is_nocase(name, "proxy-authorization");
    default:
        return false;
    }
}

static bool
is_nominated(const struct h1_head *head, struct h1_span name)
{
    char text[NAME_TEXT_MAX];
    // RFC 9110 7.6.1 lets a client nominate any field; without Host the request would be for
    // whatever the server takes for its default.
    if (!head->has_connection || name.size >= sizeof text || h1_span_is_nocase(name, "host"))
        return false;
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    return h1_list_has(head, "connection", text);
}

static bool
ends_here(const struct h1_head *head, const struct h1_field *field)
{
    return is_hop_by_hop(field->name) || is_nominated(head, field->name);
}

static int
append_span(struct buf *out, struct h1_span span)
{
    return buf_append(out, span.data, span.size);
}

// --- requests ---

bool
head_defeats_redaction(struct h1_span name)
{
    static const char *const names[] = {
        "accept-encoding",
        "accept-charset",
        "range",
        "if-range",
        "x-ms-range", // a Range of Azure's own
        "a-im",
        "sec-websocket-extensions",
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (h1_span_is_nocase(name, names[i]))
            return true;
    return false;
}

enum substitute_result
head_write_target(struct h1_span target, struct substitute *s, struct buf *out)
{
    const char *mark = memchr(target.data, '?', target.size);
    struct h1_span path = {target.data, mark == NULL ? target.size : (size_t)(mark - target.data)};
    enum substitute_result r = substitute_path(s, path, out);
    if (r != SUBSTITUTE_OK)
        return r;
    if (mark == NULL)
        return SUBSTITUTE_OK;
    if (buf_append_str(out, "?") != 0)
        return SUBSTITUTE_FULL;
    return substitute_query(s, (struct h1_span){mark + 1, target.size - path.size - 1}, out);
}

static enum substitute_result
write_field(const struct h1_field *field, struct substitute *s, struct buf *out)
{
    if (append_span(out, field->name) != 0 || buf_append_str(out, ": ") != 0)
        return SUBSTITUTE_FULL;
    enum substitute_result r = substitute_field(s, field, out);
    if (r != SUBSTITUTE_OK)
        return r;
    return buf_append_str(out, "\r\n") == 0 ? SUBSTITUTE_OK : SUBSTITUTE_FULL;
}

static enum substitute_result
write_fields(const struct h1_head *head, bool narrowed, struct substitute *s, struct buf *out)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const struct h1_field *field = &head->fields[i];
        enum substitute_result r = substitute_forbid(s, field->name, "header name");
        // What is misused is refused, not lost.
        if (r == SUBSTITUTE_OK && ends_here(head, field))
            r = substitute_forbid(s, field->value, "connection header");
        else if (r == SUBSTITUTE_OK && !(narrowed && head_defeats_redaction(field->name)))
            r = write_field(field, s, out);
        if (r != SUBSTITUTE_OK)
            return r;
    }
    return SUBSTITUTE_OK;
}

static int
write_length(const struct h1_head *head, struct buf *out)
{
    return buf_append_str(out, "Content-Length: ") | buf_append_decimal(out, head->content_length) |
           buf_append_str(out, "\r\n");
}

static int
write_request_framing(const struct h1_head *head, bool narrowed, struct buf *out)
{
    int rc = 0;
    if (narrowed)
        rc |= buf_append_str(out, "Accept-Encoding: identity\r\n");
    if (head->framing == H1_BODY_CHUNKED)
        rc |= buf_append_str(out, "Transfer-Encoding: chunked\r\n");
    else if (h1_find(head, "content-length", NULL) != NULL)
        rc |= write_length(head, out);
    if (head_wants_websocket(head))
        rc |= buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    return rc | buf_append_str(out, "\r\n");
}

int
head_write_request(const struct h1_head *head, struct h1_span target, bool narrowed,
                   struct substitute *s, struct buf *out, struct refusal *ret)
{
    enum substitute_result r = SUBSTITUTE_FULL;
    const char *mark = memchr(target.data, '?', target.size);
    s->method = head->method;
    s->path =
        (struct h1_span){target.data, mark == NULL ? target.size : (size_t)(mark - target.data)};
    for (size_t i = 0; i < head->field_count; i++)
        substitute_note_override(s, head->fields[i].name);
    if (append_span(out, head->method) == 0 && buf_append_str(out, " ") == 0)
        r = head_write_target(target, s, out);
    if (r == SUBSTITUTE_OK && buf_append_str(out, " HTTP/1.1\r\n") != 0)
        r = SUBSTITUTE_FULL;
    if (r == SUBSTITUTE_OK)
        r = write_fields(head, narrowed, s, out);
    if (r == SUBSTITUTE_OK && write_request_framing(head, narrowed, out) != 0)
        r = SUBSTITUTE_FULL;
    if (r == SUBSTITUTE_OK)
        return 0;
    if (r == SUBSTITUTE_FULL)
        return refuse(ret, 431, "HEADER_TOO_LARGE",
                      "the request head is too large with its values");
    return head_refuse_misuse(s, ret);
}

bool
head_wants_websocket(const struct h1_head *head)
{
    size_t count;
    const struct h1_field *upgrade = h1_find(head, "upgrade", &count);
    return head->upgrade && upgrade != NULL && count == 1 && head->framing == H1_BODY_NONE &&
           h1_span_is(head->method, "GET") && h1_span_is_nocase(upgrade->value, "websocket");
}

// --- responses ---

enum decode_coding
head_coding(const struct h1_head *head)
{
    size_t count;
    const struct h1_field *coding = h1_find(head, "content-encoding", &count);
    if (coding == NULL)
        return DECODE_IDENTITY;
    return count == 1 ? decode_coding_of(coding->value) : DECODE_UNKNOWN;
}

static bool
begins_nocase(struct h1_span text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && strncasecmp(text.data, word, size) == 0;
}

// The code pages of "cp" and "ibm" are EBCDIC but for those that PCs had.
static bool
hides_ascii(struct h1_span name)
{
    static const char *const hiding[] = {
        "utf-16",   "utf16",   "utf_16",   "utf-32",   "utf32",  "utf_32", "utf-7",
        "utf7",     "unicode", "ucs",      "iso-10",   "iso10",  "cs",     "x-utf-16",
        "x-utf-32", "ebcdic",  "x-ebcdic", "cp",       "ibm",    "x-ibm",  "scsu",
        "x-scsu",   "bocu",    "hz",       "iso-2022", "iso2022"};
    static const char *const plain[] = {"cp125", "cp437", "cp85", "cp86",   "cp93",
                                        "cp949", "cp950", "cp65", "ibm437", "ibm85"};
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (begins_nocase(name, plain[i]))
            return false;
    for (size_t i = 0; i < ARRAY_SIZE(hiding); i++)
        if (begins_nocase(name, hiding[i]))
            return true;
    return false;
}

bool
head_hides_text(struct h1_span content_type)
{
    static const char parameter[] = "charset";
    for (size_t i = 0; i < content_type.size; i++) {
        struct h1_span rest = {content_type.data + i, content_type.size - i};
        if (!begins_nocase(rest, parameter))
            continue;
        size_t at = sizeof parameter - 1;
        while (at < rest.size && strchr(" \t=\"'", rest.data[at]) != NULL)
            at++;
        if (hides_ascii((struct h1_span){rest.data + at, rest.size - at}))
            return true;
    }
    return false;
}

bool
head_is_digest(struct h1_span name)
{
    return h1_span_is_nocase(name, "content-md5") || h1_span_is_nocase(name, "digest") ||
           h1_span_is_nocase(name, "content-digest") || h1_span_is_nocase(name, "repr-digest");
}

static int
write_response_framing(const struct h1_head *head, enum head_framing framing, bool close,
                       struct buf *out)
{
    const struct h1_field *length = h1_find(head, "content-length", NULL);
    int rc = 0;
    if (framing == HEAD_LENGTH)
        rc |= write_length(head, out);
    else if (framing == HEAD_CHUNKED)
        rc |= buf_append_str(out, "Transfer-Encoding: chunked\r\n");
    else if (framing == HEAD_NO_BODY && length != NULL && head->status >= 200 &&
             head->status != 204)
        rc |= buf_append_str(out, "Content-Length: ") | append_span(out, length->value) |
              buf_append_str(out, "\r\n"); // of the body that HEAD or 304 leave out
    if (head->status == 101)
        rc |= buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    else if (close && head->status >= 200)
        rc |= buf_append_str(out, "Connection: close\r\n");
    return rc | buf_append_str(out, "\r\n");
}

static int
write_clean_field(const struct h1_field *field, struct redact *redact, bool weak, struct buf *out)
{
    if (redact_text(redact, field->name, out) != 0 ||
        buf_append_str(out, weak ? ": W/" : ": ") != 0 ||
        redact_text(redact, field->value, out) != 0 || buf_append_str(out, "\r\n") != 0)
        return -1;
    return 0;
}

static bool
is_withheld(const struct h1_head *head, const struct h1_field *field, const struct redact *redact,
            enum head_framing framing, bool decoded)
{
    // Trailers are kept where there is a place for them.
    if (h1_span_is_nocase(field->name, "trailer") && !is_nominated(head, field->name))
        return framing != HEAD_CHUNKED || head->framing != H1_BODY_CHUNKED;
    // Alt-Svc would lead the client to a protocol that does not pass here.
    return ends_here(head, field) || h1_span_is_nocase(field->name, "alt-svc") ||
           (redact_is_active(redact) && head_is_digest(field->name)) ||
           (decoded && h1_span_is_nocase(field->name, "content-encoding"));
}

int
head_write_response(const struct h1_head *head, struct redact *redact, enum head_framing framing,
                    bool decoded, bool close, struct buf *out)
{
    // A status has three digits: the parser sees to it.
    if (buf_append_str(out, "HTTP/1.1 ") != 0 ||
        buf_append_decimal(out, (uint64_t)head->status) != 0 || buf_append_str(out, " ") != 0 ||
        redact_text(redact, head->reason, out) != 0 || buf_append_str(out, "\r\n") != 0)
        return -1;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct h1_field *field = &head->fields[i];
        if (is_withheld(head, field, redact, framing, decoded))
            continue;
        // Decoded it is the same only in effect (RFC 9110 8.8.1).
        bool weak = decoded && h1_span_is_nocase(field->name, "etag") && field->value.size > 0 &&
                    field->value.data[0] == '"';
        if (write_clean_field(field, redact, weak, out) != 0)
            return -1;
    }
    return write_response_framing(head, framing, close, out);
}

// Fields that say how a message is framed, read or routed, or that act before the body.
static bool
has_no_place_in_trailers(struct h1_span name)
{
    static const char *const names[] = {
        "host",          "content-encoding", "content-type", "content-range", "set-cookie",
        "cache-control", "authorization",    "location",     "age",           "expires",
        "date",          "retry-after",      "vary",         "alt-svc",       "www-authenticate",
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (h1_span_is_nocase(name, names[i]))
            return true;
    }
    return is_hop_by_hop(name);
}

int
head_write_trailers(const struct buf *trailers, struct redact *redact, struct buf *out)
{
    struct h1_field field;
    size_t at = 0;
    while (h1_next_trailer(trailers, &at, &field)) {
        bool digest = redact_is_active(redact) && head_is_digest(field.name);
        if (!digest && !has_no_place_in_trailers(field.name) &&
            write_clean_field(&field, redact, false, out) != 0)
            return -1;
    }
    return 0;
}

int
head_write_request_trailers(const struct buf *trailers, struct substitute *s, struct buf *out,
                            struct refusal *ret)
{
    struct h1_field field;
    size_t at = 0;
    while (h1_next_trailer(trailers, &at, &field)) {
        if (substitute_forbid(s, field.name, "trailer") != SUBSTITUTE_OK ||
            substitute_forbid(s, field.value, "trailer") != SUBSTITUTE_OK)
            return head_refuse_misuse(s, ret);
        if (!has_no_place_in_trailers(field.name) &&
            (append_span(out, field.name) != 0 || buf_append_str(out, ": ") != 0 ||
             append_span(out, field.value) != 0 || buf_append_str(out, "\r\n") != 0))
            return refuse(ret, 431, "HEADER_TOO_LARGE", "the request's trailers are too large");
    }
    return 0;
}
