// SPDX-License-Identifier: Apache-2.0
// What casemate-launcher decodes from an unprivileged peer must encode to the same bytes.
#include "wire/launch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_buf struct buf out = {.cap = LAUNCH_MESSAGE_MAX};
    struct launch_message m;
    struct error err;
    if (launch_decode(data, size, &m, &err) < 0)
        return 0;
    if (launch_encode(&out, &m) < 0 || buf_size(&out) != size ||
        memcmp(buf_bytes(&out), data, size) != 0)
        abort();
    return 0;
}
