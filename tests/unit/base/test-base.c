// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/base64.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/ident.h"
#include "base/json-text.h"
#include "base/map.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

static void
base64_follows_rfc4648(void **state)
{
    (void)state;
    static const struct {
        const char *plain;
        const char *text;
    } vectors[] = {{"", ""},
                   {"f", "Zg=="},
                   {"fo", "Zm8="},
                   {"foo", "Zm9v"},
                   {"foob", "Zm9vYg=="},
                   {"fooba", "Zm9vYmE="},
                   {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        char text[16];
        uint8_t plain[16];
        size_t size = strlen(vectors[i].plain);
        size_t encoded = base64_encoded_size(size);
        base64_encode(text, (const uint8_t *)vectors[i].plain, size);
        assert_int_equal(encoded, strlen(vectors[i].text));
        assert_memory_equal(text, vectors[i].text, encoded);
        assert_true(base64_is_valid(text, encoded));
        assert_int_equal(base64_decode(plain, text, encoded), size);
        assert_memory_equal(plain, vectors[i].plain, size);
    }
}

// Each byte in each place of a long text: blocks, whole groups and the end are checked differently.
static void
base64_knows_its_alphabet(void **state)
{
    enum { SIZE = 132 };
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (void)state;
    for (size_t at = 0; at < SIZE; at++)
        for (int c = 0; c < 256; c++) {
            char text[SIZE];
            uint8_t out[SIZE + 3];
            memset(text, 'A', sizeof text);
            text[at] = (char)c;
            const char *digit = c != 0 ? strchr(digits, c) : NULL;
            bool padding = c == '=' && at == SIZE - 1;
            bool valid = digit != NULL || padding;
            assert_int_equal(base64_is_valid(text, sizeof text), valid);
            assert_int_equal(base64_decode(out, text, sizeof text), padding ? SIZE / 4 * 3 - 1
                                                                    : valid ? SIZE / 4 * 3
                                                                            : -1);
            if (digit == NULL)
                continue;
            char again[SIZE];
            base64_encode(again, out, SIZE / 4 * 3);
            assert_memory_equal(again, text, sizeof text);
        }
}

static void
base64_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",  "=g==", "Zm=v", "Zm9v=",   "Z===",
                                      "Zh==", "Zm9=", "Zm 9", "Zm9-", "====", "Zg==Zg=="};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint8_t out[16];
        assert_false(base64_is_valid(bad[i], strlen(bad[i])));
        assert_int_equal(base64_decode(out, bad[i], strlen(bad[i])), -1);
    }
    uint8_t out[4];
    assert_int_equal(base64_decode_unpadded(out, "Zg", 2), 1);
    assert_int_equal(base64_decode_unpadded(out, "Z", 1), -1);
}

static void
buf_keeps_its_cap(void **state)
{
    (void)state;
    cleanup_buf struct buf b;
    buf_init(&b, 1000);
    char block[300];
    memset(block, 'a', sizeof block);
    for (int i = 0; i < 3; i++)
        assert_int_equal(buf_append(&b, block, sizeof block), 0);
    assert_int_equal(buf_append(&b, block, sizeof block), -1);
    assert_int_equal(buf_size(&b), 900);
    buf_consume(&b, 850);
    for (int i = 0; i < 3; i++)
        assert_int_equal(buf_append(&b, block, sizeof block), 0);
    assert_int_equal(buf_size(&b), 950);
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_clear(&b);
    assert_int_equal(buf_append_fmt(&b, "%d-%s", 12, "x"), 0);
    assert_memory_equal(buf_bytes(&b), "12-x", 4);
}

// Texts that fit the room there is, that make it grow, that end at the cap, and that pass it.
static void
buf_formats_into_what_room_there_is(void **state)
{
    (void)state;
    enum { CAP = 1000, TEXT = 7 }; // "+ 12345" and its terminator are 8
    cleanup_buf struct buf b;
    buf_init(&b, CAP);
    for (size_t i = 0; i < CAP / TEXT; i++) {
        assert_int_equal(buf_append_fmt(&b, "+ %05zu", i), 0);
        char expected[TEXT + 1];
        (void)snprintf(expected, sizeof expected, "+ %05zu", i);
        assert_int_equal(buf_size(&b), (i + 1) * TEXT);
        assert_memory_equal(buf_bytes(&b) + i * TEXT, expected, TEXT);
    }
    assert_int_equal(buf_append_fmt(&b, "+ %05d", 1), -1);
    assert_int_equal(buf_size(&b), CAP / TEXT * TEXT);
    buf_clear(&b);
    assert_int_equal(buf_append_decimal(&b, 0), 0);
    assert_int_equal(buf_append_decimal(&b, UINT64_MAX), 0);
    assert_memory_equal(buf_bytes(&b), "018446744073709551615", 21);
    assert_int_equal(buf_size(&b), 21);
}

static void
secret_buf_wipes_what_is_consumed(void **state)
{
    (void)state;
    cleanup_buf struct buf b;
    buf_init_secret(&b, 100);
    assert_int_equal(buf_append_str(&b, "secret!"), 0);
    const uint8_t *at = buf_bytes(&b);
    buf_consume(&b, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(at[i], 0);
}

static void
error_wraps_and_keeps_its_code(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set_errno(&err, EPERM, "mount %s", "overlay"), -1);
    assert_int_equal(error_wrap(&err, "build %d", 3), -1);
    assert_string_equal(err.msg, "build 3: mount overlay: Operation not permitted");
    assert_int_equal(err.sys, EPERM);
    assert_int_equal(error_http_status(&err), 500);
    (void)error_set(&err, ERR_INVALID_TOKEN, "no");
    assert_int_equal(error_http_status(&err), 401);
    assert_string_equal(error_code_text(&err), "INVALID_TOKEN");
    char text[2 * ERROR_MESSAGE_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)error_set(&err, ERR_INTERNAL, "%s", text);
    (void)error_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.msg), ERROR_MESSAGE_MAX - 1);
}

static void
ids_have_their_form(void **state)
{
    (void)state;
    char id[SANDBOX_ID_SIZE + 1];
    for (int i = 0; i < 100; i++) {
        ident_sandbox(id, "ord");
        assert_true(ident_is_sandbox(id, strlen(id)));
    }
    assert_false(ident_is_sandbox(id, strlen(id) - 1));
    id[10] = 'l';
    assert_false(ident_is_sandbox(id, strlen(id)));
    assert_false(ident_is_sandbox("../../etc/passwd____________", 28));
}

static void
json_text_is_escaped(void **state)
{
    (void)state;
    cleanup_buf struct buf b;
    buf_init(&b, 256);
    assert_int_equal(json_text_string(&b, "a\"\\\n\x01\xc3\xa9\xff\0z", 10), 0);
    const char *want = "\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\\u0000z\"";
    assert_int_equal(buf_size(&b), strlen(want));
    assert_memory_equal(buf_bytes(&b), want, strlen(want));
}

static void
map_survives_churn(void **state)
{
    (void)state;
    struct map m;
    int mark;
    map_init(&m, 1000);
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t k = 0; k < 1000; k++)
            assert_int_equal(map_put(&m, k * (round + 1), &mark), 0);
        assert_int_equal(map_put(&m, UINT64_MAX, &mark), -1);
        for (uint64_t k = 0; k < 1000; k += 2)
            assert_ptr_equal(map_remove(&m, k * (round + 1)), &mark);
        for (uint64_t k = 0; k < 1000; k++)
            assert_int_equal(map_get(&m, k * (round + 1)) != NULL, k % 2 == 1);
        assert_ptr_equal(map_any(&m), &mark);
        for (uint64_t k = 1; k < 1000; k += 2)
            assert_non_null(map_remove(&m, k * (round + 1)));
        assert_null(map_any(&m));
        assert_int_equal(m.count, 0);
    }
    map_done(&m);
}

static void
memfd_is_sealed_or_refused(void **state)
{
    (void)state;
    void *data;
    size_t size;
    cleanup_fd int fd = fd_memfd_sealed("test", "policy", 6);
    assert_true(fd >= 0);
    assert_true(write(fd, "x", 1) < 0);
    assert_int_equal(fd_map_sealed(fd, 100, &data, &size), 0);
    assert_memory_equal(data, "policy", 6);
    (void)munmap(data, size);
    assert_int_equal(fd_map_sealed(fd, 5, &data, &size), -EFBIG);
    cleanup_fd int open_fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(fd_write_all(open_fd, "x", 1), 0);
    assert_int_equal(fd_map_sealed(open_fd, 100, &data, &size), -EPERM);
}

static void
messages_carry_descriptors(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(fd_socketpair(SOCK_SEQPACKET, pair), 0);
    cleanup_fd int a = pair[0];
    cleanup_fd int b = pair[1];
    int fds[FD_PASS_MAX];
    size_t count = 0;
    char data[8];
    assert_int_equal(fd_send_msg(a, "hello", 5, pair, 2), 0);
    assert_int_equal(fd_recv_msg(b, data, sizeof data, fds, &count), 5);
    assert_int_equal(count, 2);
    (void)close(fds[0]);
    (void)close(fds[1]);
    assert_int_equal(fd_send_msg(a, "too long for it", 15, pair, 2), 0);
    assert_int_equal(fd_recv_msg(b, data, sizeof data, fds, &count), -EMSGSIZE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_follows_rfc4648),
        cmocka_unit_test(base64_knows_its_alphabet),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(buf_keeps_its_cap),
        cmocka_unit_test(buf_formats_into_what_room_there_is),
        cmocka_unit_test(secret_buf_wipes_what_is_consumed),
        cmocka_unit_test(error_wraps_and_keeps_its_code),
        cmocka_unit_test(ids_have_their_form),
        cmocka_unit_test(json_text_is_escaped),
        cmocka_unit_test(map_survives_churn),
        cmocka_unit_test(memfd_is_sealed_or_refused),
        cmocka_unit_test(messages_carry_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
