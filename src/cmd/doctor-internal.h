// SPDX-License-Identifier: Apache-2.0
// Shared by the doctor's files only.
#pragma once

#include "cmd/doctor.h"

enum doctor_result {
    DOCTOR_OK,
    DOCTOR_MISSING,
    DOCTOR_NOTE, // worth knowing; nothing is wrong
    DOCTOR_RESULT_MAX
};

enum { DOCTOR_DETAIL_MAX = 200 };

struct doctor_check {
    const char *name;
    bool needs_root;
    enum doctor_result (*run)(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX]);
    const char *hint; // what to do when it is missing
};

// Runs try in a child that may do to itself what it likes; 0, or the positive errno that it
// returned.
int doctor_try(int (*try_it)(const void *argument), const void *argument);

#define DOCTOR_KERNEL_CHECKS 11
extern const struct doctor_check doctor_kernel_checks[DOCTOR_KERNEL_CHECKS];
