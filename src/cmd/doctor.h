// SPDX-License-Identifier: Apache-2.0
// Checks whether this host has what Casemate needs, by trying where that is possible, and says how
// to get what is missing. Whatever is tried happens in a child with namespaces of its own and
// leaves nothing behind.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct doctor_options {
    const char *image; // NULL: image/base.erofs beside this program
    const char *state; // where the service will keep its state; NULL: /var/lib
};

// Prints a line a check; returns how many needed things are missing.
int doctor_run(const struct doctor_options *options);
