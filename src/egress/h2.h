// SPDX-License-Identifier: Apache-2.0
// HTTP/2 (RFC 9113) between a client in the sandbox and one host: frames of one session become
// frames of another, never HTTP/1.1. Every request is checked and its placeholders swapped, every
// response is redacted.
#pragma once

#include "egress/refusal.h"
#include "egress/worker.h"

struct h2_options {
    const struct destination *to;
    struct stream *client;         // open; the session's from now on
    struct stream *upstream;       // open and verified, the session's; NULL: lost, or refused
    const struct refusal *refusal; // not NULL: every request gets this answer; texts are copied
    void (*done)(void *user);      // the connection is over; last call
    void *user;
};

void h2_start(struct worker *w, const struct h2_options *options);
