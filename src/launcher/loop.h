// SPDX-License-Identifier: Apache-2.0
// Loop devices (loop(4)): a block device over a file, gone with its last user (LO_FLAGS_AUTOCLEAR).
#pragma once

#include "base/error.h"

#include <stdbool.h>

enum { LOOP_PATH_SIZE = 32 };

// Attaches file_fd to a free device; its path goes to ret_path and its number to *ret_number.
// Returns a descriptor that keeps the device until something is mounted from it, or -1.
int loop_attach(int file_fd, bool read_only, char ret_path[LOOP_PATH_SIZE], int *ret_number,
                struct error *err);

// True while device number has a backing file whose path begins with prefix.

bool loop_is_backed_by(int number, const char *prefix);

// Detaches what an earlier run may have left attached; returns how many devices that were.
unsigned loop_sweep(const char *prefix);
