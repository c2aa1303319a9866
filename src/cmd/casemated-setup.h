// SPDX-License-Identifier: Apache-2.0
// What casemated does as root, once, before it listens: folders, the launcher, and giving root up.
#pragma once

#include "cmd/casemated-options.h"

#include <sys/types.h>

struct setup {
    uid_t uid; // to run as
    gid_t gid;
    char state[PATH_MAX]; // absolute
    char audit_file[PATH_MAX];
    char image_bundle[PATH_MAX]; // "" if the image has none beside it
    int private_dir;             // STATE/api, ours to write; locked against a second instance
    pid_t launcher;
    int launcher_pidfd;
    int launcher_socket;
};

// Checks users, programs and files; says what to do about what is missing.
int setup_check(const struct options *o, struct setup *s, struct error *err);
// Makes the state folder and its lock.
int setup_state(const struct options *o, struct setup *s, struct error *err);
int setup_launcher(const struct options *o, struct setup *s, struct error *err);
// Gives up root for good: user, groups, capabilities, new privileges, core dumps, ptrace.
int setup_drop(const struct setup *s, struct error *err);

// STATE/dev.env, for the SDKs; written when the service is ready.
int setup_write_dev_env(const struct setup *s, const char *token, const char *url,
                        struct error *err);
void setup_remove_dev_env(const struct setup *s);
