// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "mask/decode.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { ZLIB = MAX_WBITS, GZIP = MAX_WBITS + 16, BARE = -MAX_WBITS, OUT_CAP = 64 * 1024 * 1024 };

static void
compress_to(struct buf *out, int bits, const uint8_t *data, size_t size)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uLong room = deflateBound(&z, size);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = buf_reserve(out, room);
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(out, room - z.avail_out);
    deflateEnd(&z);
}

// Feeds all in pieces of this size. Returns whether it is complete; -1: broken.
static int
decode_all(enum decode_coding coding, const struct buf *in, size_t piece, struct buf *out)
{
    struct decode *d = decode_new(coding);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < buf_size(in); at += piece) {
        size_t left = buf_size(in) - at < piece ? buf_size(in) - at : piece;
        size_t done = 0;
        size_t used;
        struct h1_span plain;
        do {
            rc = decode_feed(d, buf_bytes(in) + at + done, left - done, &used, &plain);
            done += rc == 0 ? used : 0;
            if (rc == 0)
                assert_int_equal(buf_append(out, plain.data, plain.size), 0);
        } while (rc == 0 && (used > 0 || plain.size > 0));
        if (rc == 0)
            assert_int_equal(done, left);
    }
    if (rc != 0)
        assert_non_null(decode_problem(d));
    rc = rc != 0 ? -1 : decode_is_complete(d) ? 1 : 0;
    decode_free(d);
    return rc;
}

static void
fill(uint8_t *data, size_t size)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        data[i] = (uint8_t)("abcdefgh"[seed >> 28 & 7]);
    }
}

static void
test_codings(void **state)
{
    (void)state;
    static const struct {
        enum decode_coding coding;
        int bits;
    } kinds[] = {{DECODE_GZIP, GZIP}, {DECODE_DEFLATE, ZLIB}, {DECODE_DEFLATE, BARE}};
    static const size_t pieces[] = {1, 2, 7, 1000, 1 << 20};
    static uint8_t text[200 * 1000];
    fill(text, sizeof text);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
            struct buf in;
            struct buf out;
            buf_init(&in, OUT_CAP);
            buf_init(&out, OUT_CAP);
            compress_to(&in, kinds[i].bits, text, sizeof text);
            assert_int_equal(decode_all(kinds[i].coding, &in, pieces[k], &out), 1);
            assert_int_equal(buf_size(&out), sizeof text);
            assert_memory_equal(buf_bytes(&out), text, sizeof text);
            buf_done(&in);
            buf_done(&out);
        }
    }
}

static void
test_members(void **state)
{
    (void)state;
    struct buf in;
    struct buf out;
    buf_init(&in, OUT_CAP);
    buf_init(&out, OUT_CAP);
    compress_to(&in, GZIP, (const uint8_t *)"one ", 4);
    compress_to(&in, GZIP, (const uint8_t *)"", 0);
    compress_to(&in, GZIP, (const uint8_t *)"two", 3);
    assert_int_equal(decode_all(DECODE_GZIP, &in, 3, &out), 1);
    assert_int_equal(buf_size(&out), 7);
    assert_memory_equal(buf_bytes(&out), "one two", 7);
    buf_append_str(&in, "x");
    assert_int_equal(decode_all(DECODE_GZIP, &in, 4096, &out), 0); // no header yet
    buf_append_str(&in, "yz");
    assert_int_equal(decode_all(DECODE_GZIP, &in, 4096, &out), -1);
    buf_done(&in);
    buf_done(&out);
}

static void
test_broken(void **state)
{
    (void)state;
    static uint8_t text[5000];
    struct buf in;
    struct buf out;
    buf_init(&in, OUT_CAP);
    buf_init(&out, OUT_CAP);
    assert_int_equal(decode_all(DECODE_GZIP, &in, 1, &out), 1); // an empty body
    fill(text, sizeof text);
    compress_to(&in, GZIP, text, sizeof text);
    size_t whole = buf_size(&in);
    for (size_t cut = 1; cut < whole; cut += 37) {
        struct buf part = in;
        part.tail = part.head + cut;
        assert_int_equal(decode_all(DECODE_GZIP, &part, 100, &out), 0);
    }
    buf_bytes(&in)[whole - 5] ^= 1; // of the checksum
    assert_int_equal(decode_all(DECODE_GZIP, &in, 100, &out), -1);
    buf_clear(&in);
    compress_to(&in, ZLIB, text, sizeof text);
    assert_int_equal(decode_all(DECODE_GZIP, &in, 100, &out), -1);
    buf_append_str(&in, "more");
    assert_int_equal(decode_all(DECODE_DEFLATE, &in, 100, &out), -1);
    buf_done(&in);
    buf_done(&out);
}

// Case 78. What is allowed stays bounded whatever the pieces.
static void
test_bomb(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 1000, 1 << 20};
    size_t size = 50 * 1024 * 1024;
    uint8_t *zeros = calloc(1, size);
    struct buf in;
    buf_init(&in, OUT_CAP);
    compress_to(&in, GZIP, zeros, size);
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct buf out;
        buf_init(&out, OUT_CAP);
        assert_int_equal(decode_all(DECODE_GZIP, &in, pieces[i], &out), -1);
        assert_true(buf_size(&out) > DECODE_ALLOWANCE / 2);
        assert_true(buf_size(&out) <= DECODE_AHEAD_MAX);
        buf_done(&out);
    }
    // Less than the allowance is no bomb, whatever its ratio.
    struct buf out;
    buf_init(&out, OUT_CAP);
    buf_clear(&in);
    compress_to(&in, GZIP, zeros, DECODE_ALLOWANCE);
    assert_int_equal(decode_all(DECODE_GZIP, &in, 100, &out), 1);
    assert_int_equal(buf_size(&out), DECODE_ALLOWANCE);
    buf_done(&out);
    buf_done(&in);
    free(zeros);
}

static enum decode_coding
coding_of(const char *text)
{
    return decode_coding_of((struct h1_span){text, strlen(text)});
}

static void
test_names(void **state)
{
    (void)state;
    assert_int_equal(coding_of("identity"), DECODE_IDENTITY);
    assert_int_equal(coding_of("GZip"), DECODE_GZIP);
    assert_int_equal(coding_of("x-gzip"), DECODE_GZIP);
    assert_int_equal(coding_of("deflate"), DECODE_DEFLATE);
    assert_int_equal(coding_of("br"), DECODE_UNKNOWN);
    assert_int_equal(coding_of("zstd"), DECODE_UNKNOWN);
    assert_int_equal(coding_of("gzip, gzip"), DECODE_UNKNOWN);
    assert_int_equal(coding_of("gzip,"), DECODE_UNKNOWN);
    assert_int_equal(coding_of(""), DECODE_UNKNOWN);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codings), cmocka_unit_test(test_members),
        cmocka_unit_test(test_broken),  cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
