// SPDX-License-Identifier: Apache-2.0
// Resolves a name on the host, asynchronously and afresh, checks every address by the address
// rules, and connects to the very address that passed.
#pragma once

#include "egress/worker.h"

struct upstreams;

int upstreams_new(struct worker *w, struct upstreams **ret, struct error *err);
void upstreams_free(struct upstreams *u);

// Connects for to->name (or to->addr when the name is empty) on to->port. done comes later and
// once: with a connected stream (its new owner calls stream_set_user) and the address it went to,
// or NULL and why: ERR_FORBIDDEN (every address is refused), ERR_NOT_FOUND (no such name),
// ERR_UNAVAILABLE.
typedef void upstream_done(void *user, struct stream *s, const struct sockaddr *peer,
                           const struct error *err);
struct upstream_dial *upstream_connect(struct upstreams *u, const struct destination *to,
                                       upstream_done *done, void *user);
// Forgets a dial whose done has not come; done will not come.
void upstream_cancel(struct upstream_dial *d);
