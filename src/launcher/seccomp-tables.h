// SPDX-License-Identifier: Apache-2.0
// The lists behind seccomp-filter.c.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern const char *const seccomp_allowed[];
extern const size_t seccomp_allowed_count;
extern const char *const seccomp_refused[]; // EPERM
extern const size_t seccomp_refused_count;
extern const int seccomp_newer[]; // allowed, by number: libseccomp 2.5 does not know their names
extern const size_t seccomp_newer_count;
extern const uint32_t seccomp_personalities[];
extern const size_t seccomp_personalities_count;
