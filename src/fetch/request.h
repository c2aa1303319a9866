// SPDX-License-Identifier: Apache-2.0
// What casemate-init asks for (wire/fetch.h).
#pragma once

#include "wire/fetch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fetch_header {
    char *name;
    char *value;
};

struct fetch_request {
    char *method;
    char *url;
    bool has_body;
    enum fetch_redirect redirect;
    uint32_t pid; // 0: none
    size_t header_count;
    struct fetch_header *headers;
};

// Reads it from fd. 0 or -1. It lives as long as the program.
int request_read(struct fetch_request *ret, int fd);

bool request_has(const struct fetch_request *r, const char *name);
const char *request_header(const struct fetch_request *r, const char *name); // NULL: none
void request_drop(struct fetch_request *r, const char *name);
