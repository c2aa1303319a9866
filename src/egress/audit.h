// SPDX-License-Identifier: Apache-2.0
// One event a decision, sent to casemated as one JSON object (wire/events.h). Never a value, a
// placeholder, a query or a body.
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
    AUDIT_UPSTREAM_TLS_ERROR,
    AUDIT_LIMIT,
    AUDIT_EVENT_MAX
};

// Lives as long as the process.
int audit_new(struct worker *w, int events_fd, struct audit **ret, struct error *err);

// Tells casemated that the listeners are served, with the CA's certificate.
int audit_ready(struct audit *a, const char *ca_pem, size_t size, struct error *err);

// Fields follow as pairs (name, text), ended by NULL; a NULL text skips its pair. to may be NULL.
// Returns -1 when the sink is full or gone: the caller then refuses what it was about to do.
int audit_emit(struct audit *a, enum audit_event event, const struct destination *to, ...)
    __attribute__((sentinel));
