// SPDX-License-Identifier: Apache-2.0
// How a sandbox is built: everything, in order, in one place. Runs in a job (job.h).
#pragma once

#include "base/ident.h"
#include "launcher/workshop.h"

#include <stdint.h>
#include <sys/types.h>

struct recipe {
    const struct workshop *shop;
    pid_t launcher;
    char id[SANDBOX_ID_SIZE + 1];
    uint32_t memory_mib;
    uint32_t disk_mib;
    uint32_t cpu_millis;
    uint32_t pids_max;
    uint32_t first_id; // of its range of 65,536
    unsigned first_cpu;
    int policy_fd;
    int roots_fd;
    int events_fd;
    int ca_fd;
    int sent_fd;
    int control_fd; // guest's end
};

enum { RECIPE_FDS_MAX = 16 };
// Descriptors that the job needs; returns how many.
size_t recipe_keep_fds(const struct recipe *r, int out[RECIPE_FDS_MAX]);

// A job: reports JOB_DISK_ATTACHED, JOB_INIT_STARTED and JOB_WORKER_STARTED on the way, so that the
// launcher can undo what there is, then JOB_DONE with the descriptors of enum launch_usage_fd, or
// JOB_FAILED.
void recipe_build(int report, void *recipe);
