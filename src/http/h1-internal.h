// SPDX-License-Identifier: Apache-2.0
// Character classes shared by heads and trailers.
#pragma once

#include <stdint.h>

enum {
    H1_CHAR_TOKEN = 1 << 0,  // RFC 9110 5.6.2
    H1_CHAR_VALUE = 1 << 1,  // in a field value: visible, space, tab, obs-text
    H1_CHAR_TARGET = 1 << 2, // in a request target
    H1_CHAR_HOST = 1 << 3,   // in a host name
};

extern const uint8_t h1_chars[256];
