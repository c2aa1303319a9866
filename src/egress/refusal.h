// SPDX-License-Identifier: Apache-2.0
// An answer of the proxy's own, told apart from the host's: JSON that says what was refused and
// why, so that a refusal does not look like a broken network. It never holds a value, a placeholder
// or an upstream address.
#pragma once

#include "base/buf.h"
#include "egress/worker.h"

struct refusal {
    int status;       // HTTP
    const char *code; // "SECRET_MISUSE"
    const char *message;
    const char *reason; // as audited, or NULL
    const char *secret; // its name, or NULL
    const char *place;  // where in the request, or NULL
};

// Appends a whole HTTP/1.1 response that ends the connection. head_only: the request was HEAD.
// Returns 0, or -1 when out is full.
int refusal_write(const struct refusal *r, const struct destination *to, uint64_t request,
                  bool head_only, struct buf *out);
