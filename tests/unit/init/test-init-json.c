// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "init/json-input.h"

#include <stdio.h>
#include <string.h>

static void
surrogates(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *out;
    } rows[] = {
        {"\"\\ud800\"", "\"\\ufffd\""},
        {"\"\\uDFFFx\"", "\"\\ufffdx\""},
        {"\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\""},
        {"\"\\ud83d\\ud83d\\ude00\"", "\"\\ufffd\\ud83d\\ude00\""},
        {"\"\\ude00\\ud83d\"", "\"\\ufffd\\ufffd\""},
        {"\"\\\\ud800\"", "\"\\\\ud800\""},
        {"\"\\\\\\ud800\"", "\"\\\\\\ufffd\""},
        {"\"\\u00e9\\n\\u0000\"", "\"\\u00e9\\n\\u0000\""},
        {"\"\\ud83", "\"\\ud83"},
        {"\"\\ud83d\\u", "\"\\ufffd\\u"},
        {"\\", "\\"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s", rows[i].in);
        json_input_replace_surrogates(text, strlen(text));
        assert_string_equal(text, rows[i].out);
    }
}

static json_t *
parse(const char *text)
{
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(buf_append_str(&b, text), 0);
    json_t *v = json_input_parse(&b);
    buf_done(&b);
    return v;
}

static void
documents(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "{",          "{\"a\":1,\"a\":2}", "{} x",
                                      "\"\xff\"", "{\"a\":01}", "[1e999]",           "nul"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(parse(bad[i]));
    json_t *v = parse(
        "{\"big\":123456789012345678901234567890,\"nul\":\"a\\u0000b\",\"lone\":\"\\ud800\"}");
    assert_non_null(v);
    assert_true(json_number_value(json_object_get(v, "big")) > 1e29);
    assert_int_equal(json_string_length(json_object_get(v, "nul")), 3);
    assert_string_equal(json_string_value(json_object_get(v, "lone")), "\xef\xbf\xbd");
    json_decref(v);
}

static void
memory_is_bounded(void **state)
{
    (void)state;
    // Each of these two bytes costs a hundred and more once parsed.
    size_t size = 16 * 1024 * 1024;
    struct buf b;
    buf_init(&b, size + 2);
    char *text = (char *)buf_reserve(&b, size + 2);
    assert_non_null(text);
    for (size_t i = 0; i < size; i += 4)
        memcpy(text + i, "[],", 4 < size - i ? 3 : size - i);
    memset(text, '[', 1);
    for (size_t i = 1; i + 3 <= size; i += 3)
        memcpy(text + i, "[],", 3);
    memcpy(text + size - 8, "[]    ]]", 8);
    buf_commit(&b, size);
    assert_null(json_input_parse(&b));
    buf_done(&b);
    json_t *v = parse("[1,2]");
    assert_non_null(v);
    json_decref(v);
}

// One long string with something in its middle, in a document.
static json_t *
parse_long(const char *format, const char *middle)
{
    char run[3001];
    char text[16384];
    for (size_t i = 0; i < sizeof run - 1; i++)
        run[i] = (char)('A' + i % 26);
    run[sizeof run - 1] = '\0';
    char both[8192];
    (void)snprintf(both, sizeof both, "%s%s%s", run, middle, run);
    size_t before = strcspn(format, "@"); // where it belongs
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)before, format, both, format + before + 1);
    return parse(text);
}

static void
assert_long(const json_t *v, const char *middle)
{
    size_t size = strlen(middle);
    assert_true(json_is_string(v));
    assert_int_equal(json_string_length(v), 6000 + size);
    assert_memory_equal(json_string_value(v) + 3000, middle, size);
    for (size_t i = 0; i < 3000; i++) {
        assert_int_equal(json_string_value(v)[i], 'A' + i % 26);
        assert_int_equal(json_string_value(v)[3000 + size + i], 'A' + i % 26);
    }
}

static void
long_strings(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "{\"params\":{\"data\":\"@\",\"n\":\"x\"},\"id\":7}",
        "{\"id\":7,\"params\" : {\"n\":\"x\", \"content\" : \"@\"}}",
        "{\"id\":7,\"params\":{\"n\":\"x\",\"other\":\"@\"}}",
        "{\"id\":7,\"params\":{\"n\":\"\\\"x\",\"data\":\"@\"}}",
    };
    static const char *const names[] = {"data", "content", "other", "data"};
    static const struct {
        const char *in, *out;
    } middles[] = {{"", ""},      {" ~", " ~"},   {"\xc3\xa9", "\xc3\xa9"}, {"\\\"", "\""},
                   {"\\n", "\n"}, {"\\\\", "\\"}, {"\x7f", "\x7f"},         {"\\u0041", "A"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (size_t k = 0; k < sizeof middles / sizeof *middles; k++) {
            json_t *v = parse_long(formats[i], middles[k].in);
            assert_non_null(v);
            const json_t *params = json_object_get(v, "params");
            assert_int_equal(json_object_size(params), 2);
            assert_true(json_number_value(json_object_get(v, "id")) == 7);
            assert_long(json_object_get(params, names[i]), middles[k].out);
            json_decref(v);
        }
}

static void
long_strings_elsewhere(void **state)
{
    (void)state;
    json_t *v = parse_long("{\"data\":\"@\",\"params\":{\"data\":\"short\"}}", "");
    assert_long(json_object_get(v, "data"), "");
    assert_string_equal(json_string_value(json_object_get(json_object_get(v, "params"), "data")),
                        "short");
    json_decref(v);
    v = parse_long("[\"@\"]", "");
    assert_long(json_array_get(v, 0), "");
    json_decref(v);
    v = parse_long("{\"@\":{\"data\":1}}", "");
    assert_int_equal(json_object_size(v), 1);
    assert_int_equal(strlen(json_object_iter_key(json_object_iter(v))), 6000);
    json_decref(v);
}

static void
long_strings_that_are_none(void **state)
{
    (void)state;
    static const char format[] = "{\"params\":{\"data\":\"@\"}}";
    static const char *const middles[] = {"\x1f", "\n", "\t", "\xff", "\xc3", "\\x", "\\uz", "\""};
    for (size_t i = 0; i < sizeof middles / sizeof *middles; i++)
        assert_null(parse_long(format, middles[i]));
    assert_null(parse_long("{\"params\":{\"data\":\"@\",\"data\":1}}", ""));
    assert_null(parse_long("{\"params\":{\"data\":\"@\"}", ""));
    assert_null(parse_long("{\"params\":{\"data\":\"@", ""));
}

int
main(void)
{
    json_input_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(surrogates),
        cmocka_unit_test(documents),
        cmocka_unit_test(long_strings),
        cmocka_unit_test(long_strings_elsewhere),
        cmocka_unit_test(long_strings_that_are_none),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
