// SPDX-License-Identifier: Apache-2.0
// What a client asks an explicit proxy for. Pure; the parsers are given all bytes so far.
#pragma once

#include "base/buf.h"
#include "http/h1.h"
#include "policy/hostname.h"

#include <netinet/in.h>

struct proxy_target {
    char name[HOSTNAME_MAX + 1]; // canonical; "": a bare address
    size_t name_size;
    struct in6_addr addr; // of a bare address, IPv4 in mapped form
    uint16_t port;
};

// "host:port" or, with a default port, "host". NULL, or static text that says what is wrong: user
// information, a placeholder, an address in an odd spelling, and so on.
const char *proxy_parse_authority(const char *text, size_t size, uint16_t default_port,
                                  struct proxy_target *ret);

enum proxy_status { PROXY_MORE, PROXY_OK, PROXY_BAD };

enum {
    SOCKS_VERSION = 5,
    SOCKS_METHOD_NONE = 0, // no authentication
    SOCKS_METHOD_REFUSED = 255,
    SOCKS_GRANTED = 0, // RFC 1928 6
    SOCKS_NOT_ALLOWED = 2,
    SOCKS_NO_SUCH_COMMAND = 7,
    SOCKS_NO_SUCH_ADDRESS = 8,
    SOCKS_REPLY_SIZE = 10,
};

// The greeting. OK: *ret_size bytes of it, and whether it offers to go without authentication.
enum proxy_status proxy_parse_socks_greeting(const uint8_t *data, size_t size, size_t *ret_size,
                                             bool *ret_plain);

struct proxy_socks_request {
    struct proxy_target target;
    size_t size;        // bytes of it
    uint8_t reply;      // to answer with
    const char *reason; // static text where reply is not SOCKS_GRANTED
};

// BAD: not even a reply would be understood.
enum proxy_status proxy_parse_socks_request(const uint8_t *data, size_t size,
                                            struct proxy_socks_request *ret);
void proxy_write_socks_reply(uint8_t code, uint8_t out[SOCKS_REPLY_SIZE]);

// The authority of a request for an http:// URL; NULL, or static text.
const char *proxy_parse_url(struct h1_span url, struct proxy_target *ret, struct h1_span *ret_path);
// Writes the head of such a request as a server gets it: with the path alone, and without the
// fields that end at a proxy; the connection ends with it, since the next request may be for
// another host. -1: out is full, or there is no room for the field that says so.
int proxy_write_head(const struct h1_head *head, struct h1_span path, struct buf *out);
