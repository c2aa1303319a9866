// SPDX-License-Identifier: Apache-2.0
// Glob patterns as regular expressions.
#include "unit.h"

#include "base/cleanup.h"
#include "init/files/glob-pattern.h"
#include "init/files/regex.h"

#include <string.h>

static const struct glob_options all = {.extended = true, .globstar = true};

static int
segment_matches(const char *pattern, const char *name, const struct glob_options *o)
{
    struct buf text cleanup_buf;
    buf_init(&text, 4096);
    assert_int_equal(glob_translate_segment(&text, pattern, strlen(pattern), o), 0);
    struct regex *r = regex_new_raw(&text, false);
    assert_non_null(r);
    int n = regex_matches(r, name, strlen(name));
    regex_free(r);
    return n;
}

static void
segments(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        int expected;
    } cases[] = {
        {"*", "", 1},
        {"*", ".x", 1},
        {"*", "a\nb", 1},
        {"a*c", "abbc", 1},
        {"a*c", "abbd", 0},
        {"a**c", "abc", 1},
        {"?", "\xc3\xa9", 1},
        {"?", "ab", 0},
        {"[abc]", "b", 1},
        {"[!abc]", "b", 0},
        {"[^a]", "^", 1},
        {"[^a]", "b", 0},
        {"[a-c]", "b", 1},
        {"[a-]", "-", 1},
        {"[\\]]", "]", 1},
        {"[]", "]", 0},
        {"[", "[", 1},
        {"[a", "[a", 1},
        {"a.b", "axb", 0},
        {"a+b", "aab", 0},
        {"a+b", "a+b", 1},
        {"^$|()", "^$|()", 1},
        {"{a,b}c", "bc", 1},
        {"{a,b}c", "c", 0},
        {"{a,}c", "c", 1},
        {"{a,{b,d}}", "d", 1},
        {"{a", "{a", 1},
        {"a,b", "a,b", 1},
        {"a}", "a}", 1},
        {"\\*", "*", 1},
        {"\\*", "x", 0},
        {"[[:digit:]]", "5", 1},
        {"[[:digit:]]", "x", 0},
        {"[![:digit:]]", "x", 1},
        {"?(a)b", "b", 1},
        {"@(a|b)", "b", 1},
        {"@(a|b)", "ab", 0},
        {"+(ab)", "abab", 1},
        {"*(ab)c", "c", 1},
        {"!(a)", "b", 1},
        {"!(a)", "a", 0},
        {"@(a", "@(a", 1},
        {"@({a,b})", "b", 1},
        {"(a)", "(a)", 1},
        {"\\Qa\\E", "QaE", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (segment_matches(cases[i].pattern, cases[i].name, &all) != cases[i].expected)
            fail_msg("%s on \"%s\"", cases[i].pattern, cases[i].name);
    static const struct glob_options plain = {0};
    assert_int_equal(segment_matches("@(a|b)", "b", &plain), 0);
    assert_int_equal(segment_matches("@(a|b)", "@(a|b)", &plain), 1);
}

static void
paths(void **state)
{
    (void)state;
    static const struct {
        const char *root, *pattern, *path;
        int expected;
    } cases[] = {
        {"/r", "a", "/r/a", 1},        {"/r", "a", "/r/a/b", 0},  {"/r", "*/b", "/r/a/b", 1},
        {"/r", "*", "/r/a/b", 0},      {"/r", "**/b", "/r/b", 1}, {"/r", "**/b", "/r/a/c/b", 1},
        {"/r", "**", "/r/a/b", 1},     {"/r", "a/**", "/r/a", 0}, {"/r", "a/**", "/r/a/b", 1},
        {"/r", "a/**/b", "/r/a/b", 1}, {"/r.", "a", "/rx/a", 0},  {"", "/x/*", "/x/y", 1},
        {"/[r]", "a", "/[r]/a", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf text cleanup_buf;
        buf_init(&text, 4096);
        assert_int_equal(glob_translate_path(&text, cases[i].root, cases[i].pattern, &all), 0);
        struct regex *r = regex_new_raw(&text, false);
        assert_non_null(r);
        if (regex_matches(r, cases[i].path, strlen(cases[i].path)) != cases[i].expected)
            fail_msg("%s + %s on %s", cases[i].root, cases[i].pattern, cases[i].path);
        regex_free(r);
    }
}

static void
kinds(void **state)
{
    (void)state;
    assert_true(glob_is_fixed("a.b-c+!", 7));
    assert_false(glob_is_fixed("a\\*", 3));
    assert_false(glob_is_fixed("@(a)", 4));
    assert_true(glob_is_star("**", 2, &all));
    assert_false(glob_is_star("**a", 3, &all));
    struct buf small cleanup_buf;
    buf_init(&small, 8);
    assert_int_equal(glob_translate_segment(&small, "a*b*c", 5, &all), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments),
        cmocka_unit_test(paths),
        cmocka_unit_test(kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
