// SPDX-License-Identifier: Apache-2.0
// What the first bytes of a connection are: a TLS ClientHello (RFC 8446 4.1.2) or an HTTP/1 request
// head, and which host they name. Pure; called again with all bytes so far as more come.
#pragma once

#include "policy/hostname.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SNIFF_MAX = 64 * 1024,   // bytes held of a connection that has not said yet where it goes
    SNIFF_TIMEOUT_MS = 5000, // stops those who never say
};

enum sniff_kind {
    SNIFF_MORE,    // cannot be told yet
    SNIFF_TLS,     // a whole ClientHello
    SNIFF_HTTP,    // a whole request head
    SNIFF_UNKNOWN, // neither, though it may well be a protocol
    SNIFF_BAD,     // begins as one of them and is broken or ambiguous
};

struct sniff {
    enum sniff_kind kind;
    bool is_tls;        // begins as TLS, also with SNIFF_MORE and SNIFF_BAD
    bool is_http;       // likewise: a method is there
    const char *reason; // SNIFF_BAD: static text
    size_t needed;      // SNIFF_MORE: so many bytes in all before there can be anything to tell
    bool has_name;      // server_name, or Host; canonical
    char name[HOSTNAME_MAX + 1];
    size_t name_size;
    bool offers_h1; // application_layer_protocol_negotiation names it, or is absent
    bool offers_h2;
    bool has_ech; // encrypted_client_hello of either sort, greased or real
};

void sniff_bytes(const uint8_t *data, size_t size, struct sniff *ret);
