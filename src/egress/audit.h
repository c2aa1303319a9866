// SPDX-License-Identifier: Apache-2.0
// One event a decision, sent to casemated as one JSON object (wire/events.h). Never a value, a
// placeholder, a query or a body.
//
// The events of one turn of the loop leave together at its end. What was accepted is kept until the
// sink takes it: it is lost only if this process or casemated dies first. A sink that refuses one
// datagram (full, or gone) fails the next event, and what that tells of must not happen; where the
// policy says "onAuditFailure": "drop", it is counted instead and happens.
#pragma once

#include "egress/worker.h"

struct audit;

enum audit_event {
    AUDIT_CONN_ALLOW,
    AUDIT_CONN_DENY,
    AUDIT_DNS_DENY,
    AUDIT_PASSTHROUGH,
    AUDIT_INTERCEPT,
    AUDIT_REQUEST,
    AUDIT_SWAP,
    AUDIT_REDACT,
    AUDIT_MISUSE,
    AUDIT_PLACEHOLDER_SEEN,
    AUDIT_UPSTREAM_TLS_ERROR,
    AUDIT_POLICY,
    AUDIT_LIMIT,
    AUDIT_EVENT_MAX
};

// Lives as long as the process.
int audit_new(struct worker *w, int events_fd, struct audit **ret, struct error *err);

// Tells casemated that the listeners are served, with the CA's certificate.
int audit_ready(struct audit *a, const char *ca_pem, size_t size, struct error *err);

// A number as the text of a field.
struct audit_number {
    char text[21];
};
static inline const char *
audit_number(struct audit_number *out, uint64_t n)
{
    size_t at = sizeof out->text - 1;
    out->text[at] = '\0';
    do
        out->text[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return out->text + at;
}

// Fields follow as pairs (name, text), ended by NULL; a NULL text skips its pair. to may be NULL.
// Returns -1 when the event is not accepted: the caller then refuses what it was about to do.
int audit_emit(struct audit *a, enum audit_event event, const struct destination *to, ...)
    __attribute__((sentinel));
