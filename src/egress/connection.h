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

// May a connection go there? The address of *to stands for a name if it is synthetic, which is then
// put into *to with the rule.
struct policy_decision decide_judge(struct worker *w, struct destination *to);
// Goes on with a connection that was judged and allowed; first: bytes that were read already.
void decide_go_on(struct worker *w, struct stream *client, const struct destination *to,
                  const struct policy_decision *decision, const uint8_t *first, size_t first_size);

// Connects to the destination and relays bytes both ways.
void passthrough_start(struct worker *w, struct stream *client, const struct destination *to,
                       const uint8_t *first, size_t first_size);

enum deny_kind {
    DENY_POLICY,      // no rule allows it: 403
    DENY_MISDIRECTED, // says it is for another host than its address stands for: 421
    DENY_UPSTREAM,    // allowed, but not reached: 502
    DENY_MALFORMED,   // nothing that a proxy (proxy.h) can be asked for: 400
    DENY_KIND_MAX
};

// Refuses so that it does not look like a broken network: HTTP gets a JSON answer, TLS the alert
// access_denied, everything else an immediate reset. reason is copied. Audits.
void deny_start(struct worker *w, struct stream *client, const struct destination *to,
                enum deny_kind kind, const char *reason, const uint8_t *first, size_t first_size);

// Refuses likewise, with an answer that the caller has made, as of another protocol; copied. Size
// 0: by an immediate reset.
void deny_with(struct worker *w, struct stream *client, const struct destination *to,
               const char *reason, const uint8_t *answer, size_t size);
