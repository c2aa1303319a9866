// SPDX-License-Identifier: Apache-2.0
// An answer of the proxy's own, told apart from the host's: JSON that says what was refused and
// why, so that a refusal does not look like a broken network. It never holds a value, a placeholder
// or an upstream address. One flat object, whoever refuses; a member that is unknown is left out:
//
//   code message reason hint secret where rule host port request ("CONNECTION-NUMBER", 0: before
//   the first)
#pragma once

#include "base/buf.h"
#include "egress/worker.h"

enum { REFUSAL_MAX = 8192 }; // of a body; its head is far smaller

struct refusal {
    int status;       // HTTP
    const char *code; // "SECRET_MISUSE"
    const char *message;
    const char *reason; // as audited, or NULL
    const char *hint;   // what would allow it, or NULL
    const char *secret; // its name, or NULL
    const char *place;  // where in the request, or NULL
};

// Appends a whole HTTP/1.1 response that ends the connection. head_only: the request was HEAD.
// Returns 0, or -1 when out is full.
int refusal_write(const struct refusal *r, const struct destination *to, uint64_t request,
                  bool head_only, struct buf *out);
// The JSON alone. out's cap: REFUSAL_MAX.
int refusal_write_body(const struct refusal *r, const struct destination *to, uint64_t request,
                       struct buf *out);
