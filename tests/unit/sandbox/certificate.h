// SPDX-License-Identifier: Apache-2.0
// Certificates for the tests of this folder.
#pragma once

#include <stddef.h>

// Writes one that signs itself as PEM, terminated; constraints as in "critical,CA:true".
void make_certificate(char *pem, size_t size, const char *name, const char *constraints);
