// SPDX-License-Identifier: Apache-2.0
// What a policy may say beyond Deno's shape, and what the operator says of it.
#include "unit.h"

#include "policy/address.h"
#include "policy/operator.h"
#include "policy/policy.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static int
load_named(const char *text, struct operator* o, const char *named, struct policy **ret,
           struct error *err)
{
    json_t *document = json_loads(text, JSON_ALLOW_NUL, NULL);
    assert_non_null(document);
    const struct policy_request request = {
        .document = document, .whole = true, .named = named, .operator= o };
    int r = policy_load(&request, ret, err);
    json_decref(document);
    return r;
}

static struct policy *
loaded_named(const char *text, struct operator* o, const char *named)
{
    struct policy *p = NULL;
    struct error err = {0};
    if (load_named(text, o, named, &p, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    return p;
}

static struct policy *
loaded(const char *text)
{
    return loaded_named(text, NULL, NULL);
}

static int
read_value(void *user, const char *name, struct buf *out, struct error *err)
{
    (void)user;
    if (strcmp(name, "broken") == 0)
        return error_set(err, ERR_UNAVAILABLE, "secret %s: no", name);
    return buf_append_str(out, "sk-the-operators-own-value-of-some-length");
}

static struct operator operator_of(const char *text)
{
    struct operator o = {0};
    struct error err = {0};
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    if (operator_init(&o, document, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    o.read = read_value;
    return o;
}

static bool
allows(const struct policy *p, const char *name, uint16_t port)
{
    return policy_decide(p, name, strlen(name), NULL, port).allowed;
}

static struct in6_addr
address(const char *text)
{
    struct in6_addr a;
    assert_true(address_parse(text, strlen(text), &a));
    return a;
}

static bool
allows_ip(const struct policy *p, const char *ip, uint16_t port)
{
    struct in6_addr a = address(ip);
    return policy_decide(p, NULL, 0, &a, port).allowed;
}

static bool
dials(const struct policy *p, const char *name, const char *ip, uint16_t port)
{
    struct in6_addr a = address(ip);
    return policy_check_address(p, name, strlen(name), &a, port) == NULL;
}

static void
deny_wins(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"allowNet\":[\"*.x.test\",\"8.8.0.0/"
                                        "16\"],\"denyNet\":[\"bad.x.test\",\"8.8.8.0/24:53\"]}",
                                        "{\"allow_net\":[\"*.x.test\",\"8.8.0.0/"
                                        "16\"],\"deny_net\":[\"bad.x.test\",\"8.8.8.0/24:53\"]}",
                                        "{\"denyNet\":[\"bad.x.test\",\"8.8.8.0/24:53\"]}"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct policy *p = loaded(texts[i]);
        assert_true(allows(p, "a.x.test", 443));
        assert_false(allows(p, "bad.x.test", 443));
        struct policy_decision d = policy_decide(p, "bad.x.test", 10, NULL, 443);
        assert_string_equal(d.rule, "bad.x.test");
        assert_true(allows_ip(p, "8.8.8.8", 443));
        assert_false(allows_ip(p, "8.8.8.8", 53));
        assert_true(dials(p, "a.x.test", "8.8.8.8", 443));
        assert_false(dials(p, "a.x.test", "8.8.8.8", 53)); // also by name
        policy_free(p);
    }
}

static void
settings(void **state)
{
    (void)state;
    struct policy *p = loaded("{}");
    const struct policy_settings *s = policy_settings(p);
    assert_false(s->pass_ech || s->pass_misused_heads || s->block_seen_bodies || s->drop_audit);
    assert_int_equal(s->max_tx_bytes, 0);
    policy_free(p);
    p = loaded("{\"ech\":\"allow\",\"onMisuse\":{\"head\":\"pass\",\"body\":\"block\"},"
               "\"onAuditFailure\":\"drop\",\"maxTxBytes\":77,\"caConstraint\":\"bound\","
               "\"inspect\":[\"*.i.test:443\"]}");
    s = policy_settings(p);
    assert_true(s->pass_ech && s->pass_misused_heads && s->block_seen_bodies && s->drop_audit);
    assert_int_equal(s->max_tx_bytes, 77);
    assert_true(policy_inspected(p, "a.i.test", 8, 443));
    assert_false(policy_inspected(p, "a.i.test", 8, 80));
    assert_false(policy_inspected(p, "i.test", 6, 443));
    assert_int_equal(policy_inspect_count(p), 1);
    assert_string_equal(policy_inspect_host(p, 0), "*.i.test:443");
    policy_free(p);
}

#define VALUE "sk-ant-0123456789abcdefghijklmnopqrstuvwxyz0123456789"

static void
secret_members(void **state)
{
    (void)state;
    struct policy *p = loaded(
        "{\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"" VALUE
        "\",\"prefix\":\"sk-ant-\","
        "\"where\":[\"header\",\"path\"],\"redact\":false,\"plainHttp\":true,\"ports\":[443,8443],"
        "\"methods\":[\"GET\",\"POST\"],\"paths\":[\"/v1/*\",\"/exact\"]}}}");
    const struct policy_secret *s = policy_secret_at(p, 0);
    assert_int_equal(s->where, POLICY_HEADER | POLICY_PATH);
    assert_true(s->plain_http);
    assert_false(s->redact);
    assert_int_equal(s->prefix_size, 7);
    assert_int_equal(s->placeholder_size, strlen(VALUE));
    assert_memory_equal(s->placeholder, "sk-ant-csec_", 12);
    assert_true(policy_placeholder_is_wellformed(s->placeholder + 7, s->placeholder_size - 7));
    assert_true(policy_secret_applies(s, "a.test", 6, 443));
    assert_true(policy_secret_applies(s, "a.test", 6, 8443));
    assert_false(policy_secret_applies(s, "a.test", 6, 80));
    size_t number = 9;
    assert_ptr_equal(
        policy_find_placeholder(p, s->placeholder + 7, s->placeholder_size - 7, &number), s);
    assert_int_equal(number, 0);
    assert_null(policy_find_placeholder(p, s->placeholder + 7, s->placeholder_size - 8, &number));
    policy_free(p);
}

struct permit {
    const char *method;
    const char *path;
    bool permitted;
};

static void
methods_and_paths(void **state)
{
    (void)state;
    static const struct permit permits[] = {
        {"GET", "/v1/x", true},       {"GET", "/v1/", true},       {"GET", "/exact", true},
        {"POST", "/v1/x", false},     {"get", "/v1/x", false},     {"GET", "/v1", false},
        {"GET", "/exact/", false},    {"GET", "/v1/../x", false},  {"GET", "/v1/%2e%2e/x", false},
        {"GET", "/v1/.%2E/x", false}, {"GET", "/v1/a%2fb", false}, {"GET", "/v1//x", false},
        {"GET", "/v1/..;a/x", false}, {"GET", "/v1/a\\b", false},  {"GET", "/v1/%5c", false},
        {"GET", "/v1/%252e", false},  {"GET", "/v1/%zz", false},   {"GET", "/v1/%", false},
        {"GET", "/v1/a%20b", false},  {"GET", "/v1/a%3Ab", true},  {"GET", "/v1/..a", true},
        {"GET", "/v1/.", false},      {"GET", "/v1/..", false},    {"GET", "", false},
        {"GET", "/v1/x%00", false},   {"", "/v1/x", false},
    };
    struct policy *p = loaded("{\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"" VALUE "\","
                              "\"methods\":[\"GET\"],\"paths\":[\"/v1/*\",\"/exact\"]}}}");
    for (size_t i = 0; i < ARRAY_SIZE(permits); i++)
        if (policy_secret_permits(policy_secret_at(p, 0), permits[i].method,
                                  strlen(permits[i].method), permits[i].path,
                                  strlen(permits[i].path)) != permits[i].permitted)
            fail_msg("%s %s", permits[i].method, permits[i].path);
    policy_free(p);
}

struct refusal_case {
    const char *text;
    int32_t code;
    const char *named;
};

#define SECRET(members)                                                                            \
    "{\"secrets\":{\"NAME1\":{\"hosts\":[\"a.test\"],\"value\":\"canary-of-more-than-"             \
    "16\"," members "}}}"

static const struct refusal_case refusals[] = {
    {"{\"denyNet\":[],\"deny_net\":[]}", ERR_INVALID_CONFIG, "denyNet"},
    {"{\"denyNet\":\"x\"}", ERR_INVALID_CONFIG, "deny_net"},
    {"{\"denyNet\":[\"a.*\"]}", ERR_INVALID_CONFIG, "a.*"},
    {"{\"allownet\":[]}", ERR_INVALID_CONFIG, "allownet"},
    {"{\"ech\":\"maybe\"}", ERR_INVALID_CONFIG, "ech"},
    {"{\"ech\":true}", ERR_INVALID_CONFIG, "ech"},
    {"{\"caConstraint\":\"open\"}", ERR_UNSUPPORTED, "caConstraint"},
    {"{\"caConstraint\":\"x\"}", ERR_INVALID_CONFIG, "caConstraint"},
    {"{\"onMisuse\":{\"tail\":\"pass\"}}", ERR_INVALID_CONFIG, "tail"},
    {"{\"onMisuse\":{\"head\":\"allow\"}}", ERR_INVALID_CONFIG, "onMisuse.head"},
    {"{\"onMisuse\":\"pass\"}", ERR_INVALID_CONFIG, "onMisuse"},
    {"{\"onAuditFailure\":1}", ERR_INVALID_CONFIG, "onAuditFailure"},
    {"{\"maxTxBytes\":-1}", ERR_INVALID_CONFIG, "maxTxBytes"},
    {"{\"maxTxBytes\":1.5}", ERR_INVALID_CONFIG, "maxTxBytes"},
    {"{\"inspect\":[\"1.2.3.4\"]}", ERR_INVALID_CONFIG, "1.2.3.4"},
    {SECRET("\"sign\":{}"), ERR_UNSUPPORTED, "sign"},
    {SECRET("\"colour\":1"), ERR_INVALID_CONFIG, "colour"},
    {SECRET("\"where\":[]"), ERR_INVALID_CONFIG, "where"},
    {SECRET("\"where\":\"header\""), ERR_INVALID_CONFIG, "where"},
    {SECRET("\"where\":[\"head\"]"), ERR_INVALID_CONFIG, "where"},
    {SECRET("\"where\":[\"header\",\"body\"]"), ERR_UNSUPPORTED, "body"},
    {SECRET("\"where\":[\"ws\"]"), ERR_UNSUPPORTED, "ws"},
    {SECRET("\"prefix\":\"other\""), ERR_INVALID_CONFIG, "prefix"},
    {SECRET("\"prefix\":\"canary-of\""), ERR_INVALID_CONFIG, "16"},
    {SECRET("\"prefix\":\"ca nary\""), ERR_INVALID_CONFIG, "prefix"},
    {SECRET("\"prefix\":\"csec_\""), ERR_INVALID_CONFIG, "prefix"},
    {SECRET("\"prefix\":5"), ERR_INVALID_CONFIG, "prefix"},
    {SECRET("\"redact\":1"), ERR_INVALID_CONFIG, "redact"},
    {SECRET("\"plainHttp\":1"), ERR_INVALID_CONFIG, "plainHttp"},
    {SECRET("\"plainHttp\":true,\"plain_http\":true"), ERR_INVALID_CONFIG, "plainHttp"},
    {SECRET("\"ports\":[0]"), ERR_INVALID_CONFIG, "ports"},
    {SECRET("\"ports\":[65536]"), ERR_INVALID_CONFIG, "ports"},
    {SECRET("\"ports\":[\"443\"]"), ERR_INVALID_CONFIG, "ports"},
    {SECRET("\"methods\":[\"get\"]"), ERR_INVALID_CONFIG, "methods"},
    {SECRET("\"methods\":[\"\"]"), ERR_INVALID_CONFIG, "methods"},
    {SECRET("\"paths\":[\"v1\"]"), ERR_INVALID_CONFIG, "paths"},
    {SECRET("\"paths\":[\"/a*b\"]"), ERR_INVALID_CONFIG, "paths"},
    {SECRET("\"paths\":[\"/a?b\"]"), ERR_INVALID_CONFIG, "paths"},
    {SECRET("\"ref\":\"x\""), ERR_INVALID_CONFIG, "x"},
    {"{\"secrets\":{\"NAME1\":{\"hosts\":[\"a.test\"],\"value\":\"canary\",\"redact\":true}}}",
     ERR_INVALID_CONFIG, "redact"},
    {"{\"secrets\":{\"NAME1\":{\"hosts\":[\"a.test\"],\"value\":\"..\",\"where\":[\"path\"]}}}",
     ERR_INVALID_CONFIG, "dots"},
    {"{\"denyNet\":[\"a.test\"],\"secrets\":{\"NAME1\":{\"hosts\":[\"a.test\"],\"value\":"
     "\"canary\"}}}",
     ERR_INVALID_CONFIG, "a.test"},
    {"{\"denyNet\":[\"*.test\"],\"secrets\":{\"NAME1\":{\"hosts\":[\"*.a.test\"],\"value\":"
     "\"canary\"}}}",
     ERR_INVALID_CONFIG, "*.a.test"},
    {"{\"allowNet\":[\"a.test:80\"],\"secrets\":{\"NAME1\":{\"hosts\":[\"a.test\"],\"ports\":[443],"
     "\"value\":\"canary\"}}}",
     ERR_INVALID_CONFIG, "a.test"},
};

static void
refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        struct policy *p = NULL;
        struct error err = {0};
        if (load_named(refusals[i].text, NULL, NULL, &p, &err) == 0)
            fail_msg("accepted: %s", refusals[i].text);
        if (err.code != refusals[i].code || strstr(err.msg, refusals[i].named) == NULL ||
            (strstr(err.msg, "canary") != NULL && strstr(refusals[i].text, "prefix") == NULL))
            fail_msg("%s: %d %s", refusals[i].text, err.code, err.msg);
    }
}

// A rule that denies only a part leaves the rest of a secret's hosts.
static void
denied_in_part(void **state)
{
    (void)state;
    struct policy *p =
        loaded("{\"allowNet\":[\"*.x.test\"],\"denyNet\":[\"a.x.test\",\"b.x.test:80\"],"
               "\"secrets\":{\"A\":{\"hosts\":[\"*.x.test\",\"b.x.test\"],"
               "\"value\":\"" VALUE "\"}}}");
    assert_false(allows(p, "a.x.test", 443));
    assert_false(allows(p, "b.x.test", 80));
    assert_true(allows(p, "b.x.test", 443));
    policy_free(p);
}

static const char egress[] =
    "{\"ceiling\":{\"allowNet\":[\"*.corp.test\",\"*.api.test\",\"10.0.0.0/8:5432\"],"
    "\"denyNet\":[\"admin.corp.test\"]},"
    "\"private\":[\"db.corp.test\",\"10.1.0.0/16\",\"127.0.0.0/8\",\"169.254.0.0/16\"],"
    "\"policies\":{\"narrow\":{\"allowNet\":[\"git.corp.test:443\",\"v1.api.test\"],\"ech\":"
    "\"deny\","
    "\"maxTxBytes\":100,\"secrets\":{\"GIVEN\":{\"ref\":\"key\",\"hosts\":[\"v1.api.test\"]}}}},"
    "\"secrets\":{\"key\":{\"file\":\"/etc/casemate/"
    "key\",\"hosts\":[\"v1.api.test\",\"v2.api.test\"],"
    "\"prefix\":\"sk-\",\"where\":[\"header\",\"query\"],\"paths\":[\"/v1/*\"]},"
    "\"broken\":{\"credential\":\"broken\",\"hosts\":[\"v1.api.test\"]},"
    "\"made\":{\"command\":[\"/bin/true\"],\"ttl\":60,\"hosts\":[\"v1.api.test\"]}}}";

static void
ceiling_narrows(void **state)
{
    (void)state;
    struct operator o = operator_of(egress);
    struct policy *p = loaded_named("{\"allowNet\":[\"*.test\",\"10.1.2.3\"]}", &o, NULL);
    assert_true(allows(p, "a.corp.test", 443));
    assert_false(allows(p, "evil.test", 443));
    assert_false(allows(p, "admin.corp.test", 443));
    assert_int_equal(policy_decide(p, "evil.test", 9, NULL, 443).layer, POLICY_CEILING);
    assert_true(allows_ip(p, "10.1.2.3", 5432));
    assert_false(allows_ip(p, "10.1.2.3", 80));
    assert_false(allows_ip(p, "10.2.2.3", 5432));
    policy_free(p);
    p = loaded_named("{\"allowNet\":[\"*.corp.test\",\"v1.api.test\"]}", &o, "narrow");
    assert_true(allows(p, "git.corp.test", 443));
    assert_false(allows(p, "git.corp.test", 22));
    assert_false(allows(p, "a.corp.test", 443));
    assert_int_equal(policy_settings(p)->max_tx_bytes, 100);
    policy_free(p);
    operator_done(&o);
}

static void
private_is_opened(void **state)
{
    (void)state;
    struct operator o = operator_of(egress);
    struct policy *p = loaded_named("{\"allowNet\":[\"*.corp.test\",\"127.0.0.1\"]}", &o, NULL);
    assert_true(dials(p, "db.corp.test", "10.9.9.9", 5432));
    assert_true(dials(p, "db.corp.test", "fd12::1", 5432));
    assert_true(dials(p, "db.corp.test", "100.64.1.1", 5432));
    assert_false(dials(p, "other.corp.test", "10.9.9.9", 5432));
    assert_true(dials(p, "other.corp.test", "10.1.9.9", 5432));
    static const char *const never[] = {
        "127.0.0.1",  "::1",       "169.254.169.254", "fe80::1",     "fd00:ec2::254",  "0.0.0.0",
        "198.18.0.1", "224.0.0.1", "64:ff9b::a01:1",  "2002:a01::1", "100.100.100.200"};
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        if (dials(p, "db.corp.test", never[i], 5432) || allows_ip(p, never[i], 80))
            fail_msg("%s", never[i]);
    policy_free(p);
    operator_done(&o);
    // Opened, but by no list.
    o = operator_of("{\"private\":[\"10.0.0.0/8\"]}");
    p = loaded_named("{}", &o, NULL);
    assert_false(allows_ip(p, "10.1.2.3", 80));
    policy_free(p);
    p = loaded_named("{\"allowNet\":[\"10.1.2.3\"]}", &o, NULL);
    assert_true(allows_ip(p, "10.1.2.3", 80));
    policy_free(p);
    operator_done(&o);
}

static void
operators_secrets(void **state)
{
    (void)state;
    struct operator o = operator_of(egress);
    struct policy *p = loaded_named("{\"secrets\":{\"MINE\":{\"ref\":\"key\"}}}", &o, NULL);
    const struct policy_secret *s = policy_secret_at(p, 0);
    assert_string_equal(s->name, "MINE");
    assert_int_equal(s->host_count, 2);
    assert_int_equal(s->where, POLICY_HEADER | POLICY_QUERY);
    assert_int_equal(s->prefix_size, 3);
    assert_true(policy_secret_permits(s, "GET", 3, "/v1/a", 5));
    assert_false(policy_secret_permits(s, "GET", 3, "/v2/a", 5));
    policy_free(p);
    p = loaded_named("{\"secrets\":{\"MINE\":{\"ref\":\"key\",\"hosts\":[\"v1.api.test:443\"],"
                     "\"where\":[\"header\"],\"methods\":[\"GET\"],\"paths\":[\"/v1/a/*\"]}}}",
                     &o, NULL);
    s = policy_secret_at(p, 0);
    assert_true(policy_secret_applies(s, "v1.api.test", 11, 443));
    assert_false(policy_secret_applies(s, "v2.api.test", 11, 443));
    assert_int_equal(s->where, POLICY_HEADER);
    policy_free(p);
    p = loaded_named("{}", &o, "narrow");
    assert_int_equal(policy_secret_count(p), 0 + 1);
    assert_string_equal(policy_secret_name(p, 0), "GIVEN");
    policy_free(p);
    operator_done(&o);
}

static void
callers_cannot_widen(void **state)
{
    (void)state;
    static const struct refusal_case wider[] = {
        {"{\"secrets\":{\"A\":{\"ref\":\"nothing\"}}}", ERR_INVALID_CONFIG, "nothing"},
        {"{\"secrets\":{\"A\":{\"ref\":\"broken\"}}}", ERR_UNAVAILABLE, "broken"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"hosts\":[\"x.corp.test\"]}}}", ERR_INVALID_CONFIG,
         "x.corp.test"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"hosts\":[\"*.api.test\"]}}}", ERR_INVALID_CONFIG,
         "*.api.test"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"hosts\":[]}}}", ERR_INVALID_CONFIG, "host"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"where\":[\"path\"]}}}", ERR_INVALID_CONFIG,
         "where"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"paths\":[]}}}", ERR_INVALID_CONFIG, "paths"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"paths\":[\"/*\"]}}}", ERR_INVALID_CONFIG, "/*"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"value\":\"x\"}}}", ERR_INVALID_CONFIG, "value"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"plainHttp\":true}}}", ERR_INVALID_CONFIG,
         "plainHttp"},
        {"{\"secrets\":{\"A\":{\"ref\":\"key\",\"redact\":false}}}", ERR_INVALID_CONFIG, "redact"},
        {"{\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"v\"}}}", ERR_INVALID_CONFIG,
         "a.test"},
    };
    struct operator o = operator_of(egress);
    for (size_t i = 0; i < ARRAY_SIZE(wider); i++) {
        struct policy *p = NULL;
        struct error err = {0};
        if (load_named(wider[i].text, &o, NULL, &p, &err) == 0)
            fail_msg("accepted: %s", wider[i].text);
        if (err.code != wider[i].code || strstr(err.msg, wider[i].named) == NULL)
            fail_msg("%s: %d %s", wider[i].text, err.code, err.msg);
    }
    struct policy *p = NULL;
    struct error err = {0};
    assert_int_equal(load_named("{}", &o, "wide", &p, &err), -1);
    assert_non_null(strstr(err.msg, "narrow"));
    operator_done(&o);
    o = operator_of("{\"requireAllowNet\":true}");
    assert_int_equal(load_named("{}", &o, NULL, &p, &err), -1);
    assert_non_null(strstr(err.msg, "allow_net"));
    policy_free(loaded_named("{\"allow_net\":[]}", &o, NULL));
    operator_done(&o);
}

static void
operator_refused(void **state)
{
    (void)state;
    static const struct refusal_case bad[] = {
        {"{\"ceilling\":{}}", ERR_INVALID_CONFIG, "ceilling"},
        {"{\"ceiling\":{\"allow_net\":[]}}", ERR_INVALID_CONFIG, "allow_net"},
        {"{\"ceiling\":{\"allowNet\":[\"*\"]}}", ERR_INVALID_CONFIG, "ceiling"},
        {"{\"private\":\"x\"}", ERR_INVALID_CONFIG, "private"},
        {"{\"requireAllowNet\":1}", ERR_INVALID_CONFIG, "requireAllowNet"},
        {"{\"policies\":{\"a b\":{}}}", ERR_INVALID_CONFIG, "a b"},
        {"{\"policies\":{\"a\":{\"colour\":1}}}", ERR_INVALID_CONFIG, "colour"},
        {"{\"policies\":{\"a\":{\"secrets\":{\"K\":{\"hosts\":[\"h.test\"],\"value\":\"v\"}}}}}",
         ERR_INVALID_CONFIG, "ref"},
        {"{\"policies\":{\"a\":{\"allowNet\":[\"x..y\"]}}}", ERR_INVALID_CONFIG, "x..y"},
        {"{\"secrets\":{\"k\":{\"hosts\":[\"h.test\"]}}}", ERR_INVALID_CONFIG, "secret k"},
        {"{\"secrets\":{\"k\":{\"file\":\"relative\",\"hosts\":[\"h.test\"]}}}", ERR_INVALID_CONFIG,
         "file"},
        {"{\"secrets\":{\"k\":{\"file\":\"/a\",\"credential\":\"b\",\"hosts\":[\"h.test\"]}}}",
         ERR_INVALID_CONFIG, "one of"},
        {"{\"secrets\":{\"k\":{\"credential\":\"../b\",\"hosts\":[\"h.test\"]}}}",
         ERR_INVALID_CONFIG, "credential"},
        {"{\"secrets\":{\"k\":{\"command\":[\"true\"],\"ttl\":1,\"hosts\":[\"h.test\"]}}}",
         ERR_INVALID_CONFIG, "absolute"},
        {"{\"secrets\":{\"k\":{\"command\":[\"/bin/true\"],\"hosts\":[\"h.test\"]}}}",
         ERR_INVALID_CONFIG, "ttl"},
        {"{\"secrets\":{\"k\":{\"file\":\"/a\",\"ttl\":1,\"hosts\":[\"h.test\"]}}}",
         ERR_INVALID_CONFIG, "ttl"},
        {"{\"secrets\":{\"k\":{\"file\":\"/a\",\"hosts\":[]}}}", ERR_INVALID_CONFIG, "host"},
        {"{\"ceiling\":{\"allowNet\":[\"a.test\"]},"
         "\"secrets\":{\"k\":{\"file\":\"/a\",\"hosts\":[\"h.test\"]}}}",
         ERR_INVALID_CONFIG, "h.test"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct operator o = {0};
        struct error err = {0};
        json_t *document = json_loads(bad[i].text, 0, NULL);
        if (operator_init(&o, document, &err) == 0)
            fail_msg("accepted: %s", bad[i].text);
        if (err.code != bad[i].code || strstr(err.msg, bad[i].named) == NULL)
            fail_msg("%s: %s", bad[i].text, err.msg);
        json_decref(document);
    }
}

static void
encoded_and_decoded(void **state)
{
    (void)state;
    struct operator o = operator_of(egress);
    struct policy *p = loaded_named(
        "{\"allowNet\":[\"*.test\"],\"denyNet\":[\"d.corp.test\"],\"inspect\":[\"i.corp.test\"],"
        "\"onMisuse\":{\"body\":\"block\"},\"secrets\":{\"A\":{\"ref\":\"key\",\"methods\":["
        "\"GET\"],"
        "\"ports\":[443]},\"B\":{\"hosts\":[\"b.corp.test\"],\"value\":\"short\","
        "\"plainHttp\":true,\"where\":[\"path\"]}}}",
        &o, NULL);
    struct error err = {0};
    cleanup_buf struct buf out;
    buf_init_secret(&out, POLICY_ENCODED_MAX);
    assert_int_equal(policy_encode(p, &out, &err), 0);
    struct policy *q = NULL;
    assert_int_equal(policy_decode(buf_bytes(&out), buf_size(&out), &q, &err), 0);
    assert_false(allows(q, "d.corp.test", 1));
    assert_false(allows(q, "admin.corp.test", 1));
    assert_false(allows(q, "x.test", 1));
    assert_true(allows(q, "x.corp.test", 1));
    assert_true(dials(q, "db.corp.test", "10.9.9.9", 1));
    assert_true(policy_inspected(q, "i.corp.test", 11, 443));
    assert_true(policy_settings(q)->block_seen_bodies);
    const struct policy_secret *a = policy_secret_at(q, 0);
    const struct policy_secret *b = policy_secret_at(q, 1);
    assert_int_equal(a->prefix_size, 3);
    assert_true(a->redact);
    assert_false(policy_secret_applies(a, "v1.api.test", 11, 80));
    assert_false(policy_secret_permits(a, "POST", 4, "/v1/a", 5));
    assert_true(policy_secret_permits(a, "GET", 3, "/v1/a", 5));
    assert_false(b->redact);
    assert_true(b->plain_http);
    assert_int_equal(b->where, POLICY_PATH);
    policy_free(q);
    for (size_t n = 0; n < buf_size(&out); n++)
        assert_int_equal(policy_decode(buf_bytes(&out), n, &q, &err), -1);
    policy_free(p);
    operator_done(&o);
}

static void
count(void *user, const char *warning)
{
    assert_null(strstr(warning, "canary"));
    ++*(int *)user;
}

static void
lint(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int warnings;
    } cases[] = {
        {"{\"secrets\":{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"canary-of-more-than-16\"}}}", 0},
        {"{\"secrets\":{\"A\":{\"hosts\":[\"*.a.test\"],\"value\":\"canary-of-more-than-16\"}}}",
         1},
        {"{\"secrets\":{\"A\":{\"hosts\":[\"x.workers.dev\"],\"value\":\"canary-of-more-than-16\"}}"
         "}",
         1},
        {"{\"secrets\":{\"A\":{\"hosts\":[\"httpbin.org\"],\"value\":\"canary\",\"plainHttp\":true}"
         "}}",
         3},
        {"{\"onMisuse\":{\"head\":\"pass\"},\"onAuditFailure\":\"drop\"}", 2},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct policy *p = loaded(cases[i].text);
        int warnings = 0;
        policy_lint(p, count, &warnings);
        if (warnings != cases[i].warnings)
            fail_msg("%s: %d", cases[i].text, warnings);
        policy_free(p);
    }
}

// Many placeholders, of which each is found, and no other.
static void
placeholders_are_found(void **state)
{
    (void)state;
    json_t *secrets = json_object();
    for (int i = 0; i < POLICY_SECRETS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "S%d", i);
        (void)json_object_set_new(secrets, name,
                                  json_pack("{s:[s],s:s}", "hosts", "a.test", "value", name));
    }
    struct policy *p = NULL;
    struct error err = {0};
    assert_int_equal(policy_from_json(NULL, secrets, &p, &err), 0);
    json_decref(secrets);
    for (size_t i = 0; i < POLICY_SECRETS_MAX; i++) {
        const struct policy_secret *s = policy_secret_at(p, i);
        char copy[POLICY_PLACEHOLDER_MIN];
        size_t number = 999;
        memcpy(copy, s->placeholder, sizeof copy);
        assert_ptr_equal(policy_find_placeholder(p, copy, sizeof copy, &number), s);
        assert_int_equal(number, i);
        copy[39] ^= 1;
        assert_null(policy_find_placeholder(p, copy, sizeof copy, &number));
    }
    policy_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deny_wins),
        cmocka_unit_test(settings),
        cmocka_unit_test(secret_members),
        cmocka_unit_test(methods_and_paths),
        cmocka_unit_test(refused_and_named),
        cmocka_unit_test(denied_in_part),
        cmocka_unit_test(ceiling_narrows),
        cmocka_unit_test(private_is_opened),
        cmocka_unit_test(operators_secrets),
        cmocka_unit_test(callers_cannot_widen),
        cmocka_unit_test(operator_refused),
        cmocka_unit_test(encoded_and_decoded),
        cmocka_unit_test(lint),
        cmocka_unit_test(placeholders_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
