// SPDX-License-Identifier: Apache-2.0
// Where the values of the operator's secrets come from: a file, read each time; a credential of the
// service manager's, opened before root is given up; or a command, whose answer is kept for a while
// in locked memory. Messages name the secret, never a value.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "policy/operator.h"

#include <uv.h>

enum {
    SECRET_COMMAND_MS = 10 * 1000, // then it is ended; stops creations that wait for ever
};

struct secret_source;

// The operator outlives it, and reads through it from now on.
int secret_source_new(uv_loop_t *loop, struct operator* o, struct secret_source **ret,
                      struct error *err);
// Ends its commands, and tells those who wait that there will be nothing. Its handles close as the
// loop runs on. Accepts NULL.
void secret_source_free(struct secret_source *s);

// Runs the command of the secret that was last asked for and could not be had without, if it is not
// running already. done comes once, perhaps before this returns; err NULL: ask again. False: there
// is no such secret, and done does not come. s may be NULL.
bool secret_source_fetch(struct secret_source *s, void (*done)(void *user, const struct error *err),
                         void *user);
