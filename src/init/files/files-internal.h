// SPDX-License-Identifier: Apache-2.0
// Shared by the files-*.c.
#pragma once

#include "init/files/files.h"
#include "init/identity.h"

#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

// The path parameter of this name, made absolute. On failure the call is answered and this is
// false.
bool files_take_path(struct call *call, const json_t *params, const char *name, const char *op,
                     struct app_path *ret);
// Answers with null, or with the error if r is -errno.
void files_answer(struct call *call, int r, const char *op, const char *path);

// Opens a regular file, without ever waiting for a FIFO or device to be ready. Anything else fails
// with -ENOTSUP, a directory with -EISDIR. Descriptor or -errno. The caller acts as app.
int files_open_regular(const char *path, int flags, mode_t mode);

// FileInfo of the protocol.
json_t *files_info_json(const struct statx *st);

// Decodes valid base64 and writes it. 0 or -errno; *ret_written counts in either case.
int files_write_base64(int fd, const char *text, size_t size, size_t *ret_written);

// The parameters atime and mtime. On failure the call is answered and this is false.
bool files_take_times(struct call *call, const json_t *params, struct timespec ret[2]);
