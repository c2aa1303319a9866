// SPDX-License-Identifier: Apache-2.0
// The command line of casemated.
#pragma once

#include "base/error.h"
#include "base/log.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    OPTIONS_EGRESS_HOSTS_MAX = 64,
    OPTIONS_SANDBOXES_DEFAULT = 64, // of a private instance
};

enum options_action { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_EXIT };

struct options {
    enum options_action action;
    bool dev;
    bool insecure_listen;
    const char *listen;
    const char *state;
    char image[PATH_MAX];
    char binaries[PATH_MAX]; // folder of our own executable, where the others are
    uint32_t memory_min_mib;
    const char *egress_hosts[OPTIONS_EGRESS_HOSTS_MAX + 1]; // NULL-terminated
    const char *egress_ca;                                  // or NULL
    const char *egress_config;                              // or NULL
    const char *user;
    const char *worker_user;
    const char *region;
    unsigned sandboxes_max;
    enum log_level log_level;
};

// OPTIONS_EXIT: --help or --version was answered. Strings point into argv.
int options_parse(struct options *ret, int argc, char **argv, struct error *err);
