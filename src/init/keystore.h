// SPDX-License-Identifier: Apache-2.0
// Java's list of trusted roots, which no variable extends without a line on every program's
// standard error: Debian keeps it for all of its Javas in one file, a key store of the kind JKS.
#pragma once

#include "base/buf.h"

#define KEYSTORE_PATH "/etc/ssl/certs/java/cacerts"

enum {
    KEYSTORE_MAX = 8 * 1024 * 1024, // Debian's is 160 kB
    KEYSTORE_CERTIFICATE_MAX = 64 * 1024,
};

// Initialises out, and writes the key store into it with every certificate of the PEM bundle that
// it has not yet; those added by an earlier call, to which the sandbox's former CA belongs, are
// left out. -1 when it is no JKS with Debian's password, or anything is larger than KEYSTORE_MAX:
// out is then of no use.
int keystore_extend(struct buf *out, const void *store, size_t size, const struct buf *bundle);
