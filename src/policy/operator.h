// SPDX-License-Identifier: Apache-2.0
// What the operator says of everybody's egress: the ceiling that no sandbox passes, the addresses
// of other networks that may be reached, policies that sandboxes choose by name, and secrets that
// they use by name and never see. Pure: where secrets come from is its user's business.
#pragma once

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    OPERATOR_POLICIES_MAX = 64,
    OPERATOR_SECRETS_MAX = 256,
    OPERATOR_NAME_MAX = 64, // of a policy or secret
    OPERATOR_ARGUMENTS_MAX = 32,
    OPERATOR_TTL_MAX_S = 24 * 3600,
};

struct operator
{
    json_t *document; // checked
    bool needs_list;  // "requireAllowNet"
    // The value of a secret that there is; NULL: there are none to be had, as where a policy is
    // only looked at. out is a secret buf.
    int (*read)(void *user, const char *name, struct buf *out, struct error *err);
    void *user;
};

// Takes the document, an object, on success: every rule, policy and secret in it is checked, and
// members that it does not know are refused by name. ERR_INVALID_CONFIG names what is wrong.
int operator_init(struct operator* o, json_t *document, struct error *err);
void operator_done(struct operator* o);

// Their definitions, or NULL.
const json_t *operator_policy(const struct operator* o, const char *name);
const json_t *operator_secret(const struct operator* o, const char *name);
