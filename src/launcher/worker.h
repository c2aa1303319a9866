// SPDX-License-Identifier: Apache-2.0
// Starting casemate-proxy, the egress worker of one sandbox, on the host: own user, no capability,
// in no set, and only the descriptors of enum control_worker_fd.
#pragma once

#include "base/error.h"
#include "launcher/network.h"
#include "launcher/workshop.h"

#include <sys/types.h>

struct worker_plan {
    const struct workshop *shop;
    pid_t launcher; // whose child it becomes and with whom it dies
    int policy_fd;
    int roots_fd;
    int events_fd;
    int capture_fd;
    int ca_fd;
    int sent_fd;
    struct network_sockets sockets;
};

struct worker_child {
    pid_t pid;
    int pidfd;
    int sync;
};

int worker_start(struct worker_child *ret, const struct worker_plan *plan, struct error *err);
// The launcher knows of it: it may be executed.
int worker_go(const struct worker_child *w, struct error *err);
// A job (job.h) that starts one in the place of another that died, with the descriptors of that
// one but for events_fd: reports JOB_WORKER_STARTED, then JOB_DONE or JOB_FAILED.
void worker_restart(int report, void *plan);
enum { WORKER_FDS_MAX = 9 };
// Descriptors that the job needs; returns how many.
size_t worker_keep_fds(const struct worker_plan *plan, int out[WORKER_FDS_MAX]);

// Waits until it is executed, or brings what failed.
int worker_await_exec(const struct worker_child *w, struct error *err);
