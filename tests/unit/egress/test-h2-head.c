// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "egress/h2-fake.h"
#include "egress/h2-head.h"

enum { PAIRS_MAX = 10 };

static struct worker worker;
static const char *placeholder;

static int
set_up(void **state)
{
    (void)state;
    pair_policy(&worker);
    placeholder = policy_secret_placeholder(worker.policy, 0);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    patterns_free(worker.patterns);
    policy_free(worker.policy);
    return 0;
}

// Lines of "name value"; '@' in a value is the placeholder.
static void
fill(struct h2_fields *f, const char *text)
{
    h2_fields_init(f, HEAD_MAX);
    while (*text != '\0') {
        const char *line = strchr(text, '\n');
        const char *space = strchr(text, ' ');
        cleanup_buf struct buf value;
        buf_init(&value, HEAD_MAX);
        for (const char *p = space + 1; p < line; p++)
            assert_int_equal(
                *p == '@' ? buf_append_str(&value, placeholder) : buf_append(&value, p, 1), 0);
        assert_int_equal(h2_fields_add(f, text, (size_t)(space - text), buf_bytes(&value),
                                       buf_size(&value), false),
                         0);
        text = line + 1;
    }
}

#define START          ":method GET\n:scheme https\n:authority api.test\n:path /\n"
#define START_TO(path) ":method GET\n:scheme https\n:authority api.test\n:path " path "\n"

static enum h2_verdict
pass(const char *text, bool narrowed, struct h2_fields *out, struct refusal *r)
{
    static const struct destination to = {.port = 443, .name = "api.test", .name_size = 8};
    struct substitute s = {
        .policy = worker.policy, .host = to.name, .host_size = to.name_size, .port = to.port};
    struct h2_request request;
    cleanup_fields struct h2_fields in;
    fill(&in, text);
    h2_fields_init(out, HEAD_WRITTEN_MAX);
    *r = (struct refusal){0};
    return h2_head_pass_request(&in, &to, narrowed, &s, out, &request, r);
}

static const char *
value_of(const struct h2_fields *f, const char *name, bool *ret_sensitive)
{
    static char text[1024];
    for (size_t i = 0; i < f->count; i++) {
        struct h1_field field = h2_fields_at(f, i);
        if (!h1_span_is(field.name, name))
            continue;
        (void)snprintf(text, sizeof text, "%.*s", (int)field.value.size, field.value.data);
        *ret_sensitive = f->items[i].sensitive;
        return text;
    }
    return NULL;
}

static void
verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum h2_verdict verdict;
        int status;
    } cases[] = {
        {START, H2_PASS, 0},
        {START "host api.test\n", H2_PASS, 0},
        {START "te trailers\n", H2_PASS, 0},
        {START "x-key @\n", H2_PASS, 0},
        {START_TO("/a?b=@"), H2_PASS, 0},
        {":method OPTIONS\n:scheme https\n:authority api.test\n:path *\n", H2_PASS, 0},
        {":method GET\n:scheme https\n:path /\nhost api.test\n", H2_PASS, 0},
        {START_TO("*"), H2_RESET, 0},
        {START_TO("/a b"), H2_RESET, 0},
        {START_TO("/a#b"), H2_RESET, 0},
        {START_TO("/\x7f"), H2_RESET, 0},
        {START_TO("/\xc3\xa4"), H2_RESET, 0},
        {START_TO("https://api.test/"), H2_RESET, 0},
        {START_TO(""), H2_RESET, 0},
        {START ":path /\n", H2_RESET, 0},
        {"x-a b\n" START, H2_RESET, 0},
        {START "te gzip\n", H2_RESET, 0},
        {START "Upper b\n", H2_RESET, 0},
        {START "connection close\n", H2_RESET, 0},
        {START "upgrade h2c\n", H2_RESET, 0},
        {START "transfer-encoding chunked\n", H2_RESET, 0},
        {START "x-a b\rc\n", H2_RESET, 0},
        {START ":status 200\n", H2_RESET, 0},
        {START "host api.test\nhost api.test\n", H2_RESET, 0},
        {START "host evil.test\n", H2_REFUSE, 421},
        {START_TO("/@"), H2_REFUSE, 403},
        {START "host @\n", H2_REFUSE, 403},
        {START "proxy-authorization @\n", H2_REFUSE, 403},
        {":method GET\n:scheme https\n:authority evil.test\n:path /\n", H2_REFUSE, 421},
        {":method GET\n:scheme https\n:authority api.test:80\n:path /\n", H2_REFUSE, 421},
        {":method GET\n:scheme https\n:path /\n", H2_REFUSE, 400},
        {":method GET\n:scheme http\n:authority api.test\n:path /\n", H2_REFUSE, 400},
        {":method CONNECT\n:authority api.test\n", H2_REFUSE, 403},
        {":protocol websocket\n" START, H2_REFUSE, 403},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup_fields struct h2_fields out;
        struct refusal r;
        enum h2_verdict verdict = pass(cases[i].text, false, &out, &r);
        if (verdict != cases[i].verdict || (verdict == H2_REFUSE && r.status != cases[i].status))
            fail_msg("case %zu: %d, %d", i, (int)verdict, r.status);
    }
}

static void
values_are_swapped_and_never_indexed(void **state)
{
    (void)state;
    cleanup_fields struct h2_fields out;
    struct refusal r;
    bool sensitive = true;
    assert_int_equal(pass(START_TO("/?k=@") "x-key @\nx-plain b\n", false, &out, &r), H2_PASS);
    assert_string_equal(value_of(&out, "x-key", &sensitive), FAKE_VALUE);
    assert_true(sensitive);
    assert_string_equal(value_of(&out, ":path", &sensitive), "/?k=" FAKE_VALUE);
    assert_true(sensitive);
    assert_string_equal(value_of(&out, "x-plain", &sensitive), "b");
    assert_false(sensitive);
}

static void
narrowed_requests(void **state)
{
    (void)state;
    cleanup_fields struct h2_fields out;
    struct refusal r;
    bool sensitive;
    const char *text =
        START "accept-encoding br\nrange bytes=0-0\nx-ms-range bytes=0-0\nif-range \"x\"\nx-a b\n";
    assert_int_equal(pass(text, true, &out, &r), H2_PASS);
    assert_string_equal(value_of(&out, "accept-encoding", &sensitive), "identity");
    assert_null(value_of(&out, "range", &sensitive));
    assert_null(value_of(&out, "if-range", &sensitive));
    assert_null(value_of(&out, "x-ms-range", &sensitive));
    assert_string_equal(value_of(&out, "x-a", &sensitive), "b");
}

static void
trailers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum h2_verdict verdict;
    } cases[] = {
        {"x-t 1\n", H2_PASS},         {"x-t @\n", H2_REFUSE}, {":path /\n", H2_RESET},
        {"connection x\n", H2_RESET}, {"X-T a\n", H2_RESET},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct substitute s = {
            .policy = worker.policy, .host = "api.test", .host_size = 8, .port = 443};
        struct refusal r = {0};
        cleanup_fields struct h2_fields in;
        cleanup_fields struct h2_fields out;
        fill(&in, cases[i].text);
        h2_fields_init(&out, HEAD_MAX);
        if (h2_head_pass_trailers(&in, &s, &out, &r) != cases[i].verdict)
            fail_msg("case %zu", i);
    }
}

static void
responses(void **state)
{
    (void)state;
    cleanup_fields struct h2_fields in;
    cleanup_fields struct h2_fields out;
    bool sensitive;
    fill(&in, ":status 200\nx-echo a" FAKE_VALUE "b\nalt-svc h3\ncontent-length 5\nx-a b\n");
    h2_fields_init(&out, HEAD_WRITTEN_MAX);
    struct redact *redact = redact_new(worker.policy, worker.patterns, "api.test", 8);
    assert_int_equal(h2_head_pass_response(&in, redact, H2_BODY_RESIZED, &out), 0);
    redact_free(redact);
    assert_int_equal(h2_head_status(&out), 200);
    assert_null(value_of(&out, "alt-svc", &sensitive));
    assert_null(value_of(&out, "content-length", &sensitive));
    assert_string_equal(value_of(&out, "x-a", &sensitive), "b");
    const char *echo = value_of(&out, "x-echo", &sensitive);
    assert_non_null(echo);
    assert_null(strstr(echo, FAKE_VALUE));
    assert_non_null(strstr(echo, placeholder));
}

static void
statuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {":status 200\n", 200},
        {":status 99\n", -1},
        {":status 2000\n", -1},
        {":status 2x0\n", -1},
        {":status 099\n", -1},
        {"x-a b\n:status 200\n", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup_fields struct h2_fields in;
        fill(&in, cases[i].text);
        if (h2_head_status(&in) != cases[i].status)
            fail_msg("case %zu", i);
    }
}

// Character sets in which a value would not be found.
static void
charsets(void **state)
{
    (void)state;
    static const char *const hiding[] = {"text/plain; charset=UTF-16LE",
                                         "text/plain;CHARSET = \"utf-16\"",
                                         "a/b; charset=IBM037",
                                         "a/b; charset=utf-8; charset=utf-32",
                                         "a/b; charset=cp1047",
                                         "a/b;charset='ibm-500'",
                                         "application/json; charset=UTF-7"};
    static const char *const plain[] = {"text/html",
                                        "text/html; charset=utf-8",
                                        "a/b; charset=ISO-8859-15",
                                        "a/b; charset=cp1252",
                                        "a/b; charset=",
                                        "a/b; charset=x",
                                        "a/b; charset=ibm850",
                                        "charset",
                                        ""};
    for (size_t i = 0; i < ARRAY_SIZE(hiding); i++)
        if (!head_hides_text((struct h1_span){hiding[i], strlen(hiding[i])}))
            fail_msg("%s", hiding[i]);
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (head_hides_text((struct h1_span){plain[i], strlen(plain[i])}))
            fail_msg("%s", plain[i]);
}

static void
lists_are_bounded(void **state)
{
    (void)state;
    cleanup_fields struct h2_fields f;
    h2_fields_init(&f, 1000);
    char value[600] = {0};
    assert_int_equal(h2_fields_add(&f, "a", 1, value, sizeof value, false), 0);
    assert_int_equal(h2_fields_add(&f, "b", 1, value, sizeof value, false), -1);
    assert_int_equal(f.count, 1);
    for (int i = 1; i < H2_FIELDS_MAX; i++)
        assert_int_equal(h2_fields_add(&f, "c", 1, "", 0, false), 0);
    assert_int_equal(h2_fields_add(&f, "d", 1, "", 0, false), -1);
    assert_int_equal(h2_fields_at(&f, 1).value.size, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),          cmocka_unit_test(values_are_swapped_and_never_indexed),
        cmocka_unit_test(narrowed_requests), cmocka_unit_test(trailers),
        cmocka_unit_test(responses),         cmocka_unit_test(statuses),
        cmocka_unit_test(lists_are_bounded), cmocka_unit_test(charsets),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
