// SPDX-License-Identifier: Apache-2.0
// Error objects of the protocol: what a call that failed answers, and what ends a stream that
// failed. Each has all nine members. The caller owns the result; it is never NULL.
#pragma once

#include <jansson.h>

// code may be NULL.
json_t *error_object(const char *constructor, const char *code, const char *message);

// For a positive errno: "<text> (os error <n>): <op> '<path>'", or with path2 "… '<path>' ->
// '<path2>'". path may be NULL: then the message ends with op.
json_t *error_object_errno(int sys, const char *op, const char *path, const char *path2);

json_t *error_object_aborted(void);

// Text that may not be UTF-8 as a JSON string: what is not becomes U+FFFD.
json_t *error_json_text(const char *text, size_t size);

// Constructor and code for an errno: "NotFound", "ENOENT".
const char *error_constructor(int sys);
const char *error_code_name(int sys);
