// SPDX-License-Identifier: Apache-2.0
// What decodes must encode to the same bytes.
#include "wire/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_buf struct buf in = {.cap = 1 << 20};
    cleanup_buf struct buf out = {.cap = 1 << 20};
    struct frame f;
    size_t used;
    if (buf_append(&in, data, size) < 0)
        return 0;
    while (frame_decode(&in, &f, &used) == FRAME_STATUS_OK) {
        buf_clear(&out);
        if (frame_encode(&out, &f) < 0 || buf_size(&out) != used ||
            memcmp(buf_bytes(&out), buf_bytes(&in), used) != 0)
            abort();
        buf_consume(&in, used);
    }
    return 0;
}
