// SPDX-License-Identifier: Apache-2.0
// The sandbox's DNS server (RFC 1035). It answers out of its own head: any host name has a
// synthetic address (names.h), allowed or not, and no question is ever passed on, so none can carry
// data out.
#pragma once

#include "egress/names.h"
#include "egress/worker.h"

enum {
    RESOLVER_QUERY_MAX = 4096,
    RESOLVER_ANSWER_MAX = 512, // always enough: one question, one address, one option
    RESOLVER_RATE = 5000,      // questions a second, beyond which they are dropped
};

enum resolver_verdict {
    RESOLVER_DROP,     // not a question at all: no answer
    RESOLVER_ANSWERED, // also with an error code
    RESOLVER_DENIED,   // answered REFUSED, for the reason given
};

struct resolver_answer {
    uint8_t data[RESOLVER_ANSWER_MAX];
    size_t size;
    const char *reason; // RESOLVER_DENIED: static text
    // RESOLVER_DENIED: the name fit for a log; empty if it must not be there.
    char shown[HOSTNAME_MAX + 1];
};

// Pure but for the table of names. A and AAAA are answered; every other type has no data.
enum resolver_verdict resolver_reply(struct names *names, const uint8_t *query, size_t size,
                                     int64_t now_ms, struct resolver_answer *ret);

struct resolver;

// Serves udp_fd, which stays the caller's, on the worker's loop from now on.
int resolver_new(struct worker *w, int udp_fd, struct resolver **ret, struct error *err);
void resolver_free(struct resolver *r); // accepts NULL; the loop must run once more
