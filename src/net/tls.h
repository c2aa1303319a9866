// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 and 1.3 (RFC 5246, RFC 8446) as a stream over another stream, either end. No
// renegotiation, no compression, no early data. A client stream opens only after the peer has
// proved its name.
#pragma once

#include "net/stream.h"
#include "net/tls-session.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

// How a host name is compared with a certificate's: alternative names only, and a wildcard stands
// for one whole label.
enum {
    TLS_HOST_FLAGS = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
};

// Makes OpenSSL ready without reading a configuration file. Call it once, before any other use of
// OpenSSL; a second call does nothing.
int tls_init(struct error *err);

// A context that verifies peers against store (a reference is taken). The caller's (SSL_CTX_free).
int tls_client_context(X509_STORE *store, SSL_CTX **ret, struct error *err);
// A context that presents this certificate; issuer (may be NULL) is sent after it. The caller's.
int tls_server_context(X509 *certificate, EVP_PKEY *key, X509 *issuer, SSL_CTX **ret,
                       struct error *err);

struct tls_options {
    SSL_CTX *ctx;     // a reference is taken
    bool server;      // which end we are
    const char *name; // client: sent as SNI and demanded of the certificate
    // Application protocols as in RFC 7301 3.1, each with a length byte before it; size 0: none.
    // Client: offered. Server: our first that the peer offers is chosen, and a peer that offers
    // only others is refused. They must outlive the stream.
    const uint8_t *alpn;
    size_t alpn_size;
    const void *first; // bytes that were read from lower already, to be taken before what follows
    size_t first_size;
    // Client: a session under this key is resumed if there is one, and what the server gives is
    // kept under it. The table outlives the stream, the key is copied. NULL: full handshakes only.
    struct tls_sessions *sessions;
    const char *session_key;
};

// Takes lower (open, and nobody reading), which is the new stream's from now on, also on failure.
// on_open comes when the handshake is done (client: and name and chain are verified), or on_close
// with the reason. Nothing can be written before on_open. A peer that ends without close_notify
// closes the stream with an error, so that a cut body is never taken for a whole one.
int tls_stream_new(uv_loop_t *loop, struct stream *lower, const struct tls_options *options,
                   struct stream **ret, struct error *err);

// What the peers agreed on (not NUL-terminated), size 0 if nothing; valid from on_open on.
const uint8_t *tls_stream_alpn(const struct stream *s, size_t *ret_size);
// True if the handshake was an abbreviated one; valid from on_open on.
bool tls_stream_resumed(const struct stream *s);
// True if the handshake failed because the peer's certificate was not accepted; valid until
// on_close returns.
bool tls_stream_unverified(const struct stream *s);
