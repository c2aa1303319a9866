// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "egress/names.h"
#include "policy/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool
assign(struct names *n, const char *name, int64_t now, struct in6_addr *v4, struct in6_addr *v6)
{
    struct in_addr a;
    struct in6_addr b;
    if (!names_assign(n, name, strlen(name), now, &a, &b))
        return false;
    *v4 = address_map_v4(a);
    *v6 = b;
    return true;
}

static void
addresses_are_stable_and_found_again(void **state)
{
    (void)state;
    struct names *n;
    names_new(&n);
    struct in6_addr v4;
    struct in6_addr v6;
    struct in6_addr again4;
    struct in6_addr again6;
    char name[HOSTNAME_MAX + 1];
    size_t size;
    for (int i = 0; i < 3000; i++) {
        char wanted[64];
        (void)snprintf(wanted, sizeof wanted, "host%d.test", i);
        assert_true(assign(n, wanted, i, &v4, &v6));
        assert_true(assign(n, wanted, i, &again4, &again6));
        assert_memory_equal(&v4, &again4, sizeof v4);
        assert_memory_equal(&v6, &again6, sizeof v6);
        assert_int_equal(address_classify(&v4), ADDRESS_SYNTHETIC);
        assert_true(names_is_synthetic(&v4) && names_is_synthetic(&v6));
        assert_true(v4.s6_addr[15] != 0 && v4.s6_addr[15] != 255);
        assert_true(names_lookup(n, &v4, name, &size));
        assert_string_equal(name, wanted);
        assert_true(names_lookup(n, &v6, name, &size));
        assert_string_equal(name, wanted);
    }
    names_free(n);
}

static void
other_addresses_stand_for_nothing(void **state)
{
    (void)state;
    static const char *const others[] = {
        "198.18.0.0",     "198.18.0.1",       "198.18.0.3",        "198.18.1.0",
        "198.19.255.254", "10.0.0.2",         "8.8.8.8",           "::2",
        "fd00::2",        "fdca:5e3a:7e19::", "fdca:5e3a:7e19::1", "fdca:5e3a:7e19:0:1::2",
        "::ffff:0:2",
    };
    struct names *n;
    names_new(&n);
    struct in6_addr v4;
    struct in6_addr v6;
    char name[HOSTNAME_MAX + 1];
    size_t size;
    assert_true(assign(n, "a.test", 0, &v4, &v6));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct in6_addr a;
        assert_true(address_parse(others[i], strlen(others[i]), &a));
        if (names_lookup(n, &a, name, &size))
            fail_msg("%s stands for %s", others[i], name);
    }
    names_free(n);
}

static void
full_table_evicts_only_the_expired(void **state)
{
    (void)state;
    struct names *n;
    names_new(&n);
    struct in6_addr first4;
    struct in6_addr first6;
    struct in6_addr v4;
    struct in6_addr v6;
    char name[HOSTNAME_MAX + 1];
    size_t size;
    assert_true(assign(n, "first.test", 0, &first4, &first6));
    for (int i = 1; i < NAMES_MAX; i++) {
        (void)snprintf(name, sizeof name, "n%d.test", i);
        assert_true(assign(n, name, 0, &v4, &v6));
    }
    assert_false(assign(n, "late.test", NAMES_KEEP_MS - 1, &v4, &v6));
    names_touch(n, &first4, NAMES_KEEP_MS - 1); // in use: it stays
    assert_true(assign(n, "late.test", NAMES_KEEP_MS, &v4, &v6));
    assert_true(names_lookup(n, &v4, name, &size));
    assert_string_equal(name, "late.test");
    assert_true(names_lookup(n, &first6, name, &size));
    assert_string_equal(name, "first.test");
    // The evicted one, n1.test, comes back at another address.
    assert_true(assign(n, "n1.test", NAMES_KEEP_MS, &v4, &v6));
    names_free(n);
}

static void
services_have_an_address_of_their_own(void **state)
{
    (void)state;
    struct names *n;
    struct in_addr v4;
    struct in6_addr v6;
    char name[HOSTNAME_MAX + 1];
    size_t size;
    names_new(&n);
    for (int i = 0; i < 2; i++) {
        assert_true(names_assign(n, NAMES_SERVICE, sizeof NAMES_SERVICE - 1, 0, &v4, &v6));
        assert_string_equal(inet_ntoa(v4), "198.18.0.1");
        struct in6_addr mapped = address_map_v4(v4);
        assert_true(names_is_service(&mapped) && names_is_synthetic(&mapped));
        assert_true(names_is_service(&v6) && names_is_synthetic(&v6));
        assert_false(names_lookup(n, &mapped, name, &size));
        assert_false(names_lookup(n, &v6, name, &size));
        assert_true(names_assign(n, "a.test", 6, 0, &v4, &v6));
        mapped = address_map_v4(v4);
        assert_false(names_is_service(&mapped) || names_is_service(&v6));
    }
    names_free(n);
}

static void
placeholders_in_names(void **state)
{
    (void)state;
    assert_true(names_holds_placeholder("csec_abc.test", 13));
    assert_true(names_holds_placeholder("x.CSEC_", 7));
    assert_false(names_holds_placeholder("x.CSEC_", 6));
    assert_false(names_holds_placeholder("csec.test", 9));
    assert_false(names_holds_placeholder("", 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_stable_and_found_again),
        cmocka_unit_test(other_addresses_stand_for_nothing),
        cmocka_unit_test(full_table_evicts_only_the_expired),
        cmocka_unit_test(services_have_an_address_of_their_own),
        cmocka_unit_test(placeholders_in_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
