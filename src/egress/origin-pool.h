// SPDX-License-Identifier: Apache-2.0
// What a worker remembers of the hosts that it has spoken with: connections that wait for another
// exchange, TLS sessions, and the protocol that each host chose. All of it is this sandbox's alone
// and ends with the process.
#pragma once

#include "egress/origin.h"
#include "net/tls-session.h"

struct origins;

// The worker's, made on first use; it lives as long as the worker.
struct origins *origins_of(struct worker *w);

// Connections with HTTP/1.1. Put takes the stream in any case; what is not as good as new is
// closed.
void origins_put_idle(struct origins *o, const struct destination *to, bool plain,
                      struct stream *s);
// The latest one that is still good: open, read by nobody, its user is for the caller to set. NULL:
// there is none.
struct stream *origins_take_idle(struct origins *o, const struct destination *to, bool plain);
bool origins_has_idle(const struct origins *o, const struct destination *to, bool plain);
void origins_drop_idle(struct origins *o);

// What the host chose of the set that it was offered, or 0: not known, or too long ago.
void origins_note_choice(struct origins *o, const struct destination *to, unsigned offered,
                         enum origin_protocol chosen);
unsigned origins_last_choice(const struct origins *o, const struct destination *to,
                             unsigned offered);

struct tls_sessions *origins_sessions(struct origins *o);
// Under what the sessions of this host and offer are kept.
void origins_session_key(const struct destination *to, unsigned offered,
                         char out[TLS_SESSION_KEY_MAX + 1]);
