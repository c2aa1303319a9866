// SPDX-License-Identifier: Apache-2.0
#include "net/tls-internal.h"

#include <openssl/err.h>

enum { TLS_SECURITY_LEVEL = 2 }; // no SHA-1 signatures, no RSA below 2048 bits

// In our order. 128 bits of key are as safe as 256 here, and a fifth cheaper.
#define TLS_CIPHERSUITES                                                                           \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

int
tls_fail_openssl(struct error *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return error_set(err, ERR_INTERNAL, "%s: %s", what, reason != NULL ? reason : "unknown reason");
}

static SSL_CTX *
new_context(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_security_level(ctx, TLS_SECURITY_LEVEL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_CLEANSE_PLAINTEXT);
    // Not SSL_MODE_RELEASE_BUFFERS: it wipes and frees 16 KB after every record; tls.c gives the
    // buffers of resting connections back.
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
    if (SSL_CTX_set_ciphersuites(ctx, TLS_CIPHERSUITES) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_max_early_data(ctx, 0);
    return ctx;
}

int
tls_client_context(X509_STORE *store, SSL_CTX **ret, struct error *err)
{
    SSL_CTX *ctx = new_context(TLS_client_method());
    if (ctx == NULL)
        return tls_fail_openssl(err, "cannot make a TLS client context");
    SSL_CTX_set1_cert_store(ctx, store);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, tls_on_new_session);
    *ret = ctx;
    return 0;
}

int
tls_server_context(X509 *certificate, EVP_PKEY *key, X509 *issuer, SSL_CTX **ret, struct error *err)
{
    SSL_CTX *ctx = new_context(TLS_server_method());
    if (ctx == NULL)
        return tls_fail_openssl(err, "cannot make a TLS server context");
    // Tickets, one a connection, under a key of this context alone: a ticket of one name is
    // worthless with another.
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, tls_select_alpn, NULL);
    if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
        SSL_CTX_use_certificate(ctx, certificate) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
        (issuer != NULL && SSL_CTX_add1_chain_cert(ctx, issuer) != 1)) {
        SSL_CTX_free(ctx);
        return tls_fail_openssl(err, "cannot make a TLS server context");
    }
    *ret = ctx;
    return 0;
}
