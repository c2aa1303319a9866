// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "egress/proxy-request.h"

#include "base/cleanup.h"
#include "policy/address.h"

#include <string.h>

static const char *
authority(const char *text, uint16_t port, struct proxy_target *ret)
{
    return proxy_parse_authority(text, strlen(text), port, ret);
}

static void
authorities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *name; // or address
        uint16_t port;
    } good[] = {
        {"api.test:443", "api.test", 443},
        {"API.test.:1", "api.test", 1},
        {"api.test", "api.test", 80},
        {"203.0.113.10:65535", "203.0.113.10", 65535},
        {"[2001:db8::1]:22", "2001:db8::1", 22},
        {"[2001:db8::1]", "2001:db8::1", 80},
        {"[::ffff:203.0.113.10]:443", "203.0.113.10", 443},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct proxy_target t;
        char text[ADDRESS_TEXT_MAX];
        assert_null(authority(good[i].text, 80, &t));
        assert_int_equal(t.port, good[i].port);
        if (t.name_size == 0)
            address_format(&t.addr, text);
        assert_string_equal(t.name_size > 0 ? t.name : text, good[i].name);
    }
}

static void
what_is_no_authority(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           ":443",        "api.test:",        "api.test:0",      "api.test:65536",
        "api.test:x", "api.test:+1", "api.test:443:443", "user@api.test",   "api.test/x:443",
        "127.1:443",  "0x7f.1:443",  "2130706433:443",   "0177.0.0.1:443",  "2001:db8::1:443",
        "[::1",       "[::1]443",    "[203.0.113.1]:1",  "[api.test]:443",  "[::1%lo]:443",
        "a b.test:1", "*.test:443",  "csec_abc.test:1",  "x.CSEC_a.test:1", "a..test:443",
    };
    struct proxy_target t;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (authority(bad[i], 80, &t) == NULL)
            fail_msg("%s was taken", bad[i]);
    assert_non_null(authority("api.test", 0, &t));
    assert_non_null(proxy_parse_authority("evil.test\0.pkg.test:443", 23, 0, &t));
    assert_string_equal(authority("csec_abc.test:443", 0, &t),
                        "the name holds a placeholder of a secret");
}

static enum proxy_status
request(const char *bytes, size_t size, struct proxy_socks_request *ret)
{
    return proxy_parse_socks_request((const uint8_t *)bytes, size, ret);
}

// Of a request that is not whole, nothing is decided.
static void
socks_request_of(const char *bytes, size_t size, uint8_t reply)
{
    struct proxy_socks_request r;
    for (size_t n = 0; n < size; n++)
        assert_int_equal(request(bytes, n, &r), PROXY_MORE);
    assert_int_equal(request(bytes, size, &r), PROXY_OK);
    assert_int_equal(r.size, size);
    assert_int_equal(r.reply, reply);
    assert_int_equal(r.reason == NULL, reply == SOCKS_GRANTED);
}

#define SOCKS(bytes, reply) socks_request_of(bytes, sizeof(bytes) - 1, reply)

static void
socks(void **state)
{
    (void)state;
    struct proxy_socks_request r;
    SOCKS("\5\1\0\3\10API.test\1\xbb", SOCKS_GRANTED);
    assert_int_equal(request("\5\1\0\3\10API.test\1\xbb", 15, &r), PROXY_OK);
    assert_string_equal(r.target.name, "api.test");
    assert_int_equal(r.target.port, 443);
    SOCKS("\5\1\0\1\xcb\0\x71\x0a\0\x50", SOCKS_GRANTED);
    SOCKS("\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x16", SOCKS_GRANTED);
    SOCKS("\5\2\0\3\10api.test\1\xbb", SOCKS_NO_SUCH_COMMAND); // BIND
    SOCKS("\5\3\0\1\0\0\0\0\0\x35", SOCKS_NO_SUCH_COMMAND);    // UDP ASSOCIATE
    SOCKS("\5\1\0\3\0\1\xbb", SOCKS_NOT_ALLOWED);
    SOCKS("\5\1\0\3\x05"
          "127.1\1\xbb",
          SOCKS_NOT_ALLOWED);
    SOCKS("\5\1\0\3\x0b"
          "a\0.pkg.test\1\xbb",
          SOCKS_NOT_ALLOWED);
    SOCKS("\5\1\0\3\x0b"
          "csec_a.test\1\xbb",
          SOCKS_NOT_ALLOWED);
    SOCKS("\5\1\0\3\10api.test\0\0", SOCKS_NOT_ALLOWED);
    assert_int_equal(request("\5\1\0\2", 4, &r), PROXY_OK);
    assert_int_equal(r.reply, SOCKS_NO_SUCH_ADDRESS);
    assert_int_equal(request("\4\1", 2, &r), PROXY_BAD);
    // An address as a name is an address.
    assert_int_equal(request("\5\1\0\3\x0c"
                             "203.0.113.10\0\x50",
                             19, &r),
                     PROXY_OK);
    assert_int_equal(r.target.name_size, 0);
    assert_true(address_is_v4(&r.target.addr));
}

static void
socks_greeting(void **state)
{
    (void)state;
    size_t used = 0;
    bool plain = false;
    const uint8_t two[] = {5, 2, 2, 0, 5};
    for (size_t n = 0; n < 4; n++)
        assert_int_equal(proxy_parse_socks_greeting(two, n, &used, &plain), PROXY_MORE);
    assert_int_equal(proxy_parse_socks_greeting(two, sizeof two, &used, &plain), PROXY_OK);
    assert_true(plain);
    assert_int_equal(used, 4);
    const uint8_t password[] = {5, 1, 2};
    assert_int_equal(proxy_parse_socks_greeting(password, 3, &used, &plain), PROXY_OK);
    assert_false(plain);
    const uint8_t none[] = {5, 0};
    assert_int_equal(proxy_parse_socks_greeting(none, 2, &used, &plain), PROXY_OK);
    assert_false(plain);
    const uint8_t four[] = {4};
    assert_int_equal(proxy_parse_socks_greeting(four, 1, &used, &plain), PROXY_BAD);
}

static void
rewrites_to(const char *text, const char *want)
{
    struct h1_head head;
    struct h1_problem problem;
    struct h1_span path;
    struct proxy_target t;
    size_t size;
    cleanup_buf struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(h1_parse_request((const uint8_t *)text, strlen(text), &head, &size, &problem),
                     H1_OK);
    assert_null(proxy_parse_url(head.target, &t, &path));
    assert_string_equal(t.name, "api.test");
    assert_int_equal(proxy_write_head(&head, path, &out), 0);
    assert_int_equal(buf_size(&out), strlen(want));
    assert_memory_equal(buf_bytes(&out), want, strlen(want));
    buf_done(&out);
    buf_init(&out, 16);
    assert_int_equal(proxy_write_head(&head, path, &out), -1);
}

// A head of as many fields as there may be has no room for ours, unless one of them ends here.
static void
as_many_fields_as_may_be(void **state)
{
    (void)state;
    for (int ending = 0; ending < 2; ending++) {
        struct h1_head head;
        struct h1_problem problem;
        size_t size;
        cleanup_buf struct buf text;
        cleanup_buf struct buf out;
        buf_init(&text, 8192);
        buf_init(&out, 8192);
        (void)buf_append_str(&text, "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n");
        for (int i = 2; i < H1_FIELDS_MAX; i++)
            (void)buf_append_fmt(&text, "X-%d: 1\r\n", i);
        (void)buf_append_str(&text, ending == 1 ? "TE: x\r\n\r\n" : "X-1: 1\r\n\r\n");
        assert_int_equal(
            h1_parse_request(buf_bytes(&text), buf_size(&text), &head, &size, &problem), H1_OK);
        assert_int_equal(head.field_count, H1_FIELDS_MAX);
        assert_int_equal(proxy_write_head(&head, (struct h1_span){"/", 1}, &out), ending - 1);
    }
}

static void
urls(void **state)
{
    (void)state;
    rewrites_to(
        "GET http://api.test/a?b HTTP/1.1\r\nHost: api.test\r\nProxy-Connection: keep-alive\r\n"
        "Proxy-Authorization: Basic eDp5\r\nX-Own: 1\r\nConnection: X-Own, upgrade\r\n"
        "Upgrade: h2c\r\nAccept: */*\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    rewrites_to(
        "POST http://api.test?b HTTP/1.1\r\nHost: api.test\r\nConnection: Content-Length, Host\r\n"
        "Content-Length: 3\r\n\r\nabc",
        "POST /?b HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
    struct proxy_target t;
    struct h1_span path;
    static const char *const bad[] = {"https://api.test/",  "/",
                                      "ftp://api.test/",    "http:///x",
                                      "http://u@api.test/", "http://127.1/"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_non_null(proxy_parse_url((struct h1_span){bad[i], strlen(bad[i])}, &t, &path));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(authorities),
        cmocka_unit_test(what_is_no_authority),
        cmocka_unit_test(socks),
        cmocka_unit_test(socks_greeting),
        cmocka_unit_test(as_many_fields_as_may_be),
        cmocka_unit_test(urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
