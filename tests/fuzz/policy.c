// SPDX-License-Identifier: Apache-2.0
// Of JSON ("{"): what loads is a policy, with the operator's part in the member "operator" and the
// chosen policy in "named". Of anything else: what decodes is one. Either way it encodes to bytes
// that decode to a policy which says the same.
#include "policy/policy.h"
#include "base/cleanup.h"
#include "policy/address.h"
#include "policy/operator.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
ignore(void *user, const char *warning)
{
    *(size_t *)user += strlen(warning);
}

static bool
same(struct policy_decision a, struct policy_decision b)
{
    return a.allowed == b.allowed && a.port_named == b.port_named && a.layer == b.layer &&
           (a.rule == NULL) == (b.rule == NULL) &&
           (a.rule == NULL || strcmp(a.rule, b.rule) == 0) && a.reason == b.reason;
}

static void
compare_name(const struct policy *p, const struct policy *q, const char *name)
{
    static const uint16_t ports[] = {80, 443, 5432};
    size_t size = strlen(name);
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
        if (!same(policy_decide(p, name, size, NULL, ports[i]),
                  policy_decide(q, name, size, NULL, ports[i])) ||
            policy_bound(p, name, size, ports[i]) != policy_bound(q, name, size, ports[i]) ||
            policy_inspected(p, name, size, ports[i]) != policy_inspected(q, name, size, ports[i]))
            abort();
}

static void
compare_address(const struct policy *p, const struct policy *q, const char *text)
{
    struct in6_addr a;
    if (!address_parse(text, strlen(text), &a) ||
        !same(policy_decide(p, NULL, 0, &a, 443), policy_decide(q, NULL, 0, &a, 443)) ||
        policy_check_address(p, "a.test", 6, &a, 443) !=
            policy_check_address(q, "a.test", 6, &a, 443))
        abort();
    enum address_class class = address_classify(&a);
    if ((class == ADDRESS_LOOPBACK || class == ADDRESS_LINK_LOCAL || class == ADDRESS_METADATA) &&
        policy_check_address(p, "a.test", 6, &a, 443) == NULL)
        abort();
}

static void
compare_secrets(const struct policy *p, const struct policy *q)
{
    if (policy_secret_count(p) != policy_secret_count(q))
        abort();
    for (size_t i = 0; i < policy_secret_count(p); i++) {
        const struct policy_secret *a = policy_secret_at(p, i);
        const struct policy_secret *b = policy_secret_at(q, i);
        size_t number = POLICY_SECRETS_MAX;
        if (strcmp(a->value, b->value) != 0 || strcmp(a->placeholder, b->placeholder) != 0 ||
            a->where != b->where || a->redact != b->redact || a->plain_http != b->plain_http ||
            a->prefix_size != b->prefix_size ||
            policy_secret_permits(a, "GET", 3, "/v1/a", 5) !=
                policy_secret_permits(b, "GET", 3, "/v1/a", 5) ||
            policy_find_placeholder(q, b->placeholder + b->prefix_size,
                                    b->placeholder_size - b->prefix_size, &number) != b ||
            number != i)
            abort();
    }
}

static void
compare(const struct policy *p, const struct policy *q)
{
    static const char *const names[] = {"a.test", "b.a.test", "test", "evil.example"};
    static const char *const addresses[] = {"127.0.0.1", "10.1.2.3",        "8.8.8.8",
                                            "::1",       "169.254.169.254", "fd00:ec2::254",
                                            "fd00::1",   "2001:db8::1",     "64:ff9b::a01:203"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        compare_name(p, q, names[i]);
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
        compare_address(p, q, addresses[i]);
    compare_secrets(p, q);
    const struct policy_settings *a = policy_settings(p);
    const struct policy_settings *b = policy_settings(q);
    if (a->pass_ech != b->pass_ech || a->pass_misused_heads != b->pass_misused_heads ||
        a->block_seen_bodies != b->block_seen_bodies || a->drop_audit != b->drop_audit ||
        a->max_tx_bytes != b->max_tx_bytes)
        abort();
}

static void
check(struct policy *p)
{
    struct error err = {0};
    struct policy *again;
    size_t told = 0;
    cleanup_buf struct buf out;
    buf_init_secret(&out, POLICY_ENCODED_MAX);
    if (policy_encode(p, &out, &err) < 0 ||
        policy_decode(buf_bytes(&out), buf_size(&out), &again, &err) < 0)
        abort();
    compare(p, again);
    policy_lint(p, ignore, &told);
    policy_free(again);
    policy_free(p);
}

static void
load(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct operator o = {0};
    struct policy *p;
    json_t *document = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
    json_t *said = json_object_get(document, "operator");
    bool is_operated = said != NULL && operator_init(&o, json_incref(said), &err) == 0;
    if (said != NULL && !is_operated)
        json_decref(said);
    const struct policy_request request = {
        .document = document,
        .stand_in = true,
        .named = json_string_value(json_object_get(document, "named")),
        .operator= is_operated ? &o : NULL,
    };
    if (policy_load(&request, &p, &err) == 0)
        check(p);
    operator_done(&o);
    json_decref(document);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct policy *p;
    if (size > 0 && data[0] == '{')
        load(data, size);
    else if (policy_decode(data, size, &p, &err) == 0)
        check(p);
    return 0;
}
