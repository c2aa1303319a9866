// SPDX-License-Identifier: Apache-2.0
// Ranges of 65,536 user and group ids, one a sandbox, and the maps of its user namespace
// (user_namespaces(7)).
//
// A range is reserved on the whole host by a lock on /run/casemate/ids/N (flock(2)), so that two
// launchers never give the same one; a launcher that dies loses its locks.
#pragma once

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

enum {
    IDS_PER_SANDBOX = 65536,
    // More than any host has sandboxes; stops the folder of locks from growing without end.
    IDS_SLOTS_MAX = 4096,
};
#define IDS_FIRST 0x10000000U

// Reserves a free range, looking from slot *hint on; *hint moves past it. Returns a descriptor that
// holds the reservation until it is closed, or -1.
int ids_reserve(int ids_dir, unsigned *hint, uint32_t *ret_first, struct error *err);

// Maps 0..65535 of the user namespace of process pid to the range from first.
int ids_write_maps(pid_t pid, uint32_t first, struct error *err);
