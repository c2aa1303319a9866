// SPDX-License-Identifier: Apache-2.0
// The stations of a captured connection. Each takes over the client's stream, open and unread, with
// the bytes that were read from it already (copied), and answers for the end of the connection:
// worker->connections-- included. For interception see intercept.h.
#pragma once

#include "egress/worker.h"

enum {
    CONNECTION_IDLE_MS = 300 * 1000, // a relay without a byte in either direction
};

// Ports on which nothing but TLS and HTTP is expected.
static inline bool
connection_is_web(uint16_t port)
{
    return port == 80 || port == 443;
}

// A connection was accepted for this destination: decides what becomes of it. fd is taken over.
void decide_accepted(struct worker *w, int fd, const struct sockaddr *destination);

// Connects to the destination and relays bytes both ways.
void passthrough_start(struct worker *w, struct stream *client, const struct destination *to,
                       const uint8_t *first, size_t first_size);

enum deny_kind {
    DENY_POLICY,      // no rule allows it: 403
    DENY_MISDIRECTED, // says it is for another host than its address stands for: 421
    DENY_UPSTREAM,    // allowed, but not reached: 502
    DENY_KIND_MAX
};

// Refuses so that it does not look like a broken network: HTTP gets a JSON answer, TLS the alert
// access_denied, everything else an immediate reset. reason is copied. Audits.
void deny_start(struct worker *w, struct stream *client, const struct destination *to,
                enum deny_kind kind, const char *reason, const uint8_t *first, size_t first_size);
