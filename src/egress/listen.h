// SPDX-License-Identifier: Apache-2.0
// Accepts what the sandbox's network namespace steers to us: every TCP connection that is not to
// itself.
#pragma once

#include "egress/worker.h"

enum {
    LISTEN_RATE = 100, // new connections a second, and as many at once after a pause
};

struct listener;

// Serves tcp_fd, a listening socket, which stays the caller's, from now on.
int listener_new(struct worker *w, int tcp_fd, struct listener **ret, struct error *err);
void listener_free(struct listener *l); // accepts NULL; the loop must run once more
