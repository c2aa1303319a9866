// SPDX-License-Identifier: Apache-2.0
// Typed messages: pack, frame, launch.
#include "unit.h"

#include "wire/frame.h"
#include "wire/launch.h"
#include "wire/pack.h"

#include <string.h>

static void
packs_and_unpacks(void **state)
{
    (void)state;
    cleanup_buf struct buf b;
    buf_init(&b, 256);
    assert_int_equal(pack_u8(&b, 7), 0);
    assert_int_equal(pack_u16(&b, 0x1234), 0);
    assert_int_equal(pack_u32(&b, 0xdeadbeef), 0);
    assert_int_equal(pack_u64(&b, UINT64_MAX - 1), 0);
    assert_int_equal(pack_str(&b, "name"), 0);
    struct unpack u;
    char text[8];
    unpack_init(&u, buf_bytes(&b), buf_size(&b));
    assert_int_equal(unpack_u8(&u), 7);
    assert_int_equal(unpack_u16(&u), 0x1234);
    assert_int_equal(unpack_u32(&u), 0xdeadbeef);
    assert_true(unpack_u64(&u) == UINT64_MAX - 1);
    unpack_str(&u, text, sizeof text);
    assert_string_equal(text, "name");
    assert_true(unpack_complete(&u));
}

static void
unpacking_fails_once_and_stays_failed(void **state)
{
    (void)state;
    static const uint8_t liar[] = {0xff, 0xff, 0xff, 0x7f, 'x'};
    struct unpack u;
    size_t size;
    char text[4];
    unpack_init(&u, liar, sizeof liar);
    assert_null(unpack_bytes(&u, SIZE_MAX, &size));
    assert_int_equal(size, 0);
    assert_int_equal(unpack_u8(&u), 0);
    assert_false(unpack_complete(&u));
    static const uint8_t nul[] = {2, 0, 0, 0, 'a', 0};
    unpack_init(&u, nul, sizeof nul);
    unpack_str(&u, text, sizeof text);
    assert_false(unpack_complete(&u));
    static const uint8_t tight[] = {4, 0, 0, 0, 'a', 'b', 'c', 'd'};
    unpack_init(&u, tight, sizeof tight);
    unpack_str(&u, text, sizeof text);
    assert_false(unpack_complete(&u));
}

static void
frames_pass_byte_by_byte(void **state)
{
    (void)state;
    cleanup_buf struct buf out;
    cleanup_buf struct buf in;
    struct frame f = {.kind = FRAME_STREAM_DATA,
                      .flags = FRAME_MORE,
                      .channel = 3,
                      .number = (uint64_t)1 << 52,
                      .payload = (const uint8_t *)"aGk=",
                      .size = 4};
    struct frame got;
    size_t used = 0;
    buf_init(&out, 1024);
    buf_init(&in, 1024);
    assert_int_equal(frame_encode(&out, &f), 0);
    size_t whole = buf_size(&out);
    for (size_t i = 0; i < whole; i++) {
        assert_int_equal(frame_decode(&in, &got, &used), FRAME_STATUS_MORE);
        assert_int_equal(buf_append(&in, buf_bytes(&out) + i, 1), 0);
    }
    assert_int_equal(frame_decode(&in, &got, &used), FRAME_STATUS_OK);
    assert_int_equal(used, whole);
    assert_int_equal(got.kind, f.kind);
    assert_int_equal(got.flags, f.flags);
    assert_int_equal(got.channel, f.channel);
    assert_true(got.number == f.number);
    assert_memory_equal(got.payload, "aGk=", 4);
}

static void
frames_out_of_range_are_bad(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } breaks[] = {{2, 2}, {3, 1}, {4, 0}, {4, FRAME_KIND_MAX}, {4, 255}, {5, 0x80}, {6, 1}};
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        cleanup_buf struct buf b;
        struct frame f = {.kind = FRAME_HELLO};
        size_t used;
        buf_init(&b, 1024);
        assert_int_equal(frame_encode(&b, &f), 0);
        buf_bytes(&b)[breaks[i].at] = breaks[i].value;
        assert_int_equal(frame_decode(&b, &f, &used), FRAME_STATUS_BAD);
    }
}

static void
frames_have_a_cap(void **state)
{
    (void)state;
    static uint8_t payload[FRAME_PAYLOAD_MAX + 1];
    cleanup_buf struct buf b;
    buf_init(&b, sizeof payload + 1024);
    struct frame f = {.kind = FRAME_RESULT, .payload = payload, .size = sizeof payload};
    assert_int_equal(frame_encode(&b, &f), -1);
    f.size--;
    assert_int_equal(frame_encode(&b, &f), 0);
}

static void
launch_messages_round_trip(void **state)
{
    (void)state;
    struct launch_message m = {.type = LAUNCH_CREATE,
                               .memory_mib = 768,
                               .disk_mib = 10240,
                               .cpu_millis = 2000,
                               .pids_max = 512,
                               .cpu_usec = 99};
    struct launch_message got;
    struct error err = {0};
    cleanup_buf struct buf b;
    buf_init(&b, LAUNCH_MESSAGE_MAX);
    ident_sandbox(m.id, "ord");
    strcpy(m.detail, "words");
    assert_int_equal(launch_encode(&b, &m), 0);
    assert_int_equal(launch_decode(buf_bytes(&b), buf_size(&b), &got, &err), 0);
    assert_string_equal(got.id, m.id);
    assert_int_equal(got.memory_mib, 768);
    assert_int_equal(got.pids_max, 512);
    assert_string_equal(got.detail, "words");
    for (size_t size = 0; size < buf_size(&b); size++)
        assert_int_equal(launch_decode(buf_bytes(&b), size, &got, &err), -1);
    assert_int_equal(err.code, ERR_PROTOCOL);
    b.data[0] = LAUNCH_TYPE_MAX;
    assert_int_equal(launch_decode(buf_bytes(&b), buf_size(&b), &got, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_and_unpacks),
        cmocka_unit_test(unpacking_fails_once_and_stays_failed),
        cmocka_unit_test(frames_pass_byte_by_byte),
        cmocka_unit_test(frames_out_of_range_are_bad),
        cmocka_unit_test(frames_have_a_cap),
        cmocka_unit_test(launch_messages_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
