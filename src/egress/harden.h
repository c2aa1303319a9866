// SPDX-License-Identifier: Apache-2.0
// The worker's last step before it reads its first hostile byte: it gives up everything that it
// will not need to carry bytes between sockets.
#pragma once

#include "base/error.h"

// Call it when all is open that will ever be opened and no thread was started. From then on: no new
// privileges, no core dump or tracing, no files, no new programs or processes, sockets of the
// internet families only. A system call that is not on the list fails with EPERM; one that only an
// exploit would make ends the process. What OpenSSL loads late is loaded here first.
int harden_worker(struct error *err);
