// SPDX-License-Identifier: Apache-2.0
// Requests and responses of fetch between JSON and bytes: what passes, and what does not.
#include "base/cleanup.h"
#include "init/fetch/fetch-internal.h"
#include "unit.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <string.h>

static const char *
write_request(struct buf *out, const char *json, bool has_body)
{
    json_auto_t *params = json_loads(json, JSON_ALLOW_NUL, NULL);
    assert_non_null(params);
    buf_init(out, FETCH_REQUEST_MAX + sizeof(uint32_t));
    return fetch_request_write(out, params, has_body);
}

static void
assert_refused(const char *json)
{
    cleanup_buf struct buf out;
    assert_non_null(write_request(&out, json, false));
}

static void
test_request(void **state)
{
    (void)state;
    cleanup_buf struct buf out;
    char text[64];
    assert_null(write_request(&out,
                              "{\"url\":\"HTTP://h/\",\"method\":\"post\",\"redirect\":\"manual\","
                              "\"pid\":7,\"headers\":[[\"A\",\"caf\\u00e9\"]]}",
                              true));
    struct unpack u;
    unpack_init(&u, buf_bytes(&out), buf_size(&out));
    assert_int_equal(unpack_u32(&u), buf_size(&out) - sizeof(uint32_t));
    unpack_str(&u, text, sizeof text);
    assert_string_equal(text, "POST");
    unpack_str(&u, text, sizeof text);
    assert_string_equal(text, "HTTP://h/");
    assert_int_equal(unpack_u8(&u), FETCH_HAS_BODY);
    assert_int_equal(unpack_u8(&u), FETCH_MANUAL);
    assert_int_equal(unpack_u32(&u), 7);
    assert_int_equal(unpack_u16(&u), 1);
    unpack_str(&u, text, sizeof text);
    assert_string_equal(text, "A");
    unpack_str(&u, text, sizeof text);
    assert_string_equal(text, "caf\xe9");
    assert_true(unpack_complete(&u));
}

static void
test_requests_that_cannot_be(void **state)
{
    (void)state;
    assert_refused("{\"url\":\"ftp://h/\"}");
    assert_refused("{\"url\":\"http://h/ x\"}");
    assert_refused("{\"url\":\"http://h/\",\"method\":\"\"}");
    assert_refused("{\"url\":\"http://h/\",\"method\":\"TraCK\"}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\",\"\\u0000\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\\u0000\",\"b\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\",\"b\\n\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\",\"\\u0100\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\",\"\\u20ac\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a:\",\"b\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\",\"b\",\"c\"]]}");
    assert_refused("{\"url\":\"http://h/\",\"headers\":[[\"a\",1]]}");
}

static void
pack_text(struct buf *out, const char *text)
{
    assert_int_equal(pack_bytes(out, text, strlen(text)), 0);
}

static json_t *
head(unsigned status, const char *name, const char *value, bool has_body, bool *ret_has_body)
{
    cleanup_buf struct buf out;
    buf_init(&out, 1024 * 1024);
    (void)pack_u16(&out, (uint16_t)status);
    pack_text(&out, "Reason");
    (void)pack_u16(&out, 1);
    pack_text(&out, name);
    pack_text(&out, value);
    (void)pack_u8(&out, has_body);
    return fetch_head_json(buf_bytes(&out), buf_size(&out), ret_has_body);
}

static size_t
headers_of(unsigned status, const char *name, const char *value)
{
    bool body;
    json_auto_t *json = head(status, name, value, true, &body);
    assert_non_null(json);
    return json_array_size(json_object_get(json, "headers"));
}

static void
test_head(void **state)
{
    (void)state;
    bool body = false;
    json_auto_t *json = head(200, "a", "caf\xe9\t.", true, &body);
    const json_t *pair = json_array_get(json_object_get(json, "headers"), 0);
    assert_true(body);
    assert_string_equal(json_string_value(json_array_get(pair, 1)), "caf\xc3\xa9\t.");
    assert_string_equal(json_string_value(json_object_get(json, "statusText")), "Reason");
    assert_int_equal(headers_of(200, "a b", "c"), 0);
    assert_int_equal(headers_of(200, "", "c"), 0);
    assert_int_equal(headers_of(200, "a", "b\r\nc: d"), 0);
    assert_int_equal(headers_of(200, "a", "\x7f"), 0);
}

static void
test_heads_that_cannot_be(void **state)
{
    (void)state;
    bool body;
    static const unsigned none[] = {0, 101, 103, 199, 600, 65535};
    static const unsigned bare[] = {204, 205, 304};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        assert_null(head(none[i], "a", "b", true, &body));
    for (size_t i = 0; i < ARRAY_SIZE(bare); i++) {
        json_auto_t *json = head(bare[i], "a", "b", true, &body);
        assert_non_null(json);
        assert_false(body);
    }
}

// Whatever is cut off or changed: no crash, and no result larger than a frame.
static void
test_broken_heads(void **state)
{
    (void)state;
    bool body;
    uint8_t good[] = {200, 0, 1, 0, 0, 0, 'x', 1, 0, 1, 0, 0, 0, 'a', 1, 0, 0, 0, 'b', 1};
    json_auto_t *whole = fetch_head_json(good, sizeof good, &body);
    assert_non_null(whole);
    for (size_t size = 0; size < sizeof good; size++)
        assert_null(fetch_head_json(good, size, &body));
    for (size_t at = 0; at < sizeof good; at++) {
        uint8_t kept = good[at];
        good[at] = 0xff;
        json_decref(fetch_head_json(good, sizeof good, &body));
        good[at] = kept;
    }
    static char quotes[FETCH_HEAD_MAX - 100];
    memset(quotes, '"', sizeof quotes - 1);
    assert_null(head(200, "a", quotes, true, &body));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),      cmocka_unit_test(test_requests_that_cannot_be),
        cmocka_unit_test(test_head),         cmocka_unit_test(test_heads_that_cannot_be),
        cmocka_unit_test(test_broken_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
