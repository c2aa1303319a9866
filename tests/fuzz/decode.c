// SPDX-License-Identifier: Apache-2.0
// Coded bytes decode to the same however they are cut, and to no more than is allowed. The first
// byte says which coding it is, the second where to cut.
#include "mask/decode.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

enum { OUT_MAX = 64 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Returns 1 when what came may end there, -1 when it is broken.
static int
decode_all(enum decode_coding coding, const uint8_t *data, size_t size, size_t piece,
           struct buf *out)
{
    struct decode *d = decode_new(coding);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < size;) {
        size_t end = size - at < piece ? size : at + piece;
        size_t used;
        struct h1_span plain = {0};
        do {
            rc = decode_feed(d, data + at, end - at, &used, &plain);
            if (rc != 0)
                break;
            at += used;
            if (buf_append(out, plain.data, plain.size) != 0)
                abort();
        } while (used > 0 || plain.size > 0);
        if (rc == 0 && at != end)
            abort();
    }
    if ((rc != 0) != (decode_problem(d) != NULL))
        abort();
    rc = rc != 0 ? -1 : decode_is_complete(d);
    decode_free(d);
    return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum decode_coding coding = (data[0] & 1) != 0 ? DECODE_GZIP : DECODE_DEFLATE;
    cleanup_buf struct buf whole;
    cleanup_buf struct buf cut;
    buf_init(&whole, OUT_MAX);
    buf_init(&cut, OUT_MAX);
    int a = decode_all(coding, data + 2, size - 2, size, &whole);
    int b = decode_all(coding, data + 2, size - 2, 1 + (size_t)data[1], &cut);
    if (a != b || buf_size(&whole) > DECODE_ALLOWANCE + DECODE_RATIO_MAX * size)
        abort();
    if (a >= 0 &&
        (buf_size(&whole) != buf_size(&cut) ||
         (buf_size(&cut) > 0 && memcmp(buf_bytes(&whole), buf_bytes(&cut), buf_size(&cut)) != 0)))
        abort();
    return 0;
}
