// SPDX-License-Identifier: Apache-2.0
#include "base/ident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char crockford[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

void
ident_random_bytes(void *out, size_t size)
{
    uint8_t *p = out;
    while (size > 0) {
        ssize_t n = getrandom(p, size, 0);
        if (n < 0)
            abort();
        p += n;
        size -= (size_t)n;
    }
}

void
ident_sandbox(char ret_id[SANDBOX_ID_SIZE + 1], const char *region)
{
    uint8_t random[20];
    ident_random_bytes(random, sizeof random);
    (void)snprintf(ret_id, 9, "sbx_%.3s_", region);
    for (size_t i = 0; i < sizeof random; i++)
        ret_id[8 + i] = crockford[random[i] & 31];
    ret_id[SANDBOX_ID_SIZE] = '\0';
}

bool
ident_is_sandbox(const char *text, size_t size)
{
    if (size != SANDBOX_ID_SIZE || memcmp(text, "sbx_", 4) != 0 || text[7] != '_')
        return false;
    for (size_t i = 4; i < 7; i++)
        if (text[i] < 'a' || text[i] > 'z')
            return false;
    for (size_t i = 8; i < size; i++)
        if (text[i] == '\0' || strchr(crockford, text[i]) == NULL)
            return false;
    return true;
}

void
ident_base62(char *out, size_t size)
{
    while (size > 0) {
        uint8_t random[64];
        ident_random_bytes(random, sizeof random);
        for (size_t i = 0; i < sizeof random && size > 0; i++) {
            if (random[i] >= 4 * 62)
                continue;
            *out++ = base62[random[i] % 62];
            size--;
        }
        explicit_bzero(random, sizeof random);
    }
}
