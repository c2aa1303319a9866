// SPDX-License-Identifier: Apache-2.0
// Interception of a connection to a host that a secret is bound to: TLS ends here with a
// certificate of the sandbox's own authority, requests are read, placeholders become values, and
// the request goes on over a verified TLS connection.
#pragma once

#include "egress/worker.h"

// Takes over an accepted, decided connection: client (an open, unread stream) whose first bytes
// were read already and are given in first (copied). Everything from here on, the end of the
// connection and worker->connections-- included, is the interception's. plain: HTTP without TLS
// (port 80): only ever answers 403 when a placeholder is in it, else passes the request on
// unswapped.
void intercept_start(struct worker *w, struct stream *client, const struct destination *to,
                     const uint8_t *first, size_t first_size, bool plain);
