// SPDX-License-Identifier: Apache-2.0
// Placeholders. The check characters tell a placeholder, also another sandbox's, from text that
// happens to begin alike; they prove nothing and need no key.
#include "policy/policy-internal.h"

#include "base/ident.h"

#include <string.h>

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

enum {
    RANDOM_AT = POLICY_PLACEHOLDER_PREFIX_SIZE,
    CHECK_AT = RANDOM_AT + POLICY_PLACEHOLDER_RANDOM,
};
_Static_assert(CHECK_AT + POLICY_PLACEHOLDER_CHECK == POLICY_PLACEHOLDER_MIN, "parts add up");
_Static_assert(sizeof POLICY_PLACEHOLDER_PREFIX - 1 == POLICY_PLACEHOLDER_PREFIX_SIZE, "prefix");

// CRC-32 (IEEE 802.3), bit by bit: 31 bytes, a few times in a connection.
static uint32_t
crc32_of(const char *text, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint8_t)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static void
write_check(const char *random, char out[POLICY_PLACEHOLDER_CHECK])
{
    uint32_t v = crc32_of(random, POLICY_PLACEHOLDER_RANDOM);
    for (int i = 0; i < POLICY_PLACEHOLDER_CHECK; i++) {
        out[i] = digits[v % (sizeof digits - 1)];
        v /= sizeof digits - 1;
    }
}

size_t
policy_placeholder_size(size_t value_size, size_t prefix_size)
{
    size_t min = prefix_size + POLICY_PLACEHOLDER_MIN;
    return value_size > min ? value_size : min;
}

void
policy_placeholder_make(char *out, size_t size)
{
    memcpy(out, POLICY_PLACEHOLDER_PREFIX, POLICY_PLACEHOLDER_PREFIX_SIZE);
    ident_base62(out + RANDOM_AT, size - RANDOM_AT);
    write_check(out + RANDOM_AT, out + CHECK_AT);
}

bool
policy_placeholder_is_wellformed(const char *text, size_t size)
{
    if (size < POLICY_PLACEHOLDER_MIN ||
        memcmp(text, POLICY_PLACEHOLDER_PREFIX, POLICY_PLACEHOLDER_PREFIX_SIZE) != 0)
        return false;
    for (size_t i = RANDOM_AT; i < CHECK_AT; i++)
        if (text[i] == '\0' || strchr(digits, text[i]) == NULL)
            return false;
    char check[POLICY_PLACEHOLDER_CHECK];
    write_check(text + RANDOM_AT, check);
    return memcmp(text + CHECK_AT, check, sizeof check) == 0;
}
