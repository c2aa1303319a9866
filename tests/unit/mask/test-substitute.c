// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "mask/substitute.h"

#include <jansson.h>
#include <string.h>

#define VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2"

struct fixture {
    struct policy *policy;
    const char *key;   // placeholder for api.test
    const char *other; // for two.test
};

static struct fixture f;

static int
set_up(void **state)
{
    struct error err = {0};
    json_t *json = json_loads("{\"KEY\":{\"hosts\":[\"api.test\"],\"value\":\"" VALUE "\"},"
                              "\"OTHER\":{\"hosts\":[\"two.test\"],\"value\":\"othervalue\"}}",
                              0, NULL);
    if (policy_from_json(NULL, json, &f.policy, &err) != 0)
        fail_msg("%s", err.msg);
    json_decref(json);
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(policy_secret_name(f.policy, i), "KEY") == 0)
            f.key = policy_secret_placeholder(f.policy, i);
        else
            f.other = policy_secret_placeholder(f.policy, i);
    }
    (void)state;
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    policy_free(f.policy);
    return 0;
}

static struct substitute
request(void)
{
    return (struct substitute){.policy = f.policy, .host = "api.test", .host_size = 8, .port = 443};
}

static struct h1_span
span(const char *text)
{
    return (struct h1_span){text, strlen(text)};
}

static enum substitute_result
swap(struct substitute *s, const char *value, size_t cap, struct buf *out)
{
    struct h1_field field = {.name = span("x"), .value = span(value)};
    buf_init_secret(out, cap);
    return substitute_field(s, &field, out);
}

static void
test_cap(void **state)
{
    (void)state;
    struct substitute s = request();
    struct buf out;
    assert_int_equal(swap(&s, f.key, 20, &out), SUBSTITUTE_FULL);
    buf_done(&out);
    assert_int_equal(swap(&s, f.key, strlen(VALUE), &out), SUBSTITUTE_OK);
    assert_memory_equal(buf_bytes(&out), VALUE, strlen(VALUE));
    buf_done(&out);
}

static void
test_not_for_host(void **state)
{
    (void)state;
    struct substitute s = request();
    struct buf out;
    assert_int_equal(swap(&s, f.other, 4096, &out), SUBSTITUTE_MISUSE);
    assert_string_equal(s.secret, "OTHER");
    assert_string_equal(s.place, "header");
    assert_string_equal(s.reason, "placeholder_not_for_host");
    buf_done(&out);
}

static void
test_plain_never_swaps(void **state)
{
    (void)state;
    struct substitute s = request();
    struct buf out;
    s.plain = true;
    assert_int_equal(swap(&s, f.key, 4096, &out), SUBSTITUTE_MISUSE);
    assert_string_equal(s.reason, "placeholder_without_tls");
    assert_int_equal(s.swapped[SUBSTITUTE_HEADER], 0);
    buf_done(&out);
}

// Each byte of a query's placeholder encoded in turn.
static void
test_query_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < strlen(f.key); i++) {
        char text[256];
        struct substitute s = request();
        struct buf out;
        buf_init_secret(&out, 4096);
        int n =
            snprintf(text, sizeof text, "a=%.*s%%%02x%s&b", (int)i, f.key, f.key[i], f.key + i + 1);
        assert_int_equal(substitute_query(&s, (struct h1_span){text, (size_t)n}, &out),
                         SUBSTITUTE_OK);
        assert_int_equal(buf_size(&out), strlen("a=" VALUE "&b"));
        assert_memory_equal(buf_bytes(&out), "a=" VALUE "&b", buf_size(&out));
        buf_done(&out);
    }
}

static void
test_query_ends_in_percent(void **state)
{
    (void)state;
    static const char *const texts[] = {"%", "%4", "a%", "%zz", "", "%%%", "csec_%"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct substitute s = request();
        struct buf out;
        buf_init_secret(&out, 4096);
        assert_int_equal(substitute_query(&s, span(texts[i]), &out), SUBSTITUTE_OK);
        assert_int_equal(buf_size(&out), strlen(texts[i]));
        buf_done(&out);
    }
}

static void
test_forbid(void **state)
{
    (void)state;
    char encoded[512] = "";
    struct substitute s = request();
    for (const char *p = f.key; *p != '\0'; p++)
        (void)sprintf(encoded + strlen(encoded), "%%%02X", *p);
    assert_int_equal(substitute_forbid(&s, span("/a/b"), "path"), SUBSTITUTE_OK);
    assert_int_equal(substitute_forbid_encoded(&s, span(encoded), "path"), SUBSTITUTE_MISUSE);
    assert_string_equal(s.reason, "placeholder_not_enabled_here");
    assert_string_equal(s.secret, "KEY");
}

// Every cut of a body finds it, once.
static void
test_watch(void **state)
{
    (void)state;
    char text[128];
    int n = snprintf(text, sizeof text, "ab_csec_%sxyz", f.key);
    for (int cut = 0; cut <= n; cut++) {
        for (int step = 1; step < 8; step++) {
            struct substitute_seen seen = {0};
            const char *name = NULL;
            int found = substitute_watch(&seen, f.policy, (uint8_t *)text, (size_t)cut, &name);
            for (int at = cut; at < n; at += step) {
                size_t size = (size_t)(n - at < step ? n - at : step);
                found += substitute_watch(&seen, f.policy, (uint8_t *)text + at, size, &name);
            }
            assert_int_equal(found, 1);
            assert_string_equal(name, "KEY");
        }
    }
}

static void
test_watch_nothing(void **state)
{
    (void)state;
    static const char text[] = "csec_ csec_short csec_0123456789abcde- CSEC_0123456789abcdefghij";
    struct substitute_seen seen = {0};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof text - 1; i++)
        assert_false(substitute_watch(&seen, f.policy, (const uint8_t *)text + i, 1, &name));
}

// Nobody who reads the audit learns a placeholder from a path.
static void
test_shown_paths(void **state)
{
    (void)state;
    char target[512];
    char shown[64];
    (void)snprintf(target, sizeof target, "/a%%2F%s/cse%%63%%5F%s/b?k=%s", f.key, f.other + 5,
                   f.key);
    substitute_show_path(f.policy, span(target), shown, sizeof shown);
    assert_string_equal(shown, "/a%2F{KEY}/{OTHER}/b");
    substitute_show_path(f.policy, span("/only?k"), shown, sizeof shown);
    assert_string_equal(shown, "/only");
    substitute_show_path(f.policy, span("/123456789"), shown, 5);
    assert_string_equal(shown, "/123");
    (void)snprintf(target, sizeof target, "/12%s", f.key);
    substitute_show_path(f.policy, span(target), shown, 6);
    assert_string_equal(shown, "/12{K");
    substitute_show_path(f.policy, (struct h1_span){0}, shown, sizeof shown);
    assert_string_equal(shown, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_not_for_host),
        cmocka_unit_test(test_plain_never_swaps),
        cmocka_unit_test(test_query_bytes),
        cmocka_unit_test(test_query_ends_in_percent),
        cmocka_unit_test(test_forbid),
        cmocka_unit_test(test_shown_paths),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_watch_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
