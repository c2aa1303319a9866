// SPDX-License-Identifier: Apache-2.0
// What decodes is a policy that encodes to bytes which decode again.
#include "egress/policy.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct policy *p;
    if (policy_decode(data, size, &p, &err) < 0)
        return 0;
    cleanup_buf struct buf out;
    buf_init_secret(&out, POLICY_ENCODED_MAX);
    struct policy *again;
    if (policy_encode(p, &out, &err) < 0 ||
        policy_decode(buf_bytes(&out), buf_size(&out), &again, &err) < 0)
        abort();
    if (policy_secret_count(p) != policy_secret_count(again))
        abort();
    policy_free(again);
    policy_free(p);
    return 0;
}
