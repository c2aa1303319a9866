// SPDX-License-Identifier: Apache-2.0
// HTTP/2 (RFC 9113) between a client in the sandbox and one host: frames of one session become
// frames of another, never HTTP/1.1. Every request is checked and its placeholders swapped, every
// response is redacted.
#pragma once

#include "egress/refusal.h"
#include "egress/worker.h"

// An upstream session whose client has gone, and that waits for another one.
struct h2_idle;

// The latest for this name and port, or NULL. It is the caller's, and may end while he has it.
struct h2_idle *h2_idle_take(struct worker *w, const struct destination *to);
// It was not used.
void h2_idle_give_back(struct h2_idle *i);
void h2_idle_drop_all(struct worker *w);

struct h2_options {
    const struct destination *to;
    struct stream *client;         // open; the session's from now on
    struct stream *upstream;       // open and verified, the session's; NULL: lost, or refused
    struct h2_idle *idle;          // instead of upstream, or NULL; the session's
    const struct refusal *refusal; // not NULL: every request gets this answer; texts are copied
    void (*done)(void *user);      // the connection is over; last call
    void *user;
};

void h2_start(struct worker *w, const struct h2_options *options);
