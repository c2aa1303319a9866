// SPDX-License-Identifier: Apache-2.0
// The explicit proxy, for clients that want one: NAMES_SERVICE (names.h) takes HTTP proxy requests
// (RFC 9110 9.3.6, RFC 9112 3.2.2) on one port and SOCKS 5 (RFC 1928) on another. It gives nothing
// that dialling does not: what a client asks for here is judged as if it had dialled it, and what
// the tunnel carries meets the same rules as on a dialled connection.
#pragma once

#include "egress/connection.h"

enum {
    PROXY_PORT_HTTP = 3128,
    PROXY_PORT_SOCKS = 1080,
    PROXY_HEAD_MAX = 16 * 1024, // stops requests that never end
    PROXY_PATIENCE_MS = 5000,   // for the whole request; stops those that drip in
};

bool proxy_serves(uint16_t port);
// A connection to one of these ports: takes client over, as the stations of connection.h do.
void proxy_start(struct worker *w, struct stream *client, const struct destination *to);
