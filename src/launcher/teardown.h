// SPDX-License-Identifier: Apache-2.0
// What is left to do when a sandbox's init and worker have been killed and reaped. Runs in a job.
#pragma once

#include "base/ident.h"
#include "launcher/workshop.h"

#include <stddef.h>

struct teardown {
    const struct workshop *shop;
    char id[SANDBOX_ID_SIZE + 1];
    int loop; // number of its disk's loop device, or -1
};

enum { TEARDOWN_FDS_MAX = 2 };
size_t teardown_keep_fds(const struct teardown *t, int out[TEARDOWN_FDS_MAX]);

// A job: reports JOB_DONE with the CPU time used, or JOB_FAILED when something would not go.
void teardown_run(int report, void *teardown);
