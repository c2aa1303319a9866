// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "policy/address.h"
#include "policy/rule.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

static struct rule
parse(const char *text)
{
    struct rule r;
    struct error err = {0};
    if (rule_parse(text, strlen(text), &r, &err) < 0)
        fail_msg("%s", err.msg);
    return r;
}

static void
canonical_text(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"Example.COM.", "example.com"},
        {"example.com:443", "example.com:443"},
        {"*.Example.com:8443", "*.example.com:8443"},
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1:80", "192.0.2.1:80"},
        {"10.1.0.0/16:5432", "10.1.0.0/16:5432"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"[2001:DB8::1]", "[2001:db8::1]"},
        {"[2001:db8::1]:80", "[2001:db8::1]:80"},
        {"[2001:db8::]/32:80", "[2001:db8::]/32:80"},
        {"[::]/0", "[::]/0"},
        {"[::ffff:192.0.2.1]:80", "192.0.2.1:80"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct rule r = parse(table[i][0]);
        assert_string_equal(r.text, table[i][1]);
        // What is written can be read again, to the same.
        struct rule again = parse(r.text);
        assert_string_equal(again.text, r.text);
        assert_int_equal(again.kind, r.kind);
        assert_int_equal(again.bits, r.bits);
    }
}

static void
refused(void **state)
{
    (void)state;
    static const char *const table[] = {"",
                                        "*",
                                        "*.",
                                        "*x",
                                        "*x.test",
                                        "x.*",
                                        "api.*.x",
                                        "**.x",
                                        "*.*.x",
                                        "ex*.test",
                                        "a.test:",
                                        "a.test:0",
                                        "a.test:080",
                                        "a.test:65536",
                                        "a.test:http",
                                        "a.test:80:80",
                                        "a.test:-1",
                                        "a.test/8",
                                        "0x7f.1",
                                        "2130706433",
                                        "127.1",
                                        "0177.0.0.1",
                                        "1.2.3.4/33",
                                        "1.2.3.4/",
                                        "1.2.3.4/8",
                                        "1.2.3.0/024",
                                        "2001:db8::1",
                                        "[2001:db8::1",
                                        "[1.2.3.4]:80",
                                        "[a.test]",
                                        "::1",
                                        "[fe80::1%lo]",
                                        "[::1]x",
                                        "[::1]/129",
                                        "http://a.test",
                                        "a.test/x",
                                        "user@a.test",
                                        "a test",
                                        "a_b.test",
                                        "[2001:db8::1]/32"};
    struct rule r;
    struct error err;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (rule_parse(table[i], strlen(table[i]), &r, &err) == 0)
            fail_msg("accepted: %s as %s", table[i], r.text);
        assert_int_equal(err.code, ERR_INVALID_CONFIG);
    }
    assert_int_equal(rule_parse("a.test\0.b", 9, &r, &err), -1);
}

static bool
matches(const char *rule, const char *name, uint16_t port)
{
    struct rule r = parse(rule);
    return rule_matches_name(&r, name, strlen(name), port);
}

static void
names(void **state)
{
    (void)state;
    assert_true(matches("a.test", "a.test", 1));
    assert_false(matches("a.test", "b.a.test", 1));
    assert_false(matches("a.test", "xa.test", 1));
    assert_true(matches("a.test:443", "a.test", 443));
    assert_false(matches("a.test:443", "a.test", 80));
    assert_true(matches("*.a.test", "b.a.test", 80));
    assert_true(matches("*.a.test", "c.b.a.test", 80));
    assert_false(matches("*.a.test", "a.test", 80));
    assert_false(matches("*.a.test:443", "b.a.test", 80));
    assert_false(matches("1.2.3.4", "1.2.3.4", 80));
}

static bool
matches_ip(const char *rule, const char *ip, uint16_t port)
{
    struct rule r = parse(rule);
    struct in6_addr a;
    assert_true(address_parse(ip, strlen(ip), &a));
    return rule_matches_address(&r, &a, port);
}

static void
addresses(void **state)
{
    (void)state;
    assert_true(matches_ip("1.2.3.4", "1.2.3.4", 9));
    assert_true(matches_ip("1.2.3.4", "::ffff:1.2.3.4", 9));
    assert_false(matches_ip("1.2.3.4", "1.2.3.5", 9));
    assert_false(matches_ip("1.2.3.4:80", "1.2.3.4", 443));
    assert_true(matches_ip("1.2.0.0/15", "1.3.255.255", 9));
    assert_false(matches_ip("1.2.0.0/15", "1.4.0.0", 9));
    assert_true(matches_ip("0.0.0.0/0", "8.8.8.8", 9));
    assert_false(matches_ip("0.0.0.0/0", "2001:db8::1", 9));
    assert_true(matches_ip("[::]/0", "2001:db8::1", 9));
    assert_false(matches_ip("[::]/0", "8.8.8.8", 9));
    assert_true(matches_ip("[2001:db8::]/33", "2001:db8:7fff::1", 9));
    assert_false(matches_ip("[2001:db8::]/33", "2001:db8:8000::1", 9));
    assert_false(matches_ip("a.test", "1.2.3.4", 9));
}

static bool
covers(const char *outer, const char *inner)
{
    struct rule o = parse(outer);
    struct rule i = parse(inner);
    return rule_covers(&o, &i);
}

static void
covering(void **state)
{
    (void)state;
    assert_true(covers("a.test", "a.test"));
    assert_true(covers("a.test:443", "a.test"));
    assert_true(covers("*.test", "a.test"));
    assert_true(covers("*.a.test", "*.a.test"));
    assert_true(covers("*.test", "*.a.test"));
    assert_false(covers("a.test", "*.a.test"));
    assert_false(covers("*.a.test", "a.test"));
    assert_false(covers("*.a.test", "*.test"));
    assert_false(covers("a.test:80", "a.test:443"));
    assert_false(covers("1.2.3.4", "a.test"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text), cmocka_unit_test(refused),  cmocka_unit_test(names),
        cmocka_unit_test(addresses),      cmocka_unit_test(covering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
