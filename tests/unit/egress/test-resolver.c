// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "egress/resolver.h"

#include "base/cleanup.h"

#include <string.h>

enum { OK = 0, FORMAT = 1, SERVER = 2, NOT_IMPLEMENTED = 4, REFUSED = 5 };

struct packet {
    uint8_t data[600];
    size_t size;
};

static void
put(struct packet *p, const void *data, size_t size)
{
    memcpy(p->data + p->size, data, size);
    p->size += size;
}

#define PUT(p, text) put(p, text, sizeof(text) - 1)

static struct packet
question(const char *name, uint8_t type)
{
    struct packet p = {0};
    PUT(&p, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00");
    while (*name != '\0') {
        const char *dot = strchrnul(name, '.');
        uint8_t size = (uint8_t)(dot - name);
        put(&p, &size, 1);
        put(&p, name, size);
        name = *dot == '.' ? dot + 1 : dot;
    }
    PUT(&p, "\0\0");
    put(&p, &type, 1);
    PUT(&p, "\0\x01");
    return p;
}

static void
add_opt(struct packet *p)
{
    p->data[11] = 1;
    PUT(p, "\0\0\x29\x04\xd0\0\0\0\0\0\0");
}

static struct names *
fresh(void)
{
    struct names *n;
    names_new(&n);
    return n;
}

static enum resolver_verdict
reply(struct names *n, const struct packet *p, struct resolver_answer *a)
{
    cleanup_free uint8_t *copy = malloc(p->size > 0 ? p->size : 1);
    memcpy(copy, p->data, p->size);
    return resolver_reply(n, copy, p->size, 0, a);
}

static unsigned
rcode(const struct resolver_answer *a)
{
    return a->data[3] & 15;
}

static unsigned
answers(const struct resolver_answer *a)
{
    return (unsigned)a->data[6] << 8 | a->data[7];
}

static void
addresses(void **state)
{
    (void)state;
    struct names *n = fresh();
    struct resolver_answer a;
    struct packet p = question("Files.Test", 1);
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), OK);
    assert_int_equal(answers(&a), 1);
    assert_memory_equal(a.data, "\x12\x34\x81\x80", 4);
    assert_memory_equal(a.data + 12, p.data + 12, p.size - 12); // the case of the question is kept
    assert_memory_equal(a.data + p.size, "\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x12", 14);
    assert_int_equal(a.size, p.size + 16);
    p = question("files.test", 28);
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(a.size, p.size + 28);
    assert_int_equal(a.data[p.size + 12], 0xfd);
    names_free(n);
}

static void
no_data_for_other_types(void **state)
{
    (void)state;
    static const uint8_t types[] = {2, 5, 6, 12, 15, 16, 33, 64, 65, 255};
    struct names *n = fresh();
    struct resolver_answer a;
    for (size_t i = 0; i < sizeof types; i++) {
        struct packet p = question("_x._tcp.files.test", types[i]);
        add_opt(&p);
        assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
        assert_int_equal(rcode(&a), OK);
        assert_int_equal(answers(&a), 0);
        assert_int_equal(a.data[11], 1); // EDNS is answered with EDNS
    }
    names_free(n);
}

static void
denied(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint8_t type;
        bool shown;
    } cases[] = {
        {"csec_abc.evil.test", 1, false},
        {"x.CSEC_abc.test", 28, false},
        {"a.csec_b.test", 16, false},
        {"cs.csec_", 1, false},
        {"a_b.test", 1, true},
        {"1.2.3.4", 1, true},
        {"a b.test", 1, true},
        {"b\xc3\xbc.test", 28, true},
        {"", 1, false},
    };
    struct names *n = fresh();
    struct resolver_answer a;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct packet p = question(cases[i].name, cases[i].type);
        if (reply(n, &p, &a) != RESOLVER_DENIED)
            fail_msg("case %zu", i);
        assert_int_equal(rcode(&a), REFUSED);
        assert_int_equal(a.size, p.size);
        assert_int_equal(a.shown[0] != '\0', cases[i].shown);
        add_opt(&p);
        assert_int_equal(reply(n, &p, &a), RESOLVER_DENIED);
        size_t text = strlen(a.reason);
        const uint8_t *option = a.data + a.size - text - 6;
        assert_memory_equal(option, "\0\x0f\0", 3);
        assert_memory_equal(option + 4, "\0\x0f", 2);
        assert_memory_equal(option + 6, a.reason, text);
    }
    names_free(n);
}

static void
malformed(void **state)
{
    (void)state;
    struct names *n = fresh();
    struct resolver_answer a;
    struct packet p = question("a.test", 1);
    p.data[2] = 0x80; // an answer
    assert_int_equal(reply(n, &p, &a), RESOLVER_DROP);
    p.data[2] = 0x29; // opcode 5
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), NOT_IMPLEMENTED);
    for (size_t i = 4; i < 12; i++) { // wrong counts
        p = question("a.test", 1);
        p.data[i] ^= i == 11 ? 2 : 3;
        assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
        assert_int_equal(rcode(&a), FORMAT);
        assert_int_equal(a.size, 12);
    }
    p = question("a.test", 1);
    p.data[p.size - 1] = 3; // class CHAOS
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), REFUSED);
    p = question("a.test", 1);
    PUT(&p, "x"); // something behind
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), FORMAT);
    p = question("a.test", 1);
    add_opt(&p);
    p.data[p.size - 1] = 1; // an option that is not there
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), FORMAT);
    p = question("a.test", 1);
    add_opt(&p);
    p.data[p.size - 5] = 1; // EDNS version 1: BADVERS is 16
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), 0);
    assert_int_equal(a.data[a.size - 6], 1);
    p = (struct packet){0};
    PUT(&p, "\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01"); // compression
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), FORMAT);
    names_free(n);
}

static void
cut_anywhere(void **state)
{
    (void)state;
    struct names *n = fresh();
    struct resolver_answer a;
    struct packet whole = question("some.name.test", 1);
    add_opt(&whole);
    for (size_t size = 0; size < whole.size; size++) {
        struct packet p = whole;
        p.size = size;
        enum resolver_verdict v = reply(n, &p, &a);
        assert_int_equal(v, size < 12 ? RESOLVER_DROP : RESOLVER_ANSWERED);
        if (size >= 12)
            assert_int_equal(rcode(&a), FORMAT);
    }
    names_free(n);
}

static void
longest_names(void **state)
{
    (void)state;
    struct names *n = fresh();
    struct resolver_answer a;
    char name[260];
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    name[253] = '\0';
    struct packet p = question(name, 28);
    add_opt(&p);
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(answers(&a), 1);
    name[253] = 'a';
    name[254] = '\0';
    p = question(name, 28);
    assert_int_equal(reply(n, &p, &a), RESOLVER_ANSWERED);
    assert_int_equal(rcode(&a), FORMAT);
    names_free(n);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),    cmocka_unit_test(no_data_for_other_types),
        cmocka_unit_test(denied),       cmocka_unit_test(malformed),
        cmocka_unit_test(cut_anywhere), cmocka_unit_test(longest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
