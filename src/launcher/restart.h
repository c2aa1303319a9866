// SPDX-License-Identifier: Apache-2.0
// What the launcher keeps so that a worker that died can be replaced: its policy, its
// authority's key and how much it sent, in memory files that the launcher never maps, its listeners
// and the capture; and how often that may be.
#pragma once

#include "launcher/worker.h"

#include <stdbool.h>

enum {
    // Who finds a way to crash the worker must not try for ever.
    RESTARTS_MAX = 5,
    RESTARTS_MS = 60 * 1000, // in any such time that begins with a death
    RESTART_PAUSE_MS = 50,   // before the second, doubled with each further one
};

struct restart {
    int policy_fd;
    int roots_fd;
    int ca_fd;
    int sent_fd;
    int capture_fd;
    struct network_sockets sockets;
    unsigned count;   // since since_ms
    int64_t since_ms; // 0: none yet
    int64_t at_ms;    // when the next worker is to be started; 0: none is
};

void restart_init(struct restart *r);
void restart_done(struct restart *r); // closes; nothing can be restarted any more
// Keeps copies, and makes the memory files for the authority and for what was sent.
int restart_keep(struct restart *r, int policy_fd, int roots_fd, struct error *err);
// A worker died: sets at_ms, or returns false when that was one too many.
bool restart_grant(struct restart *r, int64_t now_ms);
struct worker_plan restart_plan(const struct restart *r, const struct workshop *shop,
                                int events_fd);
