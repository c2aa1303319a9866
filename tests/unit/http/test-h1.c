// SPDX-License-Identifier: Apache-2.0
// Heads: what passes, what is refused, and that neither depends on how the bytes were cut.
#include "unit.h"

#include "http/h1.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define GET  "GET / HTTP/1.1\r\nHost: a.test\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a.test\r\n"

struct bad_case {
    const char *text;
    int status;
};

static const struct bad_case bad_requests[] = {
    // Framing that two parsers could read differently.
    {POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
    {POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
    {POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
    {POST "Content-Length: 3, 3\r\n\r\n", 400},
    {POST "Content-Length: -1\r\n\r\n", 400},
    {POST "Content-Length: +5\r\n\r\n", 400},
    {POST "Content-Length: 0x5\r\n\r\n", 400},
    {POST "Content-Length: 05\r\n\r\n", 400},
    {POST "Content-Length: 5 5\r\n\r\n", 400},
    {POST "Content-Length: 5;\r\n\r\n", 400},
    {POST "Content-Length: \r\n\r\n", 400},
    {POST "Content-Length: 99999999999999999999999\r\n\r\n", 400},
    {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400},
    {POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
    {POST "Transfer-Encoding: chunked, identity\r\n\r\n", 400},
    {POST "Transfer-Encoding: identity\r\n\r\n", 400},
    {POST "Transfer-Encoding: xchunked\r\n\r\n", 400},
    {POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400},
    {POST "Transfer-Encoding: chunked;q=1\r\n\r\n", 400},
    {POST "Transfer-Encoding:\r\n\r\n", 400},
    {POST "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n",
     400},
    {POST "Transfer-Encoding : chunked\r\n\r\n", 400},
    {POST "Transfer_Encoding\t: chunked\r\n\r\n", 400},
    {POST " Transfer-Encoding: chunked\r\n\r\n", 400},
    {POST "X: y\r\n Transfer-Encoding: chunked\r\n\r\n", 400},
    {POST "X: y\r\n\tz\r\n\r\n", 400},
    {POST "X: y\rTransfer-Encoding: chunked\r\n\r\n", 400},
    {POST "X: y\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    // Lines.
    {"GET / HTTP/1.1\nHost: a.test\n\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test\r\n\n", 400},
    {"\n\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET /\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n", 400},
    {"GET / x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {" GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"G(T / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET / http/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET / HTTP/1.10\r\nHost: a.test\r\n\r\n", 400},
    {"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\n\r\n", 505},
    // Targets.
    {"GET a HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET /a#b HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET /\x80 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET http:///x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    {"GET http://a.test/ HTTP/1.0\r\n\r\n", 400},
    {"CONNECT /x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
    // Fields.
    {GET "X y\r\n\r\n", 400},
    {GET ": y\r\n\r\n", 400},
    {GET "X : y\r\n\r\n", 400},
    {GET "X\t: y\r\n\r\n", 400},
    {GET "X(: y\r\n\r\n", 400},
    {GET "X\x80: y\r\n\r\n", 400},
    {GET "X: a\x01"
         "b\r\n\r\n",
     400},
    {GET "X: a\x7f"
         "b\r\n\r\n",
     400},
    // Host.
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test\r\nhost: a.test\r\n\r\n", 400},
    {"GET / HTTP/1.0\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test\tb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test%00\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test\\b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test#b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test/b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test?b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: \xc3\xa9.test\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test:\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test:44x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test:443:443\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a.test:123456\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: [g::1]\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400},
};

static const char *const good_requests[] = {
    GET "\r\n",
    "\r\n" GET "\r\n",
    "\r\n\r\n" GET "\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /a?b=%20&c=\"{}|\\^` HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: A.Test.:8443\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
    "GET http://a.test/x HTTP/1.1\r\nHost: A.TEST\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    GET "Content-Length: 5\r\n\r\n", // a GET may have a body: it is one request
    GET "X:\r\nY: \r\nZ:\tq \t\r\n\r\n",
    GET "X: caf\xc3\xa9\r\n\r\n",
    POST "Transfer-Encoding: Chunked\r\n\r\n",
    POST "Content-Length: 0\r\n\r\n",
};

// Fed in growing prefixes from exactly sized copies, so that a sanitizer sees every overrun.
static enum h1_status
parse_growing(const char *text, size_t size, struct h1_head *h, size_t *ret_size,
              struct h1_problem *problem)
{
    for (size_t n = 0; n <= size; n++) {
        cleanup_free uint8_t *copy = malloc(n > 0 ? n : 1);
        assert_non_null(copy);
        if (n > 0)
            memcpy(copy, text, n);
        enum h1_status r = h1_parse_request(copy, n, h, ret_size, problem);
        if (r == H1_MORE)
            continue;
        if (r == H1_OK) {
            assert_int_equal(n, size);
            assert_int_equal(*ret_size, size);
        }
        return r;
    }
    return H1_MORE;
}

static void
requests_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad_requests); i++) {
        const struct bad_case *c = &bad_requests[i];
        struct h1_head h;
        struct h1_problem problem = {0};
        size_t used;
        enum h1_status whole =
            h1_parse_request((const uint8_t *)c->text, strlen(c->text), &h, &used, &problem);
        if (whole != H1_BAD || problem.status != c->status)
            fail_msg("case %zu: %d, status %d: %s", i, (int)whole, problem.status, c->text);
        assert_non_null(problem.reason);
        assert_int_equal(parse_growing(c->text, strlen(c->text), &h, &used, &problem), H1_BAD);
        assert_int_equal(problem.status, c->status);
    }
}

static void
requests_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good_requests); i++) {
        struct h1_head h;
        struct h1_problem problem = {0};
        size_t used;
        const char *text = good_requests[i];
        if (parse_growing(text, strlen(text), &h, &used, &problem) != H1_OK)
            fail_msg("refused: %s: %s", problem.reason, text);
    }
}

static void
nul_is_refused_everywhere(void **state)
{
    (void)state;
    static const char text[] = "GET /x HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char copy[sizeof text - 1];
        memcpy(copy, text, sizeof copy);
        copy[i] = '\0';
        struct h1_head h;
        struct h1_problem problem;
        size_t used;
        enum h1_status r =
            h1_parse_request((const uint8_t *)copy, sizeof copy, &h, &used, &problem);
        // Without its last LF the head is not complete.
        assert_int_equal(r, i == sizeof copy - 1 ? H1_MORE : H1_BAD);
    }
}

static void
request_parts(void **state)
{
    (void)state;
    static const char text[] = "POST /a?b HTTP/1.1\r\nHost: a.test\r\nX-Key:  v w \r\n"
                               "Expect: 100-Continue\r\nConnection: keep-alive , Upgrade\r\n"
                               "Upgrade: websocket\r\nContent-Length: 12\r\n\r\nbody";
    struct h1_head h;
    struct h1_problem problem;
    size_t used;
    assert_int_equal(h1_parse_request((const uint8_t *)text, sizeof text - 1, &h, &used, &problem),
                     H1_OK);
    assert_int_equal(used, sizeof text - 1 - strlen("body"));
    assert_true(h1_span_is(h.method, "POST"));
    assert_true(h1_span_is(h.target, "/a?b"));
    assert_int_equal(h.minor_version, 1);
    assert_int_equal(h.field_count, 6);
    assert_true(h1_span_is(h1_find(&h, "x-key", NULL)->value, "v w"));
    assert_true(h1_span_is(h1_find(&h, "x-key", NULL)->name, "X-Key"));
    assert_null(h1_find(&h, "x", NULL));
    assert_int_equal(h.framing, H1_BODY_LENGTH);
    assert_int_equal(h.content_length, 12);
    assert_true(h.keep_alive && h.expect_continue && h.upgrade);
    assert_true(h1_list_has(&h, "connection", "upgrade"));
    assert_false(h1_list_has(&h, "connection", "keep"));
}

static void
field_count_is_bounded(void **state)
{
    (void)state;
    char text[4096];
    size_t at = (size_t)snprintf(text, sizeof text, "%s", GET);
    for (int i = 1; i < H1_FIELDS_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "a: b\r\n");
    size_t at_limit = at;
    at += (size_t)snprintf(text + at, sizeof text - at, "\r\n");
    struct h1_head h;
    struct h1_problem problem;
    size_t used;
    assert_int_equal(h1_parse_request((const uint8_t *)text, at, &h, &used, &problem), H1_OK);
    assert_int_equal(h.field_count, H1_FIELDS_MAX);
    at = at_limit + (size_t)snprintf(text + at_limit, sizeof text - at_limit, "a: b\r\n\r\n");
    assert_int_equal(h1_parse_request((const uint8_t *)text, at, &h, &used, &problem), H1_BAD);
    assert_int_equal(problem.status, 431);
}

struct response_case {
    const char *text;
    const char *method;
    enum h1_status result;
    enum h1_framing framing;
    bool keep_alive;
};

static const struct response_case responses[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", H1_OK, H1_BODY_LENGTH, true},
    {"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", "GET", H1_OK, H1_BODY_LENGTH, true},
    {"HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n", "GET", H1_OK, H1_BODY_LENGTH, true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", H1_OK, H1_BODY_NONE, true},
    {"HTTP/1.1 200 OK\r\n\r\n", "CONNECT", H1_OK, H1_BODY_NONE, true},
    {"HTTP/1.1 200 OK\r\n\r\n", "GET", H1_OK, H1_BODY_UNTIL_CLOSE, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", H1_OK, H1_BODY_LENGTH, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", H1_OK, H1_BODY_CHUNKED, true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "GET", H1_OK, H1_BODY_NONE, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET", H1_OK, H1_BODY_NONE, true},
    {"HTTP/1.1 100 Continue\r\n\r\n", "POST", H1_OK, H1_BODY_NONE, true},
    {"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET", H1_OK,
     H1_BODY_NONE, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 100 X\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", H1_BAD, 0,
     false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 200 OK\nContent-Length: 3\n\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 20 OK\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 099 OK\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 2000 OK\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1  200 OK\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/2 200\r\n\r\n", "GET", H1_BAD, 0, false},
    {"ICY 200 OK\r\n\r\n", "GET", H1_BAD, 0, false},
    {"\r\nHTTP/1.1 200 OK\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 200 O\x01K\r\n\r\n", "GET", H1_BAD, 0, false},
    {"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "GET", H1_BAD, 0, false},
};

static void
response_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(responses); i++) {
        const struct response_case *c = &responses[i];
        struct h1_span method = {c->method, strlen(c->method)};
        struct h1_head h;
        struct h1_problem problem = {0};
        size_t used;
        enum h1_status r = H1_MORE;
        for (size_t n = 0; n <= strlen(c->text) && r == H1_MORE; n++)
            r = h1_parse_response((const uint8_t *)c->text, n, method, &h, &used, &problem);
        if (r != c->result)
            fail_msg("case %zu: %d: %s", i, (int)r, c->text);
        if (r == H1_BAD) {
            assert_int_equal(problem.status, 502);
            continue;
        }
        assert_int_equal(h.framing, c->framing);
        assert_int_equal(h.keep_alive, c->keep_alive);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_refused),          cmocka_unit_test(requests_accepted),
        cmocka_unit_test(nul_is_refused_everywhere), cmocka_unit_test(request_parts),
        cmocka_unit_test(field_count_is_bounded),    cmocka_unit_test(response_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
