// SPDX-License-Identifier: Apache-2.0
// UTF-8, RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Length (1 to 4) of the valid sequence at p, or 0 if none starts there within size bytes.
size_t utf8_sequence(const uint8_t *p, size_t size);

bool utf8_is_valid(const void *data, size_t size);
