// SPDX-License-Identifier: Apache-2.0
// The sandbox's own certificate authority, and the roots that upstreams are verified against. The
// authority's key is made by the sandbox's first worker, which seals it in a memory file that only
// the launcher holds (and never maps), beside the policy and its secrets, which are worth more: the
// next worker, should this one die, speaks with the same authority, so that what runs in the
// sandbox goes on without reading its trust store again. Nobody else sees the key. The certificate
// is limited to the hosts that secrets are bound to and that are inspected (RFC 5280 4.2.1.10), so
// even a stolen key speaks for no other name.
#pragma once

#include "egress/worker.h"

#include <openssl/ssl.h>

struct ca;
struct tls_roots;

int ca_new(struct worker *w, struct ca **ret, struct error *err);
// The authority sealed in the memory file; where there is none yet, a new one, and seals it there.
// *ret_restored tells which.
int ca_open(struct worker *w, int fd, struct ca **ret, bool *ret_restored, struct error *err);
void ca_free(struct ca *ca); // accepts NULL

// PEM, the ca's; what the sandbox puts into its trust store.
const char *ca_certificate_pem(const struct ca *ca, size_t *ret_size);

// A context that presents a certificate for name (lower case, not NUL-terminated). *ret is a new
// reference (SSL_CTX_free). ERR_LIMIT when too many new names were asked for of late.
int ca_server_context(struct ca *ca, const char *name, size_t name_size, SSL_CTX **ret,
                      struct error *err);

// Maps a sealed memfd of PEM certificates; the descriptor stays the caller's.
int tls_roots_new(int roots_fd, struct tls_roots **ret, struct error *err);
void tls_roots_free(struct tls_roots *r); // accepts NULL

// The context that verifies upstreams, made on first use; stays the roots'. Blocks that are not
// certificates are skipped: one bad block must not take away all the others.
int tls_roots_context(struct tls_roots *r, SSL_CTX **ret, struct error *err);
