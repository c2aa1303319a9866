// SPDX-License-Identifier: Apache-2.0
// Between fetch.c (the life of a call), fetch-headers.c (requests and responses as JSON and as
// bytes) and fetch-program.c (the program).
#pragma once

#include "base/buf.h"
#include "init/fetch/fetch.h"
#include "wire/fetch.h"

struct fetches {
    int program; // given by the launcher
    int own;     // this sandbox's copy of it, -1 until the first call
    struct list all;
    size_t count;
};

// The program, to be executed. -errno.
int fetch_program(struct fetches *fs);

// Writes the request, behind its size. NULL, or what is wrong with it, for the caller to be told.
const char *fetch_request_write(struct buf *out, const json_t *params, bool has_body);
// The payload of FETCH_HEAD as the result of the call. NULL: it makes no sense, or is too large.
json_t *fetch_head_json(const uint8_t *data, size_t size, bool *ret_has_body);
