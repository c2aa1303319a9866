// SPDX-License-Identifier: Apache-2.0
// Java's key stores, and the digest that they want.
#include "unit.h"

#include "base/cleanup.h"
#include "init/keystore.h"
#include "init/sha1.h"

#include <stdio.h>
#include <string.h>

// A store of one entry, alias "one", with three bytes in place of a certificate; without its
// digest.
static const uint8_t one_entry[] = {
    0xFE, 0xED, 0xFE, 0xED, 0,   0,   0,   2, 0,    0,    0,    1,                // head
    0,    0,    0,    2,                                                          // a certificate
    0,    3,    'o',  'n',  'e', 0,   0,   1, 0x8F, 0x10, 0x20, 0x30, 0x40,       // alias, date
    0,    5,    'X',  '.',  '5', '0', '9', 0, 0,    0,    3,    0x30, 0x01, 0x00, // type, bytes
};

static const char bundle_text[] =
    "a comment\n"
    "-----BEGIN CERTIFICATE-----\nMAEA\n-----END CERTIFICATE-----\n"
    "-----BEGIN CERTIFICATE-----\nMA-A\n-----END CERTIFICATE-----\n"
    "-----BEGIN CERTIFICATE-----\nMAIF\r\nAA==\n-----END CERTIFICATE-----\n"
    "-----BEGIN CERTIFICATE-----\nMAEA";

static void
hex(char *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void
sha1_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t repeat;
        const char *digest;
    } cases[] = {
        {"", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sha1 s;
        uint8_t digest[SHA1_SIZE];
        char text[2 * SHA1_SIZE + 1];
        sha1_init(&s);
        for (size_t n = 0; n < cases[i].repeat; n++)
            sha1_update(&s, cases[i].text, strlen(cases[i].text));
        sha1_final(&s, digest);
        hex(text, digest, sizeof digest);
        assert_string_equal(text, cases[i].digest);
    }
}

// The store with its digest behind it.
static size_t
seal(uint8_t *out, const uint8_t *store, size_t size)
{
    static const char salt[] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";
    struct sha1 s;
    sha1_init(&s);
    sha1_update(&s, salt, sizeof salt - 1);
    sha1_update(&s, store, size);
    memmove(out, store, size);
    sha1_final(&s, out + size);
    return size + SHA1_SIZE;
}

static size_t
count_of(const struct buf *b, const char *text)
{
    size_t count = 0;
    const uint8_t *at = buf_bytes(b);
    const uint8_t *end = at + buf_size(b);
    while ((at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL) {
        count++;
        at += strlen(text);
    }
    return count;
}

static void
extends(void **state)
{
    (void)state;
    uint8_t store[sizeof one_entry + SHA1_SIZE];
    size_t size = seal(store, one_entry, sizeof one_entry);
    cleanup_buf struct buf bundle;
    cleanup_buf struct buf first = {0};
    cleanup_buf struct buf second = {0};
    buf_init(&bundle, 4096);
    assert_int_equal(buf_append_str(&bundle, bundle_text), 0);

    // "MAEA" is there already, "MA-A" is no base64, the last block has no end.
    assert_int_equal(keystore_extend(&first, store, size, &bundle), 0);
    assert_int_equal(buf_bytes(&first)[11], 2);
    assert_int_equal(count_of(&first, "X.509"), 2);
    assert_int_equal(count_of(&first, "casemate-2"), 1);
    assert_memory_equal(buf_bytes(&first) + 12, one_entry + 12, sizeof one_entry - 12);

    // A second start: what the first one added goes, and stands again if it is still wanted.
    assert_int_equal(keystore_extend(&second, buf_bytes(&first), buf_size(&first), &bundle), 0);
    assert_int_equal(buf_size(&second), buf_size(&first));
    assert_int_equal(count_of(&second, "casemate-"), 1);
    buf_clear(&bundle);
    buf_done(&second);
    assert_int_equal(keystore_extend(&second, buf_bytes(&first), buf_size(&first), &bundle), 0);
    assert_int_equal(buf_size(&second), size);
    assert_memory_equal(buf_bytes(&second), store, size);
}

static void
refuses(void **state)
{
    (void)state;
    uint8_t store[sizeof one_entry + SHA1_SIZE + 1] = {0};
    uint8_t changed[sizeof one_entry + SHA1_SIZE + 1] = {0};
    cleanup_buf struct buf bundle;
    buf_init(&bundle, 4096);
    size_t size = seal(store, one_entry, sizeof one_entry);
    for (size_t n = 0; n < size; n++) {
        cleanup_buf struct buf out = {0};
        assert_int_equal(keystore_extend(&out, store, n, &bundle), -1);
        buf_done(&out);
        memcpy(changed, store, size);
        changed[n] ^= 1;
        assert_int_equal(keystore_extend(&out, changed, size, &bundle), -1);
    }
    // With a right digest, every length and count that is not the true one.
    for (size_t n = 0; n < sizeof one_entry; n++) {
        cleanup_buf struct buf out = {0};
        size_t cut = seal(changed, one_entry, n);
        assert_int_equal(keystore_extend(&out, changed, cut, &bundle), -1);
    }
    static const size_t fields[] = {0, 4, 7, 8, 11, 12, 15, 16, 17, 29, 30, 36, 37, 38, 39};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        cleanup_buf struct buf out = {0};
        memcpy(changed, one_entry, sizeof one_entry);
        changed[fields[i]] ^= 0x81;
        (void)seal(changed, changed, sizeof one_entry);
        assert_int_equal(keystore_extend(&out, changed, size, &bundle), -1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sha1_vectors), cmocka_unit_test(extends),
                                       cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
