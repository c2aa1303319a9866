// SPDX-License-Identifier: Apache-2.0
// A connection to the host that a request is for: dialled, and for TLS verified, before its user
// sees it.
#pragma once

#include "egress/refusal.h"
#include "egress/worker.h"

struct origin;

// Once: with an open stream that nobody reads (the receiver calls stream_set_user), or NULL and how
// to answer the sandbox; the refusal's texts live until the call returns.
typedef void origin_done(void *user, struct stream *s, const struct refusal *why);

// Audits a peer that is not who it should be. done never comes inside this call.
struct origin *origin_open(struct worker *w, const struct destination *to, bool plain,
                           origin_done *done, void *user);
// Forgets one whose done has not come; it will not.
void origin_cancel(struct origin *o);
