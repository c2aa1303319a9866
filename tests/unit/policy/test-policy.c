// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "policy/address.h"
#include "policy/policy.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static int
load(const char *text, struct policy **ret, struct error *err)
{
    json_t *config = json_loads(text, JSON_ALLOW_NUL, NULL);
    assert_non_null(config);
    int r = policy_from_json(json_object_get(config, "allow_net"),
                             json_object_get(config, "secrets"), ret, err);
    json_decref(config);
    return r;
}

static struct policy *
loaded(const char *text)
{
    struct policy *p = NULL;
    struct error err = {0};
    if (load(text, &p, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    return p;
}

static bool
allows(const struct policy *p, const char *name, uint16_t port)
{
    return policy_decide(p, name, strlen(name), NULL, port).allowed;
}

static bool
allows_ip(const struct policy *p, const char *ip, uint16_t port)
{
    struct in6_addr a;
    assert_true(address_parse(ip, strlen(ip), &a));
    return policy_decide(p, NULL, 0, &a, port).allowed;
}

static void
no_list_allows_what_is_public(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}", "{\"allow_net\":null,\"secrets\":null}"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct policy *p = loaded(texts[i]);
        assert_true(allows(p, "a.test", 1));
        assert_true(allows_ip(p, "8.8.8.8", 53));
        assert_false(allows_ip(p, "10.0.0.1", 80));
        assert_false(allows_ip(p, "169.254.169.254", 80));
        policy_free(p);
    }
}

static void
list_allows_what_it_names(void **state)
{
    (void)state;
    struct policy *none = loaded("{\"allow_net\":[]}");
    assert_false(allows(none, "a.test", 443));
    assert_false(allows_ip(none, "8.8.8.8", 443));
    policy_free(none);
    struct policy *p = loaded("{\"allow_net\":[\"a.test\",\"a.test:443\",\"*.b.test:80\","
                              "\"10.0.0.0/8\",\"8.8.8.0/24\"]}");
    assert_true(allows(p, "a.test", 22));
    assert_false(policy_decide(p, "a.test", 6, NULL, 22).port_named);
    struct policy_decision d = policy_decide(p, "a.test", 6, NULL, 443);
    assert_true(d.allowed && d.port_named);
    assert_string_equal(d.rule, "a.test:443");
    assert_true(allows(p, "x.b.test", 80));
    assert_false(allows(p, "x.b.test", 81));
    d = policy_decide(p, "b.test", 6, NULL, 80);
    assert_false(d.allowed);
    assert_non_null(d.reason);
    assert_true(allows_ip(p, "8.8.8.8", 1));
    assert_false(allows_ip(p, "10.0.0.1", 1)); // private, whatever the list says
    policy_free(p);
}

static void
secrets(void **state)
{
    (void)state;
    struct policy *p = loaded("{\"allow_net\":[\"*.test\"],\"secrets\":{"
                              "\"A\":{\"hosts\":[\"API.test\",\"*.x.test:8443\"],\"value\":\"v1\"},"
                              "\"B_2\":{\"hosts\":[\"b.test\"],\"value\":\"v2\"}}}");
    assert_int_equal(policy_secret_count(p), 2);
    const struct policy_secret *s = policy_secret_at(p, 0);
    assert_string_equal(s->name, "A");
    assert_int_equal(s->value_size, 2);
    assert_memory_equal(s->value, "v1", 3);
    assert_string_equal(policy_secret_host(s, 0), "api.test");
    assert_true(policy_secret_applies(s, "api.test", 8, 443));
    assert_true(policy_secret_applies(s, "a.x.test", 8, 8443));
    assert_false(policy_secret_applies(s, "a.x.test", 8, 443));
    assert_false(policy_secret_applies(s, "x.test", 6, 8443));
    assert_true(policy_bound(p, "b.test", 6, 443));
    assert_false(policy_bound(p, "c.test", 6, 443));
    for (size_t i = 0; i < 2; i++) {
        const char *text = policy_secret_placeholder(p, i);
        assert_int_equal(strlen(text), POLICY_PLACEHOLDER_MIN);
        assert_true(policy_placeholder_is_wellformed(text, strlen(text)));
    }
    assert_string_not_equal(policy_secret_placeholder(p, 0), policy_secret_placeholder(p, 1));
    policy_free(p);
}

static void
placeholder_forms(void **state)
{
    (void)state;
    char value[101];
    char text[300];
    memset(value, 'v', 100);
    value[100] = '\0';
    (void)snprintf(text, sizeof text,
                   "{\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"%s\"}}}", value);
    struct policy *p = loaded(text);
    char copy[101];
    assert_int_equal(policy_secret_at(p, 0)->placeholder_size, 100);
    memcpy(copy, policy_secret_placeholder(p, 0), 101);
    policy_free(p);
    assert_true(policy_placeholder_is_wellformed(copy, 100));
    assert_true(policy_placeholder_is_wellformed(copy, 40));
    assert_false(policy_placeholder_is_wellformed(copy, 39));
    for (size_t i = 0; i < 40; i++) {
        char was = copy[i];
        copy[i] = was == 'x' ? 'y' : 'x';
        if (policy_placeholder_is_wellformed(copy, 100))
            fail_msg("changed at %zu, yet well-formed", i);
        copy[i] = '\0';
        assert_false(policy_placeholder_is_wellformed(copy, 100));
        copy[i] = was;
    }
}

struct refusal_case {
    const char *text;
    const char *named; // what the message must name
};

#define SECRET(members) "{\"secrets\":{\"NAME1\":{" members "}}}"

static const struct refusal_case refusals[] = {
    {"{\"allow_net\":\"a.test\"}", "allow_net"},
    {"{\"allow_net\":[1]}", "allow_net"},
    {"{\"allow_net\":[\"api.*.x\"]}", "api.*.x"},
    {"{\"allow_net\":[\"127.1\"]}", "127.1"},
    {"{\"allow_net\":[\"a.test\\u0000.b.test\"]}", "allow_net"},
    {"{\"secrets\":[]}", "secrets"},
    {"{\"secrets\":{\"1A\":{\"hosts\":[\"a.test\"],\"value\":\"v\"}}}", "1A"},
    {"{\"secrets\":{\"A-B\":{\"hosts\":[\"a.test\"],\"value\":\"v\"}}}", "A-B"},
    {"{\"secrets\":{\"\":{\"hosts\":[\"a.test\"],\"value\":\"v\"}}}", "secrets"},
    {"{\"secrets\":{\"NAME1\":null}}", "NAME1"},
    {SECRET("\"hosts\":[],\"value\":\"canary\""), "NAME1"},
    {SECRET("\"value\":\"canary\""), "hosts"},
    {SECRET("\"hosts\":[\"a.test\"]"), "value"},
    {SECRET("\"hosts\":\"a.test\",\"value\":\"canary\""), "hosts"},
    {SECRET("\"hosts\":[1],\"value\":\"canary\""), "entry 0"},
    {SECRET("\"hosts\":[\"a.test\"],\"value\":1"), "value"},
    {SECRET("\"hosts\":[\"a.test\"],\"value\":\"\""), "empty"},
    {SECRET("\"hosts\":[\"a.test\"],\"value\":\"canary\\r\""), "NAME1"},
    {SECRET("\"hosts\":[\"a.test\"],\"value\":\"canary\\n\""), "NAME1"},
    {SECRET("\"hosts\":[\"a.test\"],\"value\":\"canary\\u0000\""), "NAME1"},
    {SECRET("\"hosts\":[\"a.test\"],\"value\":\"canary\",\"where\":[]"), "where"},
    {SECRET("\"hosts\":[\"1.2.3.4\"],\"value\":\"canary\""), "1.2.3.4"},
    {SECRET("\"hosts\":[\"*\"],\"value\":\"canary\""), "*"},
    {"{\"allow_net\":[\"b.test\"],\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"canary\"}}"
     "}",
     "a.test"},
    {"{\"allow_net\":[],\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"canary\"}}}",
     "a.test"},
    {"{\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"canary\"},"
     "\"B\":{\"hosts\":[\"b.test\"],\"value\":\"canary\"}}}",
     "same value"},
};

static void
refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        struct policy *p = NULL;
        struct error err = {0};
        if (load(refusals[i].text, &p, &err) == 0)
            fail_msg("accepted: %s", refusals[i].text);
        assert_null(p);
        assert_int_equal(err.code, ERR_INVALID_CONFIG);
        if (strstr(err.msg, refusals[i].named) == NULL)
            fail_msg("%s: %s", refusals[i].text, err.msg);
        assert_null(strstr(err.msg, "canary"));
    }
}

static const char full[] = "{\"allow_net\":[\"*.test\",\"8.8.8.8:53\"],\"secrets\":{"
                           "\"A\":{\"hosts\":[\"a.test\",\"*.a.test\"],\"value\":\"value one\"},"
                           "\"B\":{\"hosts\":[\"b.test:443\"],\"value\":\"a longer value, of more "
                           "than forty characters\"}}}";

static void
encoded_and_decoded(void **state)
{
    (void)state;
    struct policy *p = loaded(full);
    struct error err = {0};
    assert_int_equal(policy_add_dial_override(p, "A.test=127.0.0.1:8443", &err), 0);
    assert_int_equal(policy_add_dial_override(p, "b.test=[::1]:8443", &err), 0);
    cleanup_buf struct buf out;
    buf_init_secret(&out, POLICY_ENCODED_MAX);
    assert_int_equal(policy_encode(p, &out, &err), 0);
    struct policy *q = NULL;
    assert_int_equal(policy_decode(buf_bytes(&out), buf_size(&out), &q, &err), 0);
    for (size_t i = 0; i < 2; i++) {
        const struct policy_secret *a = policy_secret_at(p, i);
        const struct policy_secret *b = policy_secret_at(q, i);
        assert_string_equal(a->value, b->value);
        assert_string_equal(a->placeholder, b->placeholder);
        assert_int_equal(a->host_count, b->host_count);
    }
    assert_true(allows(q, "x.test", 1));
    assert_true(allows_ip(q, "8.8.8.8", 53));
    assert_non_null(policy_dial_override(q, "a.test", 6));
    assert_int_equal(policy_dial_override(q, "b.test", 6)->sa_family, AF_INET6);
    assert_null(policy_dial_override(q, "c.test", 6));
    policy_free(q);
    // Every shortened form, and every changed byte, is refused or means a policy; none does harm.
    for (size_t n = 0; n < buf_size(&out); n++) {
        cleanup_free uint8_t *copy = malloc(n > 0 ? n : 1);
        memcpy(copy, buf_bytes(&out), n);
        assert_int_equal(policy_decode(copy, n, &q, &err), -1);
    }
    for (size_t i = 0; i < buf_size(&out); i++) {
        uint8_t was = buf_bytes(&out)[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            buf_bytes(&out)[i] = (uint8_t)(was ^ 1u << bit);
            if (policy_decode(buf_bytes(&out), buf_size(&out), &q, &err) == 0)
                policy_free(q);
        }
        buf_bytes(&out)[i] = was;
    }
    policy_free(p);
}

static void
overrides_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "a.test",
                                      "a.test=",
                                      "=1.2.3.4:80",
                                      "a.test=1.2.3.4",
                                      "a.test=b.test:80",
                                      "*.a.test=1.2.3.4:80",
                                      "a.test=1.2.3.0/24:80",
                                      "a.test=::1:80"};
    struct policy *p = loaded("{}");
    struct error err;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (policy_add_dial_override(p, bad[i], &err) == 0)
            fail_msg("accepted: %s", bad[i]);
    policy_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_list_allows_what_is_public),
        cmocka_unit_test(list_allows_what_it_names),
        cmocka_unit_test(secrets),
        cmocka_unit_test(placeholder_forms),
        cmocka_unit_test(refused_and_named),
        cmocka_unit_test(encoded_and_decoded),
        cmocka_unit_test(overrides_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
