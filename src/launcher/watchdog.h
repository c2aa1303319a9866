// SPDX-License-Identifier: Apache-2.0
// The launcher's death, seen from outside: a child that waits for it and then kills the processes
// of every sandbox.
//
// The kernel's own means does not suffice: casemate-init changes its user for each call, at which
// the kernel forgets PR_SET_PDEATHSIG, and one that is taken over does not heed the end of its
// control socket.
#pragma once

#include "base/error.h"
#include "launcher/cgroup.h"

// keep_fd stays open in it: the lock on the state directory, so that the next launcher does not
// start before the sandboxes are dead. Ends by itself, shortly after the launcher, however that
// ends.
int watchdog_start(const struct cgroup_layout *layout, int keep_fd, struct error *err);
