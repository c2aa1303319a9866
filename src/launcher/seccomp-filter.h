// SPDX-License-Identifier: Apache-2.0
// What system calls a sandbox may make (seccomp(2)). Two filters are stacked, the stricter verdict
// wins: one over the call's number (an allow-list: what it does not name is ENOSYS, what it
// refuses by name EPERM), one over arguments (what it does not name passes).
//
// Both are built with libseccomp once, at start-up, and loaded raw in each sandbox.
#pragma once

#include "base/error.h"

#include <linux/filter.h>

// In the order of loading: the one over arguments forbids to load another.
enum seccomp_stage { SECCOMP_STAGE_NUMBERS, SECCOMP_STAGE_ARGUMENTS, SECCOMP_STAGE_MAX };

struct seccomp_filter {
    struct sock_fprog stages[SECCOMP_STAGE_MAX];
};

int seccomp_filter_build(struct seccomp_filter *ret, struct error *err);
void seccomp_filter_done(struct seccomp_filter *f); // accepts a zeroed one
// Needs CAP_SYS_ADMIN in the caller's user namespace: no_new_privs stays off, sudo works inside.
int seccomp_filter_load(const struct seccomp_filter *f, struct error *err);
