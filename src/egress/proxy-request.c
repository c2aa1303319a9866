// SPDX-License-Identifier: Apache-2.0
#include "egress/proxy-request.h"

#include "base/cleanup.h"
#include "egress/names.h"
#include "policy/address.h"

#include <string.h>
#include <strings.h>

enum { PORT_MAX = 65535, PORT_DIGITS_MAX = 5, PORT_HTTP = 80 };

static const char no_host[] = "not a host name or an address";
static const char placeholder[] = "the name holds a placeholder of a secret";

// --- authorities ---

static bool
parse_port(const char *text, size_t size, uint16_t *ret)
{
    unsigned port = 0;
    if (size == 0 || size > PORT_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    *ret = (uint16_t)port;
    return port > 0 && port <= PORT_MAX;
}

// A name in canonical form, or an IPv4 address in its one spelling.
static const char *
parse_host(const char *text, size_t size, struct proxy_target *ret)
{
    if (names_holds_placeholder(text, size))
        return placeholder;
    if (hostname_canonical(text, size, ret->name, &ret->name_size) == NULL)
        return NULL;
    ret->name[0] = '\0';
    ret->name_size = 0;
    return address_parse(text, size, &ret->addr) && address_is_v4(&ret->addr) ? NULL : no_host;
}

const char *
proxy_parse_authority(const char *text, size_t size, uint16_t default_port,
                      struct proxy_target *ret)
{
    *ret = (struct proxy_target){.port = default_port};
    const char *end = text + size;
    const char *host_end;
    const char *why;
    if (size > 0 && text[0] == '[') {
        const char *bracket = memchr(text, ']', size);
        if (bracket == NULL || !address_parse(text + 1, (size_t)(bracket - text - 1), &ret->addr) ||
            memchr(text, ':', (size_t)(bracket - text)) == NULL)
            return no_host;
        host_end = bracket + 1;
    } else {
        const char *colon = memchr(text, ':', size);
        host_end = colon != NULL ? colon : end;
        why = parse_host(text, (size_t)(host_end - text), ret);
        if (why != NULL)
            return why;
    }
    if (host_end == end)
        return default_port != 0 ? NULL : "no port";
    if (*host_end != ':' || !parse_port(host_end + 1, (size_t)(end - host_end - 1), &ret->port))
        return "not a port";
    return NULL;
}

// --- SOCKS ---

enum {
    SOCKS_CONNECT = 1,
    SOCKS_IPV4 = 1,
    SOCKS_NAME = 3,
    SOCKS_IPV6 = 4,
    SOCKS_HEAD = 4, // of a request, before the address
};

enum proxy_status
proxy_parse_socks_greeting(const uint8_t *data, size_t size, size_t *ret_size, bool *ret_plain)
{
    if (size > 0 && data[0] != SOCKS_VERSION)
        return PROXY_BAD;
    if (size < 2 || size - 2 < data[1])
        return PROXY_MORE;
    *ret_size = 2 + (size_t)data[1];
    *ret_plain = data[1] > 0 && memchr(data + 2, SOCKS_METHOD_NONE, data[1]) != NULL;
    return PROXY_OK;
}

static void
refuse(struct proxy_socks_request *r, uint8_t reply, const char *reason)
{
    r->reply = reply;
    r->reason = reason;
}

// The address, its port behind it; returns the bytes of both, 0 while they are not all there.
static size_t
parse_socks_address(const uint8_t *data, size_t size, uint8_t type, struct proxy_socks_request *r)
{
    struct proxy_target *t = &r->target;
    size_t at = type == SOCKS_NAME ? 1 : 0;
    size_t length = type == SOCKS_IPV4 ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    if (size < 1)
        return 0;
    if (type == SOCKS_NAME)
        length = data[0];
    if (size < at + length + 2)
        return 0;
    if (type == SOCKS_NAME) {
        const char *why = parse_host((const char *)data + at, length, t);
        if (why != NULL)
            refuse(r, SOCKS_NOT_ALLOWED, why);
    } else if (type == SOCKS_IPV4) {
        struct in_addr v4;
        memcpy(&v4, data, sizeof v4);
        t->addr = address_map_v4(v4);
    } else {
        memcpy(&t->addr, data, sizeof t->addr);
    }
    at += length;
    t->port = (uint16_t)(data[at] << 8 | data[at + 1]);
    if (t->port == 0)
        refuse(r, SOCKS_NOT_ALLOWED, "not a port");
    return at + 2;
}

enum proxy_status
proxy_parse_socks_request(const uint8_t *data, size_t size, struct proxy_socks_request *ret)
{
    *ret = (struct proxy_socks_request){.reply = SOCKS_GRANTED};
    if (size > 0 && data[0] != SOCKS_VERSION)
        return PROXY_BAD;
    if (size < SOCKS_HEAD)
        return PROXY_MORE;
    uint8_t type = data[3];
    // What cannot be told the end of is answered for, and no more of it is read.
    if (type != SOCKS_IPV4 && type != SOCKS_NAME && type != SOCKS_IPV6) {
        refuse(ret, SOCKS_NO_SUCH_ADDRESS, "unknown type of address");
        ret->size = size;
        return PROXY_OK;
    }
    size_t used = parse_socks_address(data + SOCKS_HEAD, size - SOCKS_HEAD, type, ret);
    if (used == 0)
        return PROXY_MORE;
    ret->size = SOCKS_HEAD + used;
    if (data[1] != SOCKS_CONNECT)
        refuse(ret, SOCKS_NO_SUCH_COMMAND, "of SOCKS commands there is only CONNECT");
    return PROXY_OK;
}

void
proxy_write_socks_reply(uint8_t code, uint8_t out[SOCKS_REPLY_SIZE])
{
    // The address that it was bound to is nobody's business: 0.0.0.0:0.
    memset(out, 0, SOCKS_REPLY_SIZE);
    out[0] = SOCKS_VERSION;
    out[1] = code;
    out[3] = SOCKS_IPV4;
}

// --- HTTP ---

const char *
proxy_parse_url(struct h1_span url, struct proxy_target *ret, struct h1_span *ret_path)
{
    static const char scheme[] = "http://";
    size_t at = sizeof scheme - 1;
    if (url.size < at || strncasecmp(url.data, scheme, at) != 0)
        return "neither CONNECT nor a request for an http:// URL";
    size_t end = at;
    while (end < url.size && url.data[end] != '/' && url.data[end] != '?')
        end++;
    *ret_path = (struct h1_span){url.data + end, url.size - end};
    return proxy_parse_authority(url.data + at, end - at, PORT_HTTP, ret);
}

// RFC 9110 7.6.1, without what frames the body: its bytes are passed on as they are.
static bool
ends_here(const struct h1_head *head, const struct h1_field *field)
{
    static const char *const names[] = {
        "connection", "keep-alive",          "proxy-connection",   "te",
        "upgrade",    "proxy-authorization", "proxy-authenticate", "http2-settings",
    };
    char text[256];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (h1_span_is_nocase(field->name, names[i]))
            return true;
    if (field->name.size >= sizeof text || h1_span_is_nocase(field->name, "host") ||
        h1_span_is_nocase(field->name, "content-length") ||
        h1_span_is_nocase(field->name, "transfer-encoding"))
        return false;
    memcpy(text, field->name.data, field->name.size);
    text[field->name.size] = '\0';
    return h1_list_has(head, "connection", text);
}

static int
append(struct buf *out, struct h1_span span)
{
    return buf_append(out, span.data, span.size);
}

int
proxy_write_head(const struct h1_head *head, struct h1_span path, struct buf *out)
{
    bool rooted = path.size > 0 && path.data[0] == '/';
    size_t fields = 1; // our own
    if (append(out, head->method) < 0 || buf_append_str(out, rooted ? " " : " /") < 0 ||
        append(out, path) < 0 || buf_append_fmt(out, " HTTP/1.%d\r\n", head->minor_version) < 0)
        return -1;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct h1_field *field = &head->fields[i];
        if (ends_here(head, field))
            continue;
        if (++fields > H1_FIELDS_MAX || append(out, field->name) < 0 ||
            buf_append_str(out, ": ") < 0 || append(out, field->value) < 0 ||
            buf_append_str(out, "\r\n") < 0)
            return -1;
    }
    return buf_append_str(out, "Connection: close\r\n\r\n");
}
