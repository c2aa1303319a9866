// SPDX-License-Identifier: Apache-2.0
// casemate-launcher, the only root code: makes and destroys sandboxes at the request of casemated.
#pragma once

#include "launcher/workshop.h"

enum { LAUNCHER_SOCKET = 3 }; // to casemated, wire/launch.h

// Runs until casemated is gone or SIGTERM or SIGINT comes, and leaves nothing behind. Returns the
// exit status: 0, or 1 after an error, which it logged.
int launcher_run(const struct launcher_options *options);
