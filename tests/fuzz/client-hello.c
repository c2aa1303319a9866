// SPDX-License-Identifier: Apache-2.0
// Once the first bytes are known for what they are, fewer of them were not: a decision comes at one
// point, and a name in it is canonical.
#include "base/cleanup.h"
#include "egress/sniff.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_name(const struct sniff *s)
{
    char out[HOSTNAME_MAX + 1];
    size_t n;
    if (!s->has_name || s->name_size == 0 || s->kind == SNIFF_BAD)
        return;
    if (hostname_canonical(s->name, s->name_size, out, &n) != NULL || n != s->name_size ||
        memcmp(out, s->name, n) != 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sniff whole;
    struct sniff half;
    sniff_bytes(data, size, &whole);
    sniff_bytes(data, size / 2, &half);
    check_name(&whole);
    check_name(&half);
    if (whole.kind == SNIFF_MORE && half.kind != SNIFF_MORE)
        abort();
    if ((whole.kind == SNIFF_BAD) != (whole.reason != NULL))
        abort();
    return 0;
}
