// SPDX-License-Identifier: Apache-2.0
// The opening handshake of a WebSocket, RFC 6455 section 4.2, on a parsed request. No extension and
// no subprotocol is ever agreed on.
#pragma once

#include "base/error.h"
#include "http/h1.h"

enum { HANDSHAKE_ACCEPT_SIZE = 28 };

// 0: ret_accept is the value for Sec-WebSocket-Accept. -1: ERR_INVALID_REQUEST.
int handshake_check(const struct h1_head *head, char ret_accept[HANDSHAKE_ACCEPT_SIZE + 1],
                    struct error *err);
