// SPDX-License-Identifier: Apache-2.0
// The worker: one process for one sandbox, the only one that maps its secrets. This header is what
// the worker's parts share; the order in which a connection meets them is listen -> sniff -> decide
// (policy, names, address) -> passthrough or intercept -> upstream.
#pragma once

#include "net/stream.h"
#include "policy/policy.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct worker {
    uv_loop_t *loop;
    struct policy *policy;
    struct patterns *patterns; // of the policy's secrets (patterns.h)
    struct names *names;       // synthetic addresses and what they stand for (names.h)
    struct ca *ca;             // the sandbox's certificate authority (ca.h)
    struct upstreams *dialer;  // resolves and connects (upstream.h)
    struct tls_roots *roots;   // verified against, parsed on first use (ca.h)
    struct audit *audit;       // events to casemated (audit.h)
    struct h2_idle *h2_idle;   // sessions that wait for a client (h2-idle.c)
    struct origins *origins;   // hosts spoken with (origin-pool.h); NULL until the first
    uint64_t next_connection;
    unsigned connections; // open now, bounded by WORKER_CONNECTIONS_MAX
    // Sent to hosts so far by this worker and those before it, without what TLS adds; counted where
    // the policy has a limit.
    uint64_t *tx_bytes;
};

enum {
    WORKER_CONNECTIONS_MAX = 256, // stops one sandbox from eating the node's descriptors
    NAME_MAX_SIZE = 253,          // RFC 1035 2.3.4, without the trailing dot
};

// Where a captured connection wanted to go, and what is known of it by now.
struct destination {
    uint64_t conn;                // number in the audit
    struct sockaddr_storage addr; // as the sandbox dialled
    uint16_t port;
    char name[NAME_MAX_SIZE + 1]; // lower case, "" for a bare address
    size_t name_size;
    const char *rule; // text of the rule that allowed it, of the policy; NULL: no rule needed
};

// Counts bytes that are about to leave. False: the policy allows no more (maxTxBytes); they must
// not leave, and their connection is to be cut with a `limit` event.
static inline bool
worker_may_send(struct worker *w, size_t size)
{
    uint64_t most = policy_settings(w->policy)->max_tx_bytes;
    if (most == 0)
        return true;
    if (*w->tx_bytes > most || size > most - *w->tx_bytes)
        return false;
    *w->tx_bytes += size;
    return true;
}
