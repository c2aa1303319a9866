// SPDX-License-Identifier: Apache-2.0
// What contexts (tls-context.c) and streams (tls.c) know of each other: contexts are shared by
// streams, so what OpenSSL asks of a context is answered by the stream that it asks for.
#pragma once

#include "net/tls.h"

int tls_fail_openssl(struct error *err, const char *what);
int tls_on_new_session(SSL *ssl, SSL_SESSION *session);
int tls_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                    const unsigned char *in, unsigned int in_size, void *arg);
