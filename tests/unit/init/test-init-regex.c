// SPDX-License-Identifier: Apache-2.0
// ECMAScript's regular expressions on PCRE2.
#include "unit.h"

#include "base/cleanup.h"
#include "init/files/regex.h"

#include <string.h>

static int
matches(const char *source, const char *flags, const char *text)
{
    json_t *error = NULL;
    struct regex *r = regex_new(source, strlen(source), flags, &error);
    if (r == NULL) {
        print_error("/%s/%s: %s\n", source, flags,
                    json_string_value(json_object_get(error, "message")));
        json_decref(error);
        return -2;
    }
    int n = regex_matches(r, text, strlen(text));
    regex_free(r);
    return n;
}

static const struct {
    const char *source, *flags, *text;
    int expected;
} cases[] = {
    {"", "", "x", 1},
    {"", "", "", 1},
    {"a.c", "", "xabcx", 1},
    {"a.c", "", "a\nc", 0},
    {"a.c", "",
     "a\xe2\x80\xa8"
     "c",
     0},
    {"a.c", "s", "a\nc", 1},
    {"^b$", "", "a\nb\nc", 0},
    {"^b$", "m", "a\nb\nc", 1},
    {"b$", "", "b\n", 0},
    {"ABC", "", "abc", 0},
    {"ABC", "i", "abc", 1},
    {"\xc3\x89", "i", "\xc3\xa9", 1},
    {"b", "y", "ab", 0},
    {"a", "y", "ab", 1},
    {"\\.ts$", "", "x.ts", 1},
    {"\\.ts$", "", "xxts", 0},
    {"[^]", "", "\n", 1},
    {"[]", "", "a", 0},
    {"[a-c]", "", "b", 1},
    {"[^a-c]", "", "b", 0},
    {"[a\\-c]", "", "b", 0},
    {"[[:alpha:]]", "", "b]", 0},
    {"[[:alpha:]]", "", ":]", 1},
    {"[\\b]", "", "\b", 1},
    {"[\\d-]", "", "-", 1},
    {"[\\]]", "", "]", 1},
    {"]", "", "]", 1},
    {"a{2}", "", "aa", 1},
    {"a{2,}$", "", "a", 0},
    {"a{,2}", "", "a{,2}", 1},
    {"{", "", "{", 1},
    {"x{1", "", "x{1", 1},
    {"\\s", "", "\xc2\xa0", 1},
    {"\\s", "", "\xef\xbb\xbf", 1},
    {"\\S", "", "\xc2\xa0", 0},
    {"[\\S]", "", "\xc2\xa0", 0},
    {"[\\S]", "", "\xc3\xa9", 1},
    {"[^\\s]", "", " ", 0},
    {"\\w", "", "\xc3\xa9", 0},
    {"\\W", "", "\xc3\xa9", 1},
    {"\\x41\\u0042", "", "AB", 1},
    {"\\u{41}", "u", "A", 1},
    {"^\\u{3}$", "", "uuu", 1},
    {"\\ud83d\\ude00", "", "\xf0\x9f\x98\x80", 1},
    {"\\0", "", "a", 0},
    {"\\101", "", "A", 1},
    {"\\8", "", "8", 1},
    {"(a)\\1", "", "aa", 1},
    {"(a)\\1", "", "ab", 0},
    {"\\1(a)", "", "a", 1},
    {"(?<n>a|b)-\\k<n>", "", "b-b", 1},
    {"(?<n>a|b)-\\k<n>", "", "a-b", 0},
    {"\\k<n>", "", "k<n>", 1},
    {"(?:a|b)+c", "", "abc", 1},
    {"a(?=b)", "", "ab", 1},
    {"a(?!b)", "", "ab", 0},
    {"(?<=a)b", "", "ab", 1},
    {"(?<!a)b", "", "ab", 0},
    {"\\\\(a)\\1", "", "\\aa", 1},
    {"[(](a)\\1", "", "(aa", 1},
    {"\\p{Lu}", "u", "A", 1},
    {"\\p{Lu}", "u", "a", 0},
    {"\\p{Script=Greek}", "u", "\xce\xb1", 1},
    {"\\p{Lu}", "", "p{Lu}", 1},
    // What PCRE2 knows and ECMAScript does not stands for itself.
    {"\\Q.\\E", "", "QxE", 1},
    {"\\Aa", "", "Aa", 1},
    {"\\h\\K\\R", "", "hKR", 1},
    {"#a b", "", "#a b", 1},
    {"\\cA", "", "\x01", 1},
    {"\\c", "", "\\c", 1},
    // Not UTF-8.
    {"^a\\ufffdb$", "",
     "a\xff"
     "b",
     1},
};

static void
meaning(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int n = matches(cases[i].source, cases[i].flags, cases[i].text);
        if (n != cases[i].expected)
            fail_msg("/%s/%s on \"%s\": %d", cases[i].source, cases[i].flags, cases[i].text, n);
    }
}

static void
refused(void **state)
{
    (void)state;
    static const struct {
        const char *source, *flags, *constructor;
    } wrong[] = {
        {"(", "", "SyntaxError"},         {")", "", "SyntaxError"},
        {"[", "", "SyntaxError"},         {"\\", "", "SyntaxError"},
        {"*", "", "SyntaxError"},         {"a**", "", "SyntaxError"},
        {"a++", "", "SyntaxError"},       {"(*UTF)", "", "SyntaxError"},
        {"a{2,1}", "", "SyntaxError"},    {"[b-a]", "", "SyntaxError"},
        {"(?<n", "", "SyntaxError"},      {"(?<n>a)\\k<m>", "", "SyntaxError"},
        {"]", "u", "SyntaxError"},        {"\\j", "u", "SyntaxError"},
        {"\\1", "u", "SyntaxError"},      {"x", "z", "SyntaxError"},
        {"x", "ii", "SyntaxError"},       {"(?>a)", "", "NotSupported"},
        {"(?i:a)", "", "NotSupported"},   {"(?R)", "", "NotSupported"},
        {"(?<=a*)b", "", "NotSupported"}, {"\\ud83d", "", "NotSupported"},
        {"[a--b]", "v", "NotSupported"},  {"a{70000}", "", "NotSupported"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_t *error = NULL;
        struct regex *r =
            regex_new(wrong[i].source, strlen(wrong[i].source), wrong[i].flags, &error);
        if (r != NULL)
            fail_msg("/%s/%s is taken", wrong[i].source, wrong[i].flags);
        assert_string_equal(json_string_value(json_object_get(error, "constructorName")),
                            wrong[i].constructor);
        json_decref(error);
    }
}

static void
bounded(void **state)
{
    (void)state;
    assert_int_equal(matches("(a|aa)+[bc]", "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                     -1);
    static char many[REGEX_SOURCE_MAX + 2];
    json_t *error = NULL;
    memset(many, 'a', REGEX_SOURCE_MAX + 1);
    assert_null(regex_new(many, REGEX_SOURCE_MAX + 1, "", &error));
    json_decref(error);
    memset(many, '(', REGEX_SOURCE_MAX);
    assert_null(regex_new(many, REGEX_SOURCE_MAX, "", &error));
    json_decref(error);
    for (size_t i = 0; i < REGEX_SOURCE_MAX; i += 2)
        memcpy(many + i, "()", 2);
    struct regex *r = regex_new(many, REGEX_SOURCE_MAX, "", &error);
    if (r == NULL)
        json_decref(error);
    regex_free(r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meaning),
        cmocka_unit_test(refused),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
