// SPDX-License-Identifier: Apache-2.0
// Which request casemated may make in which state of the sandbox it names, and with how many
// descriptors. Anything else shows that the daemon is broken or taken over: the launcher then ends,
// and every sandbox with it.
#pragma once

#include "base/error.h"
#include "wire/launch.h"

#include <stddef.h>

enum sandbox_state {
    SANDBOX_ABSENT,   // no such sandbox (any more)
    SANDBOX_BUILDING, // a job makes it
    SANDBOX_RUNNING,
    SANDBOX_KILLING,  // its init, worker or building job have not been reaped yet
    SANDBOX_CLEANING, // a job removes what is left
    SANDBOX_STATE_MAX
};

enum {
    PERMIT_CPU_MILLIS_MIN = 10, // the kernel's least quota is 1 ms of its period of 100
    PERMIT_PIDS_MIN = 8,
};

const char *sandbox_state_name(enum sandbox_state state);

// 0 if permitted. -1 (ERR_FORBIDDEN) otherwise.
int permit_check(const struct launch_message *m, size_t fd_count, enum sandbox_state state,
                 struct error *err);

// The fields of a LAUNCH_CREATE: 0 if all are in range, or -1 (ERR_INVALID_CONFIG).
int permit_check_limits(const struct launch_message *m, struct error *err);
// The descriptors of a LAUNCH_CREATE or LAUNCH_CHANNEL are what they should be: sealed memory files
// of a bounded size, and connected sockets of the right kind.
int permit_check_fds(const struct launch_message *m, const int *fds, struct error *err);
