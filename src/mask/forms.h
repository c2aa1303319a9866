// SPDX-License-Identifier: Apache-2.0
// How encoders write a text: hexadecimal, URLs, JSON, HTML, and within base64. What people's
// libraries do to a text that passes through them, each written out whole, since redaction must
// find it without decoding what it looks at. Two encodings on top of each other, encodings in parts
// ("\u0073k-..."), line breaks within base64 and all that is no encoding (reversed, ciphered) are
// not known here.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
    FORMS_BASE64 = 6,        // three alignments, for each alphabet
    FORMS_CHARACTER_MAX = 6, // bytes that one byte of the text becomes: "&quot;"
};

// Forms that write character by character; the text itself is not among them.
size_t forms_count(void);
// Form i of a text; out has room for FORMS_CHARACTER_MAX times size. Returns what was written.
size_t forms_write(size_t i, char *out, const char *text, size_t size);
// The same for a text of characters that need no escapes, such as a placeholder, so that it takes
// target bytes (no more than room) where escaping some of them can do that; where it cannot, as
// forms_write does.
size_t forms_write_sized(size_t i, char *out, const char *text, size_t size, size_t target);

// What text becomes within base64 of anything that holds it (for i below FORMS_BASE64), less the
// characters that it shares with its neighbours. out has room for forms_base64_room(size);
// *ret_from and the result say where in out it lies.
size_t forms_base64_room(size_t size);
size_t forms_write_base64(size_t i, char *out, const char *text, size_t size, size_t *ret_from);
// How many characters of that form it takes to know the first count bytes of the text, at least.
size_t forms_base64_covers(size_t i, size_t count);
