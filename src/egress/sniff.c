// SPDX-License-Identifier: Apache-2.0
// The ClientHello is read out of its records: it may be cut over several, in one byte each. Only
// what decides is read: framing of all of it, the server name, and whether there is an encrypted
// one.
//
// A real encrypted ClientHello cannot be told from a greased one, which browsers send always. What
// can be told is the name outside: decide.c holds it against the name that the address stands for,
// so an inner name can only hide behind an allowed outer one, on a connection to that host.
#include "egress/sniff.h"

#include "http/h1.h"

#include <string.h>

enum {
    RECORD_HEADER = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_SIZE_MAX = 16384, // RFC 8446 5.1
    HANDSHAKE_HEADER = 4,
    CLIENT_HELLO = 1,
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_ALPN = 16,
    EXTENSION_ECH = 0xfe0d,
    SERVER_NAME_HOST = 0,
    RANDOM_SIZE = 32,
    SESSION_ID_MAX = 32,
};

struct cursor {
    const uint8_t *data;
    size_t size;
    bool failed;
};

static const uint8_t *
take(struct cursor *c, size_t size)
{
    if (c->failed || size > c->size) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *at = c->data;
    c->data += size;
    c->size -= size;
    return at;
}

static size_t
take_number(struct cursor *c, size_t bytes)
{
    const uint8_t *p = take(c, bytes);
    size_t v = 0;
    for (size_t i = 0; p != NULL && i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

// A vector behind its length of so many bytes.
static struct cursor
take_vector(struct cursor *c, size_t length_bytes)
{
    size_t size = take_number(c, length_bytes);
    const uint8_t *data = take(c, size);
    return (struct cursor){.data = data, .size = c->failed ? 0 : size, .failed = c->failed};
}

static void
bad(struct sniff *s, const char *reason)
{
    s->kind = SNIFF_BAD;
    s->reason = reason;
}

// RFC 6066 3: one name of one type; more than one is refused, for a server may take either.
static bool
read_server_name(struct cursor extension, struct sniff *s)
{
    struct cursor list = take_vector(&extension, 2);
    size_t type = take_number(&list, 1);
    struct cursor name = take_vector(&list, 2);
    if (list.failed || list.size > 0 || extension.failed || extension.size > 0 ||
        type != SERVER_NAME_HOST)
        return false;
    if (name.size == 0 || name.data[name.size - 1] == '.')
        return false;
    s->has_name = true;
    return hostname_canonical((const char *)name.data, name.size, s->name, &s->name_size) == NULL;
}

// RFC 7301 3.1: names of one byte or more. A client that asks without offering anything we know
// fails in the handshake.
static bool
read_protocols(struct cursor extension, struct sniff *s)
{
    struct cursor list = take_vector(&extension, 2);
    if (extension.failed || extension.size > 0 || list.size == 0)
        return false;
    s->offers_h1 = false;
    while (list.size > 0) {
        struct cursor name = take_vector(&list, 1);
        if (list.failed || name.size == 0)
            return false;
        if (name.size == 2 && memcmp(name.data, "h2", name.size) == 0)
            s->offers_h2 = true;
        else if (name.size == 8 && memcmp(name.data, "http/1.1", name.size) == 0)
            s->offers_h1 = true;
    }
    return true;
}

static void
read_extensions(struct cursor list, struct sniff *s)
{
    bool has_protocols = false;
    while (!list.failed && list.size > 0) {
        size_t type = take_number(&list, 2);
        struct cursor extension = take_vector(&list, 2);
        if (list.failed)
            break;
        if (type == EXTENSION_ECH)
            s->has_ech = true;
        if (type == EXTENSION_ALPN && (has_protocols || !read_protocols(extension, s))) {
            bad(s, "malformed application protocols in the ClientHello");
            return;
        }
        has_protocols = has_protocols || type == EXTENSION_ALPN;
        if (type != EXTENSION_SERVER_NAME)
            continue;
        if (s->has_name) {
            bad(s, "two server names in the ClientHello");
            return;
        }
        if (!read_server_name(extension, s)) {
            bad(s, "server name in the ClientHello is no host name");
            return;
        }
    }
    if (list.failed)
        bad(s, "malformed ClientHello");
}

static void
read_client_hello(struct cursor hello, struct sniff *s)
{
    s->kind = SNIFF_TLS;
    (void)take_number(&hello, 2);
    (void)take(&hello, RANDOM_SIZE);
    struct cursor session = take_vector(&hello, 1);
    struct cursor suites = take_vector(&hello, 2);
    struct cursor compression = take_vector(&hello, 1);
    if (hello.failed || session.size > SESSION_ID_MAX || suites.size < 2 || suites.size % 2 != 0 ||
        compression.size == 0) {
        bad(s, "malformed ClientHello");
        return;
    }
    s->offers_h1 = true;
    if (hello.size == 0)
        return;
    struct cursor extensions = take_vector(&hello, 2);
    if (hello.failed || hello.size > 0) {
        bad(s, "malformed ClientHello");
        return;
    }
    read_extensions(extensions, s);
}

// Gathers the handshake message out of its records into out, at most SNIFF_MAX bytes.
static void
sniff_tls(const uint8_t *data, size_t size, struct sniff *s)
{
    static uint8_t message[SNIFF_MAX]; // one thread, and nothing of it outlives the call
    size_t held = 0;
    struct cursor in = {.data = data, .size = size};
    s->kind = SNIFF_MORE;
    while (in.size > 0) {
        size_t header = in.size < RECORD_HEADER ? in.size : RECORD_HEADER;
        if (in.data[0] != RECORD_HANDSHAKE || (header > 1 && in.data[1] != 3)) {
            bad(s, "malformed TLS record");
            return;
        }
        if (in.size < RECORD_HEADER)
            return;
        size_t length = (size_t)in.data[3] << 8 | in.data[4];
        if (length == 0 || length > RECORD_SIZE_MAX) {
            bad(s, "malformed TLS record");
            return;
        }
        (void)take(&in, RECORD_HEADER);
        size_t present = length < in.size ? length : in.size;
        memcpy(message + held, in.data, present);
        held += present;
        (void)take(&in, present);
        if (held > 0 && message[0] != CLIENT_HELLO) {
            bad(s, "TLS handshake that begins with no ClientHello");
            return;
        }
        if (held < HANDSHAKE_HEADER)
            continue;
        size_t total = (size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3];
        if (total > SNIFF_MAX - RECORD_HEADER - HANDSHAKE_HEADER) {
            bad(s, "ClientHello too large");
            return;
        }
        if (held - HANDSHAKE_HEADER < total) {
            s->needed = size + total + HANDSHAKE_HEADER - held;
            continue;
        }
        // Nothing may follow it before the server has answered.
        if (held - HANDSHAKE_HEADER > total) {
            bad(s, "bytes after the ClientHello in its record");
            return;
        }
        read_client_hello((struct cursor){.data = message + HANDSHAKE_HEADER, .size = total}, s);
        return;
    }
}

// Host without its port.
static struct h1_span
without_port(struct h1_span host)
{
    const char *colon =
        host.size == 0 || host.data[0] == '[' ? NULL : memchr(host.data, ':', host.size);
    if (colon != NULL)
        host.size = (size_t)(colon - host.data);
    return host;
}

static void
sniff_http(const uint8_t *data, size_t size, struct sniff *s)
{
    struct h1_head head;
    struct h1_problem problem;
    size_t head_size;
    switch (h1_parse_request(data, size, &head, &head_size, &problem)) {
    case H1_MORE:
        s->kind = SNIFF_MORE;
        return;
    case H1_BAD:
        bad(s, problem.reason);
        return;
    case H1_OK:
        break;
    }
    s->kind = SNIFF_HTTP;
    const struct h1_field *host = h1_find(&head, "host", NULL);
    if (host == NULL)
        return;
    struct h1_span name = without_port(host->value);
    s->has_name = true;
    // An address instead of a name agrees with no name; decide.c sees an empty one.
    if (hostname_canonical(name.data, name.size, s->name, &s->name_size) != NULL) {
        s->name[0] = '\0';
        s->name_size = 0;
    }
}

// An upper-case method (all registered ones are), then a space.
static enum sniff_kind
looks_like_http(const uint8_t *data, size_t size)
{
    enum { METHOD_MAX = 20 };
    size_t i = 0;
    while (i < size && i < METHOD_MAX && ((data[i] >= 'A' && data[i] <= 'Z') || data[i] == '-'))
        i++;
    if (i == size)
        return SNIFF_MORE;
    return i > 0 && data[i] == ' ' ? SNIFF_HTTP : SNIFF_UNKNOWN;
}

void
sniff_bytes(const uint8_t *data, size_t size, struct sniff *ret)
{
    *ret = (struct sniff){.kind = SNIFF_MORE};
    if (size == 0)
        return;
    if (size > SNIFF_MAX)
        size = SNIFF_MAX;
    if (data[0] == RECORD_HANDSHAKE) {
        ret->is_tls = true;
        sniff_tls(data, size, ret);
    } else {
        ret->kind = looks_like_http(data, size);
        ret->is_http = ret->kind == SNIFF_HTTP;
        if (ret->is_http)
            sniff_http(data, size, ret);
    }
    if (ret->kind == SNIFF_MORE && size == SNIFF_MAX)
        bad(ret, "first bytes exceed 65536");
}
