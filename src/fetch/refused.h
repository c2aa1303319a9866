// SPDX-License-Identifier: Apache-2.0
// Why the sandbox's network did not let a request through, in words: a refusal comes as an alert or
// a reset, and its reason stands in the list of refusals (docs/network.md).
#pragma once

#include <stdbool.h>
#include <stddef.h>

// To be called before the first connection: what stands in the list by then is not ours.
void refused_begin(void);
// The reason that was listed for the host and port since, into ret. patient: there must be one, and
// it may be late.
bool refused_why(const char *host, long port, bool patient, char *ret, size_t capacity);
// The message in the JSON text of a refusal that came as a response.
bool refused_message(const char *text, size_t size, char *ret, size_t capacity);
