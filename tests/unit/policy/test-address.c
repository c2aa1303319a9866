// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "policy/address.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <string.h>

struct address_case {
    const char *text;
    enum address_class class;
};

static const struct address_case cases[] = {
    {"93.184.216.34", ADDRESS_PUBLIC},
    {"1.1.1.1", ADDRESS_PUBLIC},
    {"192.0.2.1", ADDRESS_PUBLIC}, // documentation counts as public
    {"198.51.100.7", ADDRESS_PUBLIC},
    {"203.0.113.9", ADDRESS_PUBLIC},
    {"0.0.0.0", ADDRESS_UNSPECIFIED},
    {"0.1.2.3", ADDRESS_UNSPECIFIED},
    {"9.255.255.255", ADDRESS_PUBLIC},
    {"10.0.0.0", ADDRESS_PRIVATE},
    {"10.255.255.255", ADDRESS_PRIVATE},
    {"11.0.0.0", ADDRESS_PUBLIC},
    {"100.63.255.255", ADDRESS_PUBLIC},
    {"100.64.0.0", ADDRESS_SHARED},
    {"100.100.100.200", ADDRESS_METADATA},
    {"100.100.100.201", ADDRESS_SHARED},
    {"100.127.255.255", ADDRESS_SHARED},
    {"100.128.0.0", ADDRESS_PUBLIC},
    {"127.0.0.1", ADDRESS_LOOPBACK},
    {"127.255.255.254", ADDRESS_LOOPBACK},
    {"168.63.129.16", ADDRESS_METADATA},
    {"168.63.129.17", ADDRESS_PUBLIC},
    {"169.254.169.254", ADDRESS_LINK_LOCAL},
    {"172.15.255.255", ADDRESS_PUBLIC},
    {"172.16.0.0", ADDRESS_PRIVATE},
    {"172.31.255.255", ADDRESS_PRIVATE},
    {"172.32.0.0", ADDRESS_PUBLIC},
    {"192.0.0.8", ADDRESS_RESERVED},
    {"192.88.99.1", ADDRESS_RESERVED},
    {"192.168.255.255", ADDRESS_PRIVATE},
    {"198.17.255.255", ADDRESS_PUBLIC},
    {"198.18.0.1", ADDRESS_SYNTHETIC},
    {"198.19.255.255", ADDRESS_SYNTHETIC},
    {"198.20.0.0", ADDRESS_PUBLIC},
    {"224.0.0.1", ADDRESS_MULTICAST},
    {"239.255.255.255", ADDRESS_MULTICAST},
    {"240.0.0.1", ADDRESS_RESERVED},
    {"255.255.255.255", ADDRESS_RESERVED},
    {"2606:4700::1111", ADDRESS_PUBLIC},
    {"2001:db8::1", ADDRESS_PUBLIC},
    {"2001:4860:4860::8888", ADDRESS_PUBLIC},
    {"3fff::1", ADDRESS_PUBLIC},
    {"::", ADDRESS_UNSPECIFIED},
    {"::1", ADDRESS_LOOPBACK},
    {"::2", ADDRESS_RESERVED},
    {"::127.0.0.1", ADDRESS_RESERVED}, // IPv4-compatible
    {"::8.8.8.8", ADDRESS_RESERVED},
    {"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
    {"::ffff:10.0.0.1", ADDRESS_PRIVATE},
    {"::ffff:169.254.169.254", ADDRESS_LINK_LOCAL},
    {"::ffff:8.8.8.8", ADDRESS_PUBLIC},
    {"64:ff9b::7f00:1", ADDRESS_LOOPBACK},
    {"64:ff9b::a9fe:a9fe", ADDRESS_LINK_LOCAL},
    {"64:ff9b::808:808", ADDRESS_PUBLIC},
    {"64:ff9b:1::808:808", ADDRESS_RESERVED},
    {"2002:7f00:1::", ADDRESS_LOOPBACK},
    {"2002:c0a8:1::1", ADDRESS_PRIVATE},
    {"2001::1", ADDRESS_RESERVED}, // Teredo
    {"2001:0:4136:e378::", ADDRESS_RESERVED},
    {"2001:10::1", ADDRESS_RESERVED},
    {"fc00::1", ADDRESS_PRIVATE},
    {"fd00:ec2::254", ADDRESS_METADATA},
    {"fd20:ce::254", ADDRESS_METADATA},
    {"fd20:ce::255", ADDRESS_PRIVATE},
    {"fe80::1", ADDRESS_LINK_LOCAL},
    {"febf::1", ADDRESS_LINK_LOCAL},
    {"fec0::1", ADDRESS_RESERVED},
    {"ff02::1", ADDRESS_MULTICAST},
    {"100::1", ADDRESS_RESERVED},
    {"4000::1", ADDRESS_RESERVED},
    {"5f00::1", ADDRESS_RESERVED},
};

static void
classes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct in6_addr a;
        assert_true(address_parse(cases[i].text, strlen(cases[i].text), &a));
        enum address_class class = address_classify(&a);
        if (class != cases[i].class)
            fail_msg("%s: %s", cases[i].text, address_class_text(class));
    }
}

static void
spellings_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "127.1",     "2130706433", "0x7f.1",   "0177.0.0.1",
        "1.2.3",      "1.2.3.4.5", "1.2.3.256",  "1.2.3.4 ", "[::1]",
        "fe80::1%lo", "::1::",     "01.2.3.4",   "12345::",  "1.2.3.4\n"};
    struct in6_addr a;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (address_parse(bad[i], strlen(bad[i]), &a))
            fail_msg("accepted: %s", bad[i]);
    assert_false(address_parse("1.2.3.4\0x", 9, &a));
}

static void
sockaddr_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {"1.2.3.4", "2001:db8::1"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct in6_addr a;
        struct in6_addr b;
        in_port_t port;
        struct sockaddr_storage sa;
        char text[ADDRESS_TEXT_MAX];
        assert_true(address_parse(texts[i], strlen(texts[i]), &a));
        address_to_sockaddr(&a, 443, &sa);
        assert_int_equal(sa.ss_family, i == 0 ? AF_INET : AF_INET6);
        assert_true(address_from_sockaddr((struct sockaddr *)&sa, &b, &port));
        assert_memory_equal(&a, &b, sizeof a);
        assert_int_equal(port, 443);
        address_format(&b, text);
        assert_string_equal(text, texts[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(spellings_refused),
        cmocka_unit_test(sockaddr_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
