// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "policy/hostname.h"

#include "base/cleanup.h"

#include <string.h>

#define LABEL63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz01234567890"

static void
accepted(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"a.test", "a.test"},
        {"A.TeSt.", "a.test"},
        {"localhost", "localhost"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"1.2.3.com", "1.2.3.com"},
        {"0x7f.com", "0x7f.com"},
        {"a.b0", "a.b0"},
        {"r3---sn-abc.test", "r3---sn-abc.test"},
        {LABEL63 ".test", LABEL63 ".test"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char out[HOSTNAME_MAX + 1];
        size_t size = 0;
        const char *why = hostname_canonical(table[i][0], strlen(table[i][0]), out, &size);
        if (why != NULL)
            fail_msg("%s %s", table[i][0], why);
        assert_string_equal(out, table[i][1]);
        assert_int_equal(size, strlen(table[i][1]));
    }
}

static void
refused(void **state)
{
    (void)state;
    static const char *const table[] = {"",
                                        ".",
                                        "..",
                                        "a..b",
                                        ".a",
                                        "a.test..",
                                        "-a.test",
                                        "a-.test",
                                        "a b.test",
                                        "a_b.test",
                                        "a.test/x",
                                        "a@b.test",
                                        "a.test:80",
                                        "*.a.test",
                                        "*",
                                        "b\xc3\xbc"
                                        "cher.test",
                                        "127.1",
                                        "127.0.0.1",
                                        "2130706433",
                                        "0x7f.1",
                                        "0x7f000001",
                                        "a.0x",
                                        "0177.0.0.1",
                                        "a.123",
                                        "1",
                                        "[::1]",
                                        "a%00.test",
                                        "a\\b",
                                        LABEL63 "x.test"};
    char out[HOSTNAME_MAX + 1];
    size_t size;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (hostname_canonical(table[i], strlen(table[i]), out, &size) == NULL)
            fail_msg("accepted: %s", table[i]);
    assert_non_null(hostname_canonical("evil.test\0.pkg.test", 19, out, &size));
}

static void
length_is_bounded(void **state)
{
    (void)state;
    char text[300];
    char out[HOSTNAME_MAX + 1];
    size_t size;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 50 == 49 ? '.' : 'a';
    assert_null(hostname_canonical(text, 253, out, &size));
    text[253] = '.';
    assert_null(hostname_canonical(text, 254, out, &size));
    assert_int_equal(size, 253);
    text[253] = 'a';
    assert_non_null(hostname_canonical(text, 254, out, &size));
}

static void
below(void **state)
{
    (void)state;
    assert_true(hostname_is_below("a.pkg.test", 10, "pkg.test", 8));
    assert_true(hostname_is_below("a.b.pkg.test", 12, "pkg.test", 8));
    assert_false(hostname_is_below("pkg.test", 8, "pkg.test", 8));
    assert_false(hostname_is_below(".pkg.test", 9, "pkg.test", 8));
    assert_false(hostname_is_below("evilpkg.test", 12, "pkg.test", 8));
    assert_false(hostname_is_below("pkg.test.evil.test", 18, "pkg.test", 8));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(length_is_bounded),
        cmocka_unit_test(below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
