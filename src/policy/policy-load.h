// SPDX-License-Identifier: Apache-2.0
// Shared by what reads policies out of JSON: policy-load.c, policy-load-secret.c, operator.c.
#pragma once

#include "policy/policy-internal.h"

// Members of an object that are none of these are refused by name. known ends with NULL.
int policy_json_members(const char *what, const json_t *object, const char *const *known,
                        struct error *err);
// Calls add for each string of a list; NULL is an empty one.
int policy_json_strings(const char *what, const json_t *list,
                        int (*add)(void *user, const char *text, size_t size, struct error *err),
                        void *user, struct error *err);

// An object of secrets, or NULL. All layers are there.
int policy_load_secrets(struct policy *p, const struct policy_request *request,
                        const json_t *secrets, struct error *err);
