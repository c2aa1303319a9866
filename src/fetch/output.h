// SPDX-License-Identifier: Apache-2.0
// Frames to casemate-init (wire/fetch.h). Each is written before its function returns: a client
// that does not read stops the transfer. Ends the program if nobody reads any more.
#pragma once

#include "wire/fetch.h"

#include <stddef.h>

void output_frame(enum fetch_kind kind, const void *data, size_t size);
void output_data(const void *data, size_t size);
void output_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
