// SPDX-License-Identifier: Apache-2.0
// Writing JSON text (RFC 8259) straight into a buf, for places too small or too hot for a document.
#pragma once

#include "base/buf.h"

// Appends text as a quoted, escaped JSON string. Bytes that are not valid UTF-8 become U+FFFD.
// Returns 0, or -1 when the buffer is full (it may then hold a part).
int json_text_string(struct buf *out, const char *text, size_t size);
