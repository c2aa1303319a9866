// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "wire/json-scan.h"

#include <string.h>

static const char *const good[] = {
    "0",
    "-0.5e+10",
    " true ",
    "null",
    "\"\"",
    "\"\\u00e9\\n\\\"\"",
    "\"\xc3\xa9\xf0\x9f\x98\x80\"",
    "[]",
    "{}",
    "[1,[2,{\"a\":[]}],\"x\"]",
    "{\"a\":1,\"b\":{\"c\":null}}",
    "\t{ \"a\" : [ 1 , 2 ] }\r\n",
};

static const char *const bad[] = {
    "",
    " ",
    "01",
    "-",
    "1.",
    "1e",
    ".5",
    "+1",
    "tru",
    "truex",
    "nul",
    "\"",
    "\"\\x\"",
    "\"\\u00g0\"",
    "\"\n\"",
    "\"\x80\"",
    "\"\xc0\xaf\"",     // overlong
    "\"\xed\xa0\x80\"", // surrogate
    "\"\xf4\x90\x80\x80\"",
    "\"\xc3\"",
    "[1,]",
    "[1 2]",
    "[",
    "]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{1:1}",
    "[}",
    "{]",
    "1 2",
    "{}{}",
    "[]x",
};

static bool
accepts(const char *text, size_t step)
{
    struct json_scan s;
    json_scan_init(&s);
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i += step)
        if (!json_scan_feed(&s, text + i, size - i < step ? size - i : step))
            return false;
    return json_scan_complete(&s);
}

static void
accepts_json_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (size_t step = 1; step <= 64; step *= 4)
            if (!accepts(good[i], step))
                fail_msg("refused: %s in pieces of %zu", good[i], step);
}

static void
refuses_what_is_not_one_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t step = 1; step <= 64; step *= 4)
            if (accepts(bad[i], step))
                fail_msg("accepted: %s in pieces of %zu", bad[i], step);
}

static void
bounds_depth(void **state)
{
    (void)state;
    char text[2 * JSON_SCAN_DEPTH_MAX + 4];
    for (int extra = 0; extra <= 1; extra++) {
        size_t depth = JSON_SCAN_DEPTH_MAX + (size_t)extra;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(accepts(text, 1), extra == 0);
    }
}

static void
scan_message(struct json_scan *s, const char *text)
{
    json_scan_init(s);
    json_scan_watch(s, NULL, "id");
    json_scan_watch(s, NULL, "method");
    json_scan_watch(s, "params", "streamId");
    for (size_t i = 0; i < strlen(text); i++)
        assert_true(json_scan_feed(s, text + i, 1));
    assert_true(json_scan_complete(s));
}

static void
captures_members_at_their_depth_only(void **state)
{
    (void)state;
    struct json_scan s;
    scan_message(
        &s, "{\"params\":{\"id\":9,\"x\":{\"streamId\":1},\"streamId\":77,\"a\":[{\"streamId\":"
            "2}]},\"q\":{\"streamId\":3,\"method\":\"no\"},\"method\":\"spawn\",\"id\":12}");
    const struct json_capture *id = json_scan_captured(&s, 0);
    const struct json_capture *method = json_scan_captured(&s, 1);
    const struct json_capture *stream = json_scan_captured(&s, 2);
    assert_int_equal(id->kind, JSON_KIND_NUMBER);
    assert_memory_equal(id->text, "12", 2);
    assert_int_equal(method->kind, JSON_KIND_STRING);
    assert_memory_equal(method->text, "spawn", 5);
    assert_int_equal(stream->size, 2);
    assert_memory_equal(stream->text, "77", 2);
    assert_false(stream->repeated);
}

static void
tells_repeated_and_long_members(void **state)
{
    (void)state;
    struct json_scan s;
    char text[JSON_SCAN_VALUE_MAX + 64];
    scan_message(&s, "{\"id\":1,\"id\":\"two\",\"\\u0069d\":3}");
    assert_true(json_scan_captured(&s, 0)->repeated);
    assert_int_equal(json_scan_captured(&s, 0)->kind, JSON_KIND_STRING);
    strcpy(text, "{\"id\":\"");
    memset(text + 7, 'x', JSON_SCAN_VALUE_MAX + 1);
    strcpy(text + 7 + JSON_SCAN_VALUE_MAX + 1, "\"}");
    scan_message(&s, text);
    assert_true(json_scan_captured(&s, 0)->too_long);
    assert_int_equal(json_scan_captured(&s, 0)->size, JSON_SCAN_VALUE_MAX);
}

static void
ignores_members_of_an_outer_array(void **state)
{
    (void)state;
    struct json_scan s;
    scan_message(&s, "[{\"id\":1,\"params\":{\"streamId\":1}}]");
    assert_int_equal(json_scan_captured(&s, 0)->kind, JSON_KIND_ABSENT);
    assert_int_equal(json_scan_captured(&s, 2)->kind, JSON_KIND_ABSENT);
    assert_int_equal(json_scan_root(&s), JSON_KIND_ARRAY);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_json_in_any_pieces),
        cmocka_unit_test(refuses_what_is_not_one_value),
        cmocka_unit_test(bounds_depth),
        cmocka_unit_test(captures_members_at_their_depth_only),
        cmocka_unit_test(tells_repeated_and_long_members),
        cmocka_unit_test(ignores_members_of_an_outer_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
