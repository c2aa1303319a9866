// SPDX-License-Identifier: Apache-2.0
// casemated's last step before it listens: the system calls that it may still make.
#pragma once

#include "base/error.h"

#include <stdbool.h>

// For every thread that there is and will be. Fails where the kernel has no seccomp filters. With
// runs_commands the process may start programs (those that the operator gets secrets from), which
// inherit the filter: then it only takes away what none of them has a use for.
int confine_daemon(bool runs_commands, struct error *err);
