// SPDX-License-Identifier: Apache-2.0
// Host names: bytes with a length, in one canonical form, so that comparing them is comparing
// bytes.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
    HOSTNAME_MAX = 253, // RFC 1035 2.3.4, without the trailing dot
    HOSTNAME_LABEL_MAX = 63,
};

// Writes the canonical form of text into out, terminated: lower case, one trailing dot dropped.
// Returns NULL, or static text that says why this is no host name: letters, digits and hyphens only
// (RFC 1123 2.1; international names in their "xn--" form), and the last label not numeric, which
// would be a spelling of an IPv4 address ("127.1", "0x7f000001").
const char *hostname_canonical(const char *text, size_t size, char out[HOSTNAME_MAX + 1],
                               size_t *ret_size);

// True if name ends in ".suffix", at any depth. Both canonical.
bool hostname_is_below(const char *name, size_t size, const char *suffix, size_t suffix_size);
