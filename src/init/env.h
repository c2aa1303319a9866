// SPDX-License-Identifier: Apache-2.0
// Environment variables: those of the sandbox, which every process starts with, and those of one
// process to be.
#pragma once

#include "base/cleanup.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    // All names and values together: more than the kernel passes to a program anyway, and a bound
    // on what
    // clients store in init.
    ENV_SIZE_MAX = 2 * 1024 * 1024,
};

struct env {
    char **entries; // NAME=value, ended by NULL: as execve(2) wants them
    size_t count;
    size_t capacity;
    size_t size;
};

void env_init(struct env *e);
void env_copy(struct env *e, const struct env *from); // e is not initialised
void env_done(struct env *e);
#define cleanup_env __attribute__((cleanup(env_done)))

void env_set_defaults(struct env *e); // what every sandbox has

bool env_name_is_valid(const char *name); // not empty, without "="
// 0 or -E2BIG.
int env_set(struct env *e, const char *name, const char *value);
void env_unset(struct env *e, const char *name);
const char *env_get(const struct env *e, const char *name); // NULL if unset
json_t *env_to_json(const struct env *e);
