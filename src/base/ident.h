// SPDX-License-Identifier: Apache-2.0
// Random identifiers from the kernel's generator (getrandom(2)).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SANDBOX_ID_SIZE = 4 + 4 + 20 }; // "sbx_", "ord_", 20 characters

void ident_random_bytes(void *out, size_t size); // never fails; ends the process if the kernel does

// Sandbox id `sbx_<region>_<20 of 0-9a-hjkmnp-z>`, 100 random bits (Crockford base32 digits).
// region is three letters a-z.
void ident_sandbox(char ret_id[SANDBOX_ID_SIZE + 1], const char *region);
bool ident_is_sandbox(const char *text, size_t size);

// size characters of [0-9A-Za-z], 5.95 bits each, without modulo bias; no NUL is written.
void ident_base62(char *out, size_t size);
