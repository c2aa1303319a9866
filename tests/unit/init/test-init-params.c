// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "init/params.h"

#include <stdlib.h>
#include <string.h>

static const struct param inner[] = {
    {"flag", PARAM_BOOL, .optional = true}, {"mode", PARAM_INDEX, .optional = true}, {0}};
static const char *const choices[] = {"piped", "null", NULL};
static const struct param table[] = {
    {"path", PARAM_NAME},
    {"text", PARAM_STRING, .optional = true},
    {"pid", PARAM_INTEGER, .optional = true},
    {"args", PARAM_NAMES, .optional = true},
    {"env", PARAM_NAME_MAP, .optional = true},
    {"out", PARAM_CHOICE, .optional = true, .choices = choices},
    {"when", PARAM_DATE, .optional = true},
    {"options", PARAM_OBJECT, .optional = true, .members = inner},
    {0},
};

static json_t *
parse(const char *text)
{
    json_t *v = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(v);
    return v;
}

static void
good_and_nul(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum params_status status;
    } rows[] = {
        {"{\"path\":\"\"}", PARAMS_OK},
        {"{\"path\":\"a\",\"text\":null,\"more\":[1]}", PARAMS_OK},
        {"{\"path\":\"a\",\"text\":\"\\u0000\",\"pid\":-3,\"args\":[],\"env\":{},\"out\":\"null\","
         "\"when\":1.5}",
         PARAMS_OK},
        {"{\"path\":\"a\",\"when\":\"2026\",\"options\":{\"flag\":true,\"mode\":420,\"x\":1}}",
         PARAMS_OK},
        {"{\"path\":\"a\\u0000\"}", PARAMS_NUL},
        {"{\"path\":\"a\",\"args\":[\"x\",\"\\u0000\"]}", PARAMS_NUL},
        {"{\"path\":\"a\",\"env\":{\"k\":\"\\u0000\"}}", PARAMS_NUL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *v = parse(rows[i].text);
        json_t *issues = json_array();
        assert_int_equal(params_check(table, v, issues), rows[i].status);
        assert_int_equal(json_array_size(issues), 0);
        json_decref(issues);
        json_decref(v);
    }
}

static void
expect_issue(const char *text, const char *path, const char *expected)
{
    json_t *v = parse(text);
    json_t *issues = json_array();
    assert_int_equal(params_check(table, v, issues), PARAMS_INVALID);
    assert_int_equal(json_array_size(issues), 1);
    json_t *issue = json_array_get(issues, 0);
    char *got = json_dumps(json_object_get(issue, "path"), JSON_COMPACT);
    assert_string_equal(got, path);
    assert_string_equal(json_string_value(json_object_get(issue, "expected")), expected);
    assert_true(json_is_string(json_object_get(issue, "code")));
    assert_true(json_is_string(json_object_get(issue, "message")));
    free(got);
    json_decref(issues);
    json_decref(v);
}

static void
issues(void **state)
{
    (void)state;
    expect_issue("[]", "[]", "object");
    expect_issue("{}", "[\"path\"]", "string");
    expect_issue("{\"path\":1}", "[\"path\"]", "string");
    expect_issue("{\"path\":\"a\",\"pid\":\"1\"}", "[\"pid\"]", "number");
    expect_issue("{\"path\":\"a\",\"pid\":1.5}", "[\"pid\"]", "int");
    expect_issue("{\"path\":\"a\",\"pid\":1e300}", "[\"pid\"]", "int");
    expect_issue("{\"path\":\"a\",\"args\":\"x\"}", "[\"args\"]", "array");
    expect_issue("{\"path\":\"a\",\"args\":[\"x\",null]}", "[\"args\",\"1\"]", "string");
    expect_issue("{\"path\":\"a\",\"env\":{\"K\":1}}", "[\"env\",\"K\"]", "string");
    expect_issue("{\"path\":\"a\",\"out\":\"x\"}", "[\"out\"]", "\"piped\"|\"null\"");
    expect_issue("{\"path\":\"a\",\"when\":true}", "[\"when\"]", "date string");
    expect_issue("{\"path\":\"a\",\"options\":{\"flag\":1}}", "[\"options\",\"flag\"]", "boolean");
    expect_issue("{\"path\":\"a\",\"options\":{\"mode\":-1}}", "[\"options\",\"mode\"]",
                 "nonnegative int");
}

static void
data(void **state)
{
    (void)state;
    json_t *all = json_array();
    (void)json_array_append_new(all, params_issue("string", json_pack("[s]", "path"), NULL));
    json_t *d = params_issues_data(all);
    assert_string_equal(json_string_value(json_object_get(d, "constructorName")), "ZodError");
    assert_string_equal(json_string_value(json_object_get(d, "message")),
                        "[{\"expected\":\"string\",\"code\":\"invalid_type\",\"path\":[\"path\"],"
                        "\"message\":\"Invalid input: expected string, received undefined\"}]");
    json_decref(d);
}

static void
issues_are_bounded(void **state)
{
    (void)state;
    json_t *args = json_array();
    for (int i = 0; i < 10000; i++)
        (void)json_array_append_new(args, json_true());
    json_t *v = json_pack("{s:s, s:o}", "path", "a", "args", args);
    json_t *found = json_array();
    assert_int_equal(params_check(table, v, found), PARAMS_INVALID);
    assert_true(json_array_size(found) <= 64);
    json_decref(found);
    json_decref(v);
}

static void
getters(void **state)
{
    (void)state;
    json_t *v = parse("{\"a\":\"x\",\"b\":true,\"n\":null,\"i\":7}");
    uint64_t i = 0;
    double d = 0;
    assert_string_equal(param_text(v, "a"), "x");
    assert_null(param_text(v, "n"));
    assert_null(param_value(v, "n"));
    assert_null(param_text(NULL, "a"));
    assert_true(param_flag(v, "b", false));
    assert_true(param_flag(v, "n", true));
    assert_true(param_index(v, "i", &i) && i == 7);
    assert_false(param_number(v, "none", &d));
    json_decref(v);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_and_nul),       cmocka_unit_test(issues),  cmocka_unit_test(data),
        cmocka_unit_test(issues_are_bounded), cmocka_unit_test(getters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
