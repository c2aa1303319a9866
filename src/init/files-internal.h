// SPDX-License-Identifier: Apache-2.0
// Shared by the files-*.c.
#pragma once

#include "init/files.h"
#include "init/identity.h"

#include <sys/types.h>

// The path parameter of this name, made absolute. On failure the call is answered and this is
// false.
bool files_take_path(struct call *call, const json_t *params, const char *name, const char *op,
                     struct app_path *ret);
// Answers with null, or with the error if r is -errno.
void files_answer(struct call *call, int r, const char *op, const char *path);

// Opens a regular file, without ever waiting for a FIFO or device to be ready. Anything else fails
// with -ENOTSUP, a directory with -EISDIR. Descriptor or -errno. The caller acts as app.
int files_open_regular(const char *path, int flags, mode_t mode);
