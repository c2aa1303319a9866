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
    buf_init(&b, 1024);
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

int
main(void)
{
    json_input_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(surrogates),
        cmocka_unit_test(documents),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
