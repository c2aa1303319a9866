// SPDX-License-Identifier: Apache-2.0
// Where a process listens: its own first TCP socket, or one of a process that it started.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    TARGET_SIZE = 64,
    // A server that was just started is given this long to listen.
    TARGET_PATIENCE_MS = 5000,
};

// As "ADDRESS:PORT", an IPv6 address in brackets. 0 or -1.
int target_find(uint32_t pid, char ret[TARGET_SIZE]);
