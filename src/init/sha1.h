// SPDX-License-Identifier: Apache-2.0
// SHA-1 (FIPS 180-4), for the integrity field of Java's key stores alone, which asks for it: it
// protects nothing. Own code because casemate-init links no library of cryptography.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHA1_SIZE = 20 };

struct sha1 {
    uint32_t state[5];
    uint64_t total;
    uint8_t block[64];
};

void sha1_init(struct sha1 *s);
void sha1_update(struct sha1 *s, const void *data, size_t size);
void sha1_final(struct sha1 *s, uint8_t ret_digest[static SHA1_SIZE]);
