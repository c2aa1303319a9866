// SPDX-License-Identifier: Apache-2.0
// Where a process listens for TCP, as /proc tells it: its own oldest socket, or one of a process
// that it started.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct listener {
    uint64_t inode;
    unsigned port;
    bool v6;
    uint32_t address[4]; // as the kernel prints it; the first alone without v6
};

// Looks once, without waiting. Not reentrant.
bool listener_find(uint32_t pid, struct listener *ret);
