// SPDX-License-Identifier: Apache-2.0
// The sandboxes that there are, and what becomes of each: building, running, killing, cleaning,
// gone.
#pragma once

#include "launcher/permit.h"
#include "launcher/workshop.h"
#include "wire/launch.h"

#include <stdbool.h>

enum {
    // Each costs the launcher twelve descriptors and a page of memory.
    SUPERVISOR_SANDBOXES_MAX = LAUNCH_SANDBOXES_MAX,
};

// What of a sandbox an event of the loop is about.
enum supervisor_source {
    SOURCE_JOB_REPORT,
    SOURCE_JOB_EXIT,
    SOURCE_INIT,
    SOURCE_WORKER,
    SOURCE_MAX
};

struct supervisor;

// Watches descriptors in epoll_fd with the data word supervisor_event; answers over daemon_sock.
struct supervisor *supervisor_new(const struct workshop *shop, int epoll_fd, int daemon_sock);
void supervisor_free(struct supervisor *s);

// A request of casemated; takes the descriptors. -1: it was not permitted, or casemated is gone.
int supervisor_request(struct supervisor *s, const struct launch_message *m, int *fds,
                       size_t fd_count, struct error *err);
// An event with a data word below SUPERVISOR_WORDS. -1: casemated is gone.
#define SUPERVISOR_WORDS ((uint64_t)SUPERVISOR_SANDBOXES_MAX * SOURCE_MAX)
int supervisor_event(struct supervisor *s, uint64_t word, struct error *err);
// Milliseconds until the next deadline of a build or start of a worker, or -1; and what to do then.
int supervisor_timeout_ms(const struct supervisor *s);
void supervisor_tick(struct supervisor *s);

// Destroys all; nothing is sent any more. supervisor_is_empty tells when the last is gone.
void supervisor_stop(struct supervisor *s);
bool supervisor_is_empty(const struct supervisor *s);
