// SPDX-License-Identifier: Apache-2.0
// TLS sessions of servers that have proved their name, kept to be resumed. They live in this
// process alone, under a key that says who was spoken with and how: a session is offered again
// under that very key only.
#pragma once

#include <openssl/ssl.h>

struct tls_sessions;

enum { TLS_SESSION_KEY_MAX = 320 }; // longer keys keep nothing

struct tls_sessions *tls_sessions_new(void);
void tls_sessions_free(struct tls_sessions *s); // accepts NULL

// Keeps a reference to the session of a connection whose peer was verified.
void tls_sessions_put(struct tls_sessions *s, const char *key, SSL_SESSION *session);

// The newest session under the key, or NULL. It is the caller's (SSL_SESSION_free) and kept no
// longer: a ticket that is used twice would tell those on the way that it is the same client (RFC
// 8446 C.4). Only one whose certificate is of that host name and has not ended.
SSL_SESSION *tls_sessions_take(struct tls_sessions *s, const char *key, const char *name);
