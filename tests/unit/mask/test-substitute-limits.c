// SPDX-License-Identifier: Apache-2.0
// Placeholders under the limits that a policy sets them.
#include "unit.h"

#include "mask/substitute.h"

#include "base/cleanup.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define VALUE "sk-ant-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2Qw8RtB1"

static const char limited[] =
    "{\"KEY\":{\"hosts\":[\"api.test\"],\"value\":\"" VALUE "\",\"prefix\":\"sk-ant-\","
    "\"where\":[\"header\",\"query\",\"path\"]},"
    "\"HEAD\":{\"hosts\":[\"api.test\"],\"value\":\"12345:only/in headers and so on\","
    "\"where\":[\"header\"],\"plainHttp\":true},"
    "\"TIGHT\":{\"hosts\":[\"api.test\"],\"value\":\"another-value-of-some-length\","
    "\"methods\":[\"POST\"],\"paths\":[\"/v1/*\"]},"
    "\"BOT\":{\"hosts\":[\"api.test\"],\"value\":\"110201543:AA/x?y%z-and-more\","
    "\"where\":[\"path\"]}}";

static struct policy *
load(const char *secrets, const char *settings)
{
    struct policy *p = NULL;
    struct error err = {0};
    cleanup_free char *text = NULL;
    assert_true(asprintf(&text, "{\"secrets\":%s%s}", secrets, settings) > 0);
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    const struct policy_request request = {.document = document, .whole = true};
    if (policy_load(&request, &p, &err) < 0)
        fail_msg("%s", err.msg);
    json_decref(document);
    return p;
}

static const char *
placeholder(const struct policy *p, const char *name)
{
    for (size_t i = 0; i < policy_secret_count(p); i++)
        if (strcmp(policy_secret_name(p, i), name) == 0)
            return policy_secret_placeholder(p, i);
    fail();
    return NULL;
}

static struct h1_span
span(const char *text)
{
    return (struct h1_span){text, strlen(text)};
}

static struct substitute
request(const struct policy *p)
{
    return (struct substitute){.policy = p,
                               .host = "api.test",
                               .host_size = 8,
                               .port = 443,
                               .method = span("GET"),
                               .path = span("/x")};
}

enum part { FIELD, QUERY, PATH };

// What becomes of a text in which "!" stands for the placeholder of name; reason: the misuse
// that is expected, NULL: none.
static void
expect(const struct policy *p, struct substitute s, enum part part, const char *header,
       const char *format, const char *name, const char *want, const char *reason)
{
    char text[512];
    struct buf out;
    buf_init_secret(&out, 4096);
    const char *own = placeholder(p, name);
    size_t n = 0;
    for (const char *c = format; *c != '\0'; c++)
        n += (size_t)(*c == '!' ? snprintf(text + n, sizeof text - n, "%s", own)
                                : snprintf(text + n, sizeof text - n, "%c", *c));
    struct h1_field field = {.name = span(header), .value = span(text)};
    enum substitute_result r = part == FIELD   ? substitute_field(&s, &field, &out)
                               : part == QUERY ? substitute_query(&s, span(text), &out)
                                               : substitute_path(&s, span(text), &out);
    bool pass = policy_settings(p)->pass_misused_heads;
    if ((r == SUBSTITUTE_OK) != (reason == NULL || pass))
        fail_msg("%s: %d %s", format, r, s.reason);
    if (reason == NULL)
        assert_null(s.reason);
    else if (s.reason == NULL || strcmp(s.reason, reason) != 0)
        fail_msg("%s: %s", format, s.reason);
    if (r == SUBSTITUTE_OK) {
        const char *result = want != NULL ? want : text;
        if (buf_size(&out) != strlen(result) ||
            memcmp(buf_bytes(&out), result, buf_size(&out)) != 0)
            fail_msg("%s: %.*s", format, (int)buf_size(&out), (char *)buf_bytes(&out));
    }
    buf_done(&out);
}

static void
prefix_is_part_of_it(void **state)
{
    (void)state;
    struct policy *p = load(limited, "");
    struct substitute s = request(p);
    const char *key = placeholder(p, "KEY");
    assert_memory_equal(key, "sk-ant-csec_", 12);
    assert_int_equal(strlen(key), strlen(VALUE));
    expect(p, s, FIELD, "x", "a ! b", "KEY", "a " VALUE " b", NULL);
    expect(p, s, FIELD, "x", "!!", "KEY", VALUE VALUE, NULL);
    expect(p, s, FIELD, "x", "sk-ant-!", "KEY", "sk-ant-" VALUE, NULL);
    expect(p, s, QUERY, "", "k=!&a=%2a", "KEY", "k=" VALUE "&a=%2a", NULL);
    // Without it, or with another, it is nobody's.
    char text[128];
    struct buf out;
    struct h1_field field = {.name = span("x"), .value = span(key + 7)};
    buf_init_secret(&out, 4096);
    assert_int_equal(substitute_field(&s, &field, &out), SUBSTITUTE_MISUSE);
    assert_string_equal(s.reason, "placeholder_unknown");
    s = request(p);
    (void)snprintf(text, sizeof text, "sk-xnt-%s", key + 7);
    field.value = span(text);
    assert_int_equal(substitute_field(&s, &field, &out), SUBSTITUTE_MISUSE);
    assert_null(s.secret);
    // Any byte of it may be encoded.
    for (size_t i = 0; i < strlen(key); i++) {
        (void)snprintf(text, sizeof text, "%.*s%%%02X%s", (int)i, key, key[i], key + i + 1);
        s = request(p);
        buf_clear(&out);
        assert_int_equal(substitute_query(&s, span(text), &out), SUBSTITUTE_OK);
        assert_memory_equal(buf_bytes(&out), VALUE, strlen(VALUE));
    }
    buf_done(&out);
    policy_free(p);
}

static void
places(void **state)
{
    (void)state;
    struct policy *p = load(limited, "");
    struct substitute s = request(p);
    expect(p, s, FIELD, "x", "!", "HEAD", "12345:only/in headers and so on", NULL);
    expect(p, s, QUERY, "", "!", "HEAD", NULL, "placeholder_not_enabled_here");
    expect(p, s, PATH, "", "/!", "HEAD", NULL, "placeholder_not_enabled_here");
    expect(p, s, FIELD, "x", "!", "BOT", NULL, "placeholder_not_enabled_here");
    expect(p, s, FIELD, "Authorization", "Basic !", "KEY", "Basic " VALUE, NULL);
    expect(p, s, FIELD, "Authorization", "Basic !", "BOT", NULL, "placeholder_not_enabled_here");
    expect(p, s, PATH, "", "/a%20/bot!/get", "BOT",
           "/a%20/bot110201543:AA%2Fx%3Fy%25z-and-more/get", NULL);
    expect(p, s, PATH, "", "/a/!", "KEY", "/a/" VALUE, NULL);
    policy_free(p);
}

static void
methods_and_paths(void **state)
{
    (void)state;
    struct policy *p = load(limited, "");
    struct substitute s = request(p);
    expect(p, s, FIELD, "x", "!", "TIGHT", NULL, "placeholder_not_for_request");
    s.method = span("POST");
    expect(p, s, FIELD, "x", "!", "TIGHT", NULL, "placeholder_not_for_request");
    s.path = span("/v1/a");
    expect(p, s, FIELD, "x", "!", "TIGHT", "another-value-of-some-length", NULL);
    s.path = (struct h1_span){0};
    expect(p, s, FIELD, "x", "!", "TIGHT", NULL, "placeholder_not_for_request");
    policy_free(p);
}

// The request that the server sees may be another one.
static void
overrides(void **state)
{
    (void)state;
    static const char *const names[] = {"X-HTTP-Method-Override", "x_http_method_override",
                                        "x-method-override",      "X-Original-URL",
                                        "X-Rewrite-Url",          "x-http-methods"};
    struct policy *p = load(limited, "");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        bool harmless = i == ARRAY_SIZE(names) - 1;
        struct substitute s = request(p);
        s.method = span("POST");
        s.path = span("/v1/a");
        substitute_note_override(&s, span(names[i]));
        expect(p, s, FIELD, "x", "!", "TIGHT", harmless ? "another-value-of-some-length" : NULL,
               harmless ? NULL : "placeholder_not_for_request");
        expect(p, s, FIELD, "x", "!", "KEY", VALUE, NULL); // which is not limited
    }
    policy_free(p);
}

static void
without_tls(void **state)
{
    (void)state;
    struct policy *p = load(limited, "");
    struct substitute s = request(p);
    s.plain = true;
    expect(p, s, FIELD, "x", "!", "HEAD", "12345:only/in headers and so on", NULL);
    expect(p, s, FIELD, "x", "!", "KEY", NULL, "placeholder_without_tls");
    policy_free(p);
}

static void
signed_requests(void **state)
{
    (void)state;
    static const char *const settings[] = {"", ",\"onMisuse\":{\"head\":\"pass\"}"};
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        struct policy *p = load(limited, settings[i]);
        struct substitute s = request(p);
        static const char reason[] = "signed_request";
        expect(p, s, FIELD, "Authorization",
               "AWS4-HMAC-SHA256 Credential=!/20260101/eu/s3/aws4_request, Signature=00", "KEY",
               NULL, reason);
        expect(p, s, FIELD, "authorization", "aws4-ecdsa-p256-sha256 Credential=!/x", "KEY", NULL,
               reason);
        expect(p, s, FIELD, "Authorization", "AWS !:c2ln", "KEY", NULL, reason);
        expect(p, s, FIELD, "Authorization", "Signature keyId=\"!\",signature=\"x\"", "KEY", NULL,
               reason);
        expect(p, s, FIELD, "Authorization",
               "OAuth oauth_token=\"!\", oauth_signature_method=\"HMAC-SHA1\", "
               "oauth_signature=\"x\"",
               "KEY", NULL, reason);
        expect(p, s, FIELD, "X-Amz-Security-Token", "!", "KEY", NULL, reason);
        expect(p, s, QUERY, "", "X-Amz-Credential=!%2f2026&X-Amz-Signature=0", "KEY", NULL, reason);
        expect(p, s, QUERY, "", "Signature=0&AWSAccessKeyId=!", "KEY", NULL, reason);
        // Of these nothing is signed.
        expect(p, s, FIELD, "Authorization", "OAuth !", "KEY", "OAuth " VALUE, NULL);
        expect(p, s, FIELD, "Authorization", "Bearer !", "KEY", "Bearer " VALUE, NULL);
        expect(p, s, QUERY, "", "design=1&key=!", "KEY", "design=1&key=" VALUE, NULL);
        policy_free(p);
    }
}

static void
misuse_passes(void **state)
{
    (void)state;
    struct policy *p = load(limited, ",\"onMisuse\":{\"head\":\"pass\"}");
    struct substitute s = request(p);
    expect(p, s, QUERY, "", "a=!&b", "HEAD", NULL, "placeholder_not_enabled_here");
    expect(p, s, PATH, "", "/%41/!", "HEAD", NULL, "placeholder_not_enabled_here");
    expect(p, s, FIELD, "x", "!", "TIGHT", NULL, "placeholder_not_for_request");
    // What may be swapped still is.
    char text[256];
    char want[256];
    struct buf out;
    (void)snprintf(text, sizeof text, "%s %s", placeholder(p, "BOT"), placeholder(p, "KEY"));
    (void)snprintf(want, sizeof want, "%s %s", placeholder(p, "BOT"), VALUE);
    struct h1_field field = {.name = span("x"), .value = span(text)};
    buf_init_secret(&out, 4096);
    assert_int_equal(substitute_field(&s, &field, &out), SUBSTITUTE_OK);
    assert_int_equal(buf_size(&out), strlen(want));
    assert_memory_equal(buf_bytes(&out), want, strlen(want));
    assert_string_equal(s.secret, "BOT");
    assert_int_equal(substitute_forbid(&s, span(text), "method"), SUBSTITUTE_OK);
    buf_done(&out);
    policy_free(p);
}

// Every cut, and again after the first.
static void
bodies_are_blocked(void **state)
{
    (void)state;
    struct policy *p = load(limited, ",\"onMisuse\":{\"body\":\"block\"}");
    char text[128];
    int n = snprintf(text, sizeof text, "{\"k\":\"%s\"}", placeholder(p, "KEY"));
    for (int cut = 0; cut <= n; cut++) {
        struct substitute_seen seen = {0};
        const char *name = NULL;
        for (int round = 0; round < 2; round++) {
            enum substitute_sight a =
                substitute_watch(&seen, p, (const uint8_t *)text, (size_t)cut, &name);
            enum substitute_sight b =
                substitute_watch(&seen, p, (const uint8_t *)text + cut, (size_t)(n - cut), &name);
            assert_true(a == SUBSTITUTE_BLOCK || b == SUBSTITUTE_BLOCK);
            assert_string_equal(name, "KEY");
            seen.carried = 0;
        }
    }
    policy_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefix_is_part_of_it),
        cmocka_unit_test(places),
        cmocka_unit_test(overrides),
        cmocka_unit_test(methods_and_paths),
        cmocka_unit_test(without_tls),
        cmocka_unit_test(signed_requests),
        cmocka_unit_test(misuse_passes),
        cmocka_unit_test(bodies_are_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
