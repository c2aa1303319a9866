// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "egress/sniff.h"

#include "base/cleanup.h"

#include <openssl/ssl.h>
#include <string.h>

enum { HELLO_MAX = 70000 };

struct message {
    uint8_t data[HELLO_MAX];
    size_t size;
};

static void
put(struct message *m, const void *data, size_t size)
{
    assert_true(m->size + size <= sizeof m->data);
    memcpy(m->data + m->size, data, size);
    m->size += size;
}

static void
put_number(struct message *m, size_t v, int bytes)
{
    while (bytes-- > 0) {
        uint8_t b = (uint8_t)(v >> (8 * bytes));
        put(m, &b, 1);
    }
}

static void
put_extension(struct message *m, unsigned type, const void *data, size_t size)
{
    put_number(m, type, 2);
    put_number(m, size, 2);
    put(m, data, size);
}

static void
put_server_name(struct message *m, const char *name, size_t size)
{
    struct message e = {0};
    put_number(&e, size + 3, 2);
    put_number(&e, 0, 1);
    put_number(&e, size, 2);
    put(&e, name, size);
    put_extension(m, 0, e.data, e.size);
}

// A ClientHello with these extensions in records of so many bytes.
static void
make_hello(struct message *out, const struct message *extensions, size_t record)
{
    static struct message body;
    static const uint8_t random[32] = {1};
    static const uint8_t suites[] = {0, 2, 0x13, 0x01, 1, 0};
    body.size = 0;
    put_number(&body, 1, 1);
    put_number(&body, 2 + 32 + 1 + sizeof suites + 2 + extensions->size, 3);
    put_number(&body, 0x0303, 2);
    put(&body, random, sizeof random);
    put_number(&body, 0, 1);
    put(&body, suites, sizeof suites);
    put_number(&body, extensions->size, 2);
    put(&body, extensions->data, extensions->size);
    out->size = 0;
    for (size_t at = 0; at < body.size; at += record) {
        size_t n = body.size - at < record ? body.size - at : record;
        put_number(out, 0x160301, 3);
        put_number(out, n, 2);
        put(out, body.data + at, n);
    }
}

// Grows the input byte by byte, each time in a copy of its exact size.
static struct sniff
sniff_growing(const uint8_t *data, size_t size)
{
    struct sniff s = {0};
    size_t needed = 0;
    for (size_t n = 0; n <= size; n++) {
        cleanup_free uint8_t *copy = malloc(n > 0 ? n : 1);
        assert_non_null(copy);
        if (n > 0)
            memcpy(copy, data, n);
        sniff_bytes(copy, n, &s);
        // Whoever waits for as many bytes as were needed misses nothing.
        assert_true(s.kind != SNIFF_TLS || n >= needed);
        if (s.kind != SNIFF_MORE)
            return s;
        needed = s.needed;
    }
    return s;
}

static void
real_client_hello(void **state)
{
    (void)state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    assert_int_equal(SSL_set_tlsext_host_name(ssl, "Files.Test"), 1);
    assert_int_equal(SSL_connect(ssl), -1);
    char *data;
    long size = BIO_get_mem_data(out, &data);
    struct sniff s = sniff_growing((const uint8_t *)data, (size_t)size);
    assert_int_equal(s.kind, SNIFF_TLS);
    assert_true(s.is_tls && s.has_name && !s.has_ech);
    assert_string_equal(s.name, "files.test");
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void
records_of_any_size(void **state)
{
    (void)state;
    static struct message extensions;
    static struct message hello;
    static const uint8_t padding[300] = {0};
    extensions.size = 0;
    put_extension(&extensions, 21, padding, sizeof padding);
    put_server_name(&extensions, "a.test", 6);
    put_extension(&extensions, 0xfe0d, padding, 10);
    for (size_t record = 1; record < 400; record += 7) {
        make_hello(&hello, &extensions, record);
        struct sniff s = sniff_growing(hello.data, hello.size);
        assert_int_equal(s.kind, SNIFF_TLS);
        assert_string_equal(s.name, "a.test");
        assert_true(s.has_ech);
    }
}

static void
large_hello(void **state)
{
    (void)state;
    static struct message extensions;
    static struct message hello;
    static uint8_t share[20000];
    struct sniff s;
    extensions.size = 0;
    put_extension(&extensions, 51, share, sizeof share);
    put_extension(&extensions, 52, share, sizeof share);
    put_server_name(&extensions, "a.test", 6);
    make_hello(&hello, &extensions, 16384);
    sniff_bytes(hello.data, hello.size, &s);
    assert_int_equal(s.kind, SNIFF_TLS);
    assert_string_equal(s.name, "a.test");
    // A length beyond the limit is refused as soon as it is seen.
    static const uint8_t huge[] = {22, 3, 1, 0, 4, 1, 1, 0, 0};
    sniff_bytes(huge, sizeof huge, &s);
    assert_int_equal(s.kind, SNIFF_BAD);
}

static struct sniff
with_extensions(const struct message *extensions)
{
    static struct message hello;
    make_hello(&hello, extensions, 16384);
    return sniff_growing(hello.data, hello.size);
}

static void
server_names(void **state)
{
    (void)state;
    static struct message e;
    e.size = 0;
    struct sniff s = with_extensions(&e);
    assert_true(s.kind == SNIFF_TLS && !s.has_name);
    static const struct {
        const char *name;
        size_t size;
    } bad[] = {{"", 0},         {"1.2.3.4", 7},       {"::1", 3},
               {"a.test.", 7},  {"a_b.test", 8},      {"evil.test\0.pkg.test", 19},
               {"*.a.test", 8}, {"b\xc3\xbc.test", 8}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        e.size = 0;
        put_server_name(&e, bad[i].name, bad[i].size);
        s = with_extensions(&e);
        if (s.kind != SNIFF_BAD)
            fail_msg("case %zu", i);
        assert_true(s.is_tls);
        assert_non_null(s.reason);
    }
    e.size = 0;
    put_server_name(&e, "a.test", 6);
    put_server_name(&e, "a.test", 6);
    assert_int_equal(with_extensions(&e).kind, SNIFF_BAD);
    e.size = 0;
    put_extension(&e, 0,
                  "\x00\x0c\x00\x00\x03"
                  "a.b"
                  "\x00\x00\x03"
                  "c.d",
                  14); // two in one list
    assert_int_equal(with_extensions(&e).kind, SNIFF_BAD);
    e.size = 0;
    put_number(&e, 0x00000005, 4); // an extension longer than the rest
    assert_int_equal(with_extensions(&e).kind, SNIFF_BAD);
}

static void
application_protocols(void **state)
{
    (void)state;
    static struct message e;
    static const struct {
        const char *data; // of the extension; NULL: there is none
        size_t size;
        enum sniff_kind kind;
        bool h1;
        bool h2;
    } cases[] = {
        {NULL, 0, SNIFF_TLS, true, false},
        {"\x00\x03\x02h2", 5, SNIFF_TLS, false, true},
        {"\x00\x09\x08http/1.1", 11, SNIFF_TLS, true, false},
        {"\x00\x0c\x02h2\x08http/1.1", 14, SNIFF_TLS, true, true},
        {"\x00\x04\x03h2c", 6, SNIFF_TLS, false, false},
        {"\x00\x00", 2, SNIFF_BAD, false, false},
        {"\x00\x01\x00", 3, SNIFF_BAD, false, false},    // an empty name
        {"\x00\x03\x03h2", 5, SNIFF_BAD, false, false},  // a name longer than the list
        {"\x00\x04\x02h2", 5, SNIFF_BAD, false, false},  // a list longer than the extension
        {"\x00\x03\x02h2x", 6, SNIFF_BAD, false, false}, // something after the list
        {"\x00", 1, SNIFF_BAD, false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        e.size = 0;
        if (cases[i].data != NULL)
            put_extension(&e, 16, (const uint8_t *)cases[i].data, cases[i].size);
        struct sniff s = with_extensions(&e);
        if (s.kind != cases[i].kind)
            fail_msg("case %zu: %d", i, (int)s.kind);
        if (s.kind == SNIFF_TLS) {
            assert_int_equal(s.offers_h1, cases[i].h1);
            assert_int_equal(s.offers_h2, cases[i].h2);
        }
    }
    e.size = 0;
    put_extension(&e, 16, (const uint8_t *)"\x00\x03\x02h2", 5);
    put_extension(&e, 16, (const uint8_t *)"\x00\x03\x02h2", 5); // twice
    assert_int_equal(with_extensions(&e).kind, SNIFF_BAD);
}

static void
broken_records(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t size;
        enum sniff_kind kind;
    } cases[] = {
        {"\x16", 1, SNIFF_MORE},
        {"\x16\x03", 2, SNIFF_MORE},
        {"\x16\x04", 2, SNIFF_BAD},
        {"\x16\x03\x01\x00\x00", 5, SNIFF_BAD},
        {"\x16\x03\x01\x40\x01", 5, SNIFF_BAD},
        {"\x16\x03\x01\x00\x01\x02", 6, SNIFF_BAD},             // ServerHello
        {"\x16\x03\x01\x00\x01\x01\x17\x03\x01", 9, SNIFF_BAD}, // application data inside
        {"\x16\x03\x01\x00\x05\x01\x00\x00\x00\x00", 10, SNIFF_BAD},
        {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, SNIFF_BAD}, // empty ClientHello
        {"\x80\x2e\x01\x03\x01", 5, SNIFF_UNKNOWN},             // SSLv2
        {"\x15\x03\x01\x00\x02", 5, SNIFF_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sniff s = sniff_growing((const uint8_t *)cases[i].data, cases[i].size);
        if (s.kind != cases[i].kind)
            fail_msg("case %zu: %d", i, (int)s.kind);
    }
}

static void
http_and_others(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum sniff_kind kind;
        const char *name; // NULL: none
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: A.test:8080\r\n\r\n", SNIFF_HTTP, "a.test"},
        {"GET / HTTP/1.1\r\nHost: a.test.\r\n\r\n", SNIFF_HTTP, "a.test"},
        {"GET / HTTP/1.0\r\n\r\n", SNIFF_HTTP, NULL},
        {"GET / HTTP/1.1\r\nHost: 1.2.3.4\r\n\r\n", SNIFF_HTTP, ""},
        {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", SNIFF_HTTP, ""},
        {"M-SEARCH / HTTP/1.1\r\nHost: a.test\r\n\r\n", SNIFF_HTTP, "a.test"},
        {"GET / HTTP/1.1\r\nHost: a.test", SNIFF_MORE, NULL},
        {"GET", SNIFF_MORE, NULL},
        {"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", SNIFF_BAD, NULL},
        {"PRI * HTTP/2.0\r\n\r\n", SNIFF_BAD, NULL},
        {"EHLO a.test\r\n", SNIFF_BAD, NULL},
        {"SSH-2.0-x\r\n", SNIFF_UNKNOWN, NULL},
        {"get / HTTP/1.1\r\n", SNIFF_UNKNOWN, NULL},
        {" GET", SNIFF_UNKNOWN, NULL},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", SNIFF_UNKNOWN, NULL},
        {"\r\nGET / HTTP/1.1\r\n", SNIFF_UNKNOWN, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sniff s = sniff_growing((const uint8_t *)cases[i].text, strlen(cases[i].text));
        if (s.kind != cases[i].kind)
            fail_msg("case %zu: %d", i, (int)s.kind);
        if (s.kind != SNIFF_HTTP)
            continue;
        assert_int_equal(s.has_name, cases[i].name != NULL);
        if (cases[i].name != NULL)
            assert_string_equal(s.name, cases[i].name);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_client_hello),     cmocka_unit_test(records_of_any_size),
        cmocka_unit_test(large_hello),           cmocka_unit_test(server_names),
        cmocka_unit_test(broken_records),        cmocka_unit_test(http_and_others),
        cmocka_unit_test(application_protocols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
