// SPDX-License-Identifier: Apache-2.0
// Bearer tokens. Only their SHA-256 is kept, and every check compares with every hash in constant
// time.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    AUTH_TOKENS_MAX = 64,
    AUTH_TOKEN_TEXT_MAX = 512,    // longer ones are not hashed: stops work before authentication
    AUTH_DEV_TOKEN_SIZE = 4 + 40, // "ddo_" and 40 characters of base 62
};

struct auth;

struct auth *auth_new(void);
void auth_free(struct auth *a); // accepts NULL

int auth_add_token(struct auth *a, const char *token, size_t size, struct error *err);
// Makes a token of an organisation for a private instance, and adds it.
int auth_make_dev_token(struct auth *a, char ret_token[AUTH_DEV_TOKEN_SIZE + 1], struct error *err);

// value is an Authorization field's value, NULL if the request has none (or several). 0, or -1 with
// ERR_INVALID_TOKEN.
int auth_check(const struct auth *a, const char *value, size_t size, struct error *err);
