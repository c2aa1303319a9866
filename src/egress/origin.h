// SPDX-License-Identifier: Apache-2.0
// A connection to the host that a request is for: dialled, and for TLS verified, before its user
// sees it, or one that was, and that an earlier exchange of this sandbox has left as good as new.
#pragma once

#include "egress/refusal.h"
#include "egress/worker.h"

struct origin;

// Application protocols, as bits of a set.
enum origin_protocol { ORIGIN_H1 = 1, ORIGIN_H2 = 2 };

// Once: with an open stream that nobody reads (the receiver calls stream_set_user) and the protocol
// that the host chose, or NULL and how to answer the sandbox; the refusal's texts live until the
// call returns.
typedef void origin_done(void *user, struct stream *s, enum origin_protocol protocol,
                         const struct refusal *why);

// protocols: the set that the host is offered; without TLS it is ORIGIN_H1. Audits a peer that is
// not who it should be. done never comes inside this call.
struct origin *origin_open(struct worker *w, const struct destination *to, bool plain,
                           unsigned protocols, origin_done *done, void *user);
// Gives back a connection with HTTP/1.1 for exchanges to come: open and verified as origin_open
// handed it out, what was written to it is answered and read to its end, and the host means to keep
// it. Takes the stream; whether it is kept is not the caller's concern.
void origin_keep(struct worker *w, const struct destination *to, bool plain, struct stream *s);
// Forgets one whose done has not come; it will not.
void origin_cancel(struct origin *o);
