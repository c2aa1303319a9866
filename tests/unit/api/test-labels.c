// SPDX-License-Identifier: Apache-2.0
#include "api/labels.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *query;
    const char *filter; // JSON, or NULL: refused
} cases[] = {
    {"", "{}"},
    {"limit=1&cursor=x", "{}"},
    {"labels%5Bjob%5D=prepare", "{\"job\": \"prepare\"}"},
    {"labels[job]=a+b%2Bc&labels%5bk%5d=", "{\"job\": \"a b+c\", \"k\": \"\"}"},
    {"labels[a]=1&labels[a]=2", "{\"a\": \"2\"}"},
    {"labels[a]", "{\"a\": \"\"}"},
    {"&&labels[a]=1&", "{\"a\": \"1\"}"},
    {"labels%5B%C3%A9%5D=%E2%82%AC", "{\"\u00e9\": \"\u20ac\"}"},
    {"labelsx=1&label=2", "{}"},
    {"labels=", "{}"},
    {"labels=%7B%7D", "{}"},
    {"labels=%7B%27a%27%3A+%27b%27%7D", "{\"a\": \"b\"}"},
    {"labels={'a':'b',\"it's\":+'c\\'d\\\\'}", "{\"a\": \"b\", \"it's\": \"c'd\\\\\"}"},
    {"labels={'a':'\\x41\\u20ac\\U0001f600\\n'}", "{\"a\": \"A\u20ac\U0001f600\\n\"}"},
    // Refused.
    {"labels[]=1", NULL},
    {"labels[a=1", NULL},
    {"labels[a]=%", NULL},
    {"labels[a]=%4", NULL},
    {"labels[a]=%zz", NULL},
    {"labels[a]=%ff", NULL},
    {"labels[%00]=1", NULL},
    {"labels={", NULL},
    {"labels={'a'}", NULL},
    {"labels={'a':}", NULL},
    {"labels={'a':'b'", NULL},
    {"labels={'a':'b',}", NULL},
    {"labels={'a':'b'}x", NULL},
    {"labels={'a':b}", NULL},
    {"labels={'a':'\\q'}", NULL},
    {"labels={'a':'\\x4'}", NULL},
    {"labels={'a':'\\Uffffffff'}", NULL},
    {"labels={'a':'\\ud800'}", NULL},
    {"labels={'':'b'}", NULL},
    {"labels=a", NULL},
};

static void
test_queries(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        json_t *filter = NULL;
        int status = labels_parse_query(cases[i].query, strlen(cases[i].query), &filter, &err);
        if (cases[i].filter == NULL) {
            if (status == 0)
                fail_msg("accepted: %s", cases[i].query);
            assert_int_equal(err.code, ERR_INVALID_REQUEST);
            continue;
        }
        if (status < 0)
            fail_msg("refused: %s", cases[i].query);
        json_t *wanted = json_loads(cases[i].filter, 0, NULL);
        assert_non_null(wanted);
        if (!json_equal(filter, wanted))
            fail_msg("wrong filter: %s", cases[i].query);
        json_decref(wanted);
        json_decref(filter);
    }
}

static void
test_caps(void **state)
{
    (void)state;
    char query[LABELS_QUERY_MAX + 1];
    json_t *filter = NULL;
    size_t used = 0;
    for (int i = 0; i < LABELS_FILTER_MAX + 1; i++)
        used += (size_t)snprintf(query + used, sizeof query - used, "labels[%d]=x&", i);
    assert_int_equal(labels_parse_query(query, used, &filter, NULL), -1);
    memset(query, 'x', sizeof query);
    assert_int_equal(labels_parse_query(query, sizeof query, &filter, NULL), -1);
    assert_int_equal(labels_parse_query(query, sizeof query - 1, &filter, NULL), 0);
    json_decref(filter);
}

static void
test_all_must_match(void **state)
{
    (void)state;
    json_t *labels = json_loads("{\"a\": \"1\", \"b\": \"2\"}", 0, NULL);
    static const struct {
        const char *filter;
        bool match;
    } rows[] = {
        {"{}", true},
        {"{\"a\": \"1\"}", true},
        {"{\"a\": \"2\"}", false},
        {"{\"a\": \"1\", \"b\": \"2\"}", true},
        {"{\"c\": \"1\"}", false},
        {"{\"a\": \"1\", \"b\": \"\"}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *filter = json_loads(rows[i].filter, 0, NULL);
        assert_int_equal(labels_match(labels, filter), rows[i].match);
        json_decref(filter);
    }
    json_decref(labels);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_all_must_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
