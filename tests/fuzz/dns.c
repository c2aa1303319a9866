// SPDX-License-Identifier: Apache-2.0
// Whatever comes, what goes back is an answer with the question's id, or nothing.
#include "base/cleanup.h"
#include "egress/resolver.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct names *names;
    static int64_t now;
    struct resolver_answer a;
    if (names == NULL)
        names_new(&names);
    enum resolver_verdict v = resolver_reply(names, data, size, now += 1000, &a);
    if (v == RESOLVER_DROP)
        return 0;
    if (a.size < 12 || a.size > sizeof a.data || memcmp(a.data, data, 2) != 0 ||
        (a.data[2] & 0x80) == 0)
        abort();
    if ((v == RESOLVER_DENIED) != (a.reason != NULL))
        abort();
    return 0;
}
