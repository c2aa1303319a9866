// SPDX-License-Identifier: Apache-2.0
// No value is read from anywhere but the file, and none is printed: a secret without one gets a
// stand-in, so that files may be checked which name no values.
#include "cmd/casemate-policy.h"

#include "base/cleanup.h"
#include "policy/address.h"
#include "policy/operator-file.h"
#include "policy/policy.h"
#include "policy/rule.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_HTTPS = 443 };

struct check {
    const char *file;
    const char *target;
    const char *operator_file; // or NULL
    const char *named;         // or NULL
};

// What HOST[:PORT] is: one name or one address.
static int
parse_target(const char *text, struct rule *ret, struct error *err)
{
    if (rule_parse(text, strlen(text), ret, err) < 0)
        return -1;
    if (ret->kind == RULE_BELOW || (ret->kind == RULE_ADDRESS && ret->bits != 128))
        return error_set(err, ERR_INVALID_REQUEST, "\"%.80s\" is not one host", text);
    if (ret->port == 0)
        ret->port = PORT_HTTPS;
    return 0;
}

static void
print_place(unsigned where)
{
    static const struct {
        unsigned bit;
        const char *name;
    } places[] = {{POLICY_HEADER, "header"},
                  {POLICY_BASIC, "basic"},
                  {POLICY_QUERY, "query"},
                  {POLICY_PATH, "path"}};
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if ((where & places[i].bit) == 0)
            continue;
        (void)printf("%s%s", comma, places[i].name);
        comma = ", ";
    }
}

static void
print_secrets(const struct policy *p, const struct rule *target)
{
    for (size_t i = 0; i < policy_secret_count(p); i++) {
        const struct policy_secret *s = policy_secret_at(p, i);
        if (!policy_secret_applies(s, rule_name(target), target->name_size, target->port))
            continue;
        (void)printf("secret %s: put into: ", s->name);
        print_place(s->where);
        (void)printf("%s%s\n", s->plain_http ? "; also without TLS" : "",
                     s->redact ? "; taken out of answers" : "; not taken out of answers");
    }
}

// For a bare address, whether it may be dialled; a name's are only known when it is resolved.
static struct policy_decision
decide(const struct policy *p, const struct rule *target)
{
    if (target->kind == RULE_ADDRESS)
        return policy_decide(p, NULL, 0, &target->addr, target->port);
    return policy_decide(p, rule_name(target), target->name_size, NULL, target->port);
}

static int
explain(const struct policy *p, const struct rule *target)
{
    struct policy_decision d = decide(p, target);
    (void)printf("%s, port %u: %s\n", target->text, (unsigned)target->port,
                 d.allowed ? "allowed" : "refused");
    if (!d.allowed)
        (void)printf("reason: %s\n", d.reason);
    if (d.rule != NULL)
        (void)printf("rule: %s (%s)\n", d.rule, policy_layer_name(d.layer));
    else if (d.allowed)
        (void)puts("rule: none is needed: no list was given");
    if (!d.allowed || target->kind == RULE_ADDRESS)
        return d.allowed ? 0 : 1;
    bool bound = policy_bound(p, rule_name(target), target->name_size, target->port);
    bool inspected = policy_inspected(p, rule_name(target), target->name_size, target->port);
    (void)printf("intercepted: %s\n", bound       ? "yes, a secret is bound to it"
                                      : inspected ? "yes, it is inspected"
                                                  : "no, its bytes pass as they are");
    print_secrets(p, target);
    return 0;
}

static void
print_warning(void *user, const char *warning)
{
    (void)user;
    (void)printf("warning: %s\n", warning);
}

static int
run_check(const struct check *c, struct error *err)
{
    struct operator operator= {0};
    struct rule target;
    json_t *document = NULL;
    struct policy *p = NULL;
    int status = -1;
    if (c->target != NULL && parse_target(c->target, &target, err) < 0)
        return -1;
    if (c->operator_file != NULL && operator_load_file(c->operator_file, &operator, err) < 0)
        return -1;
    if (operator_read_json(c->file, &document, err) == 0) {
        const struct policy_request request = {.document = document,
                                               .whole = true,
                                               .stand_in = true,
                                               .named = c->named,
                                               .operator= c->operator_file != NULL
                                               ? &operator: NULL, };
        if (policy_load(&request, &p, err) == 0)
            status = c->target != NULL ? explain(p, &target) : 0;
    }
    if (status >= 0)
        policy_lint(p, print_warning, NULL);
    policy_free(p);
    json_decref(document);
    operator_done(&operator);
    return status;
}

static int
usage(struct error *err)
{
    return error_set(
        err, ERR_INVALID_REQUEST,
        "casemate policy check [--egress-config FILE] [--policy NAME] FILE [HOST[:PORT]]");
}

static int
parse_options(int argc, char **argv, struct check *ret, struct error *err)
{
    static const struct option table[] = {{"egress-config", required_argument, NULL, 'e'},
                                          {"policy", required_argument, NULL, 'p'},
                                          {0}};
    *ret = (struct check){0};
    opterr = 0;
    for (int o; (o = getopt_long(argc, argv, "", table, NULL)) >= 0;) {
        if (o == 'e')
            ret->operator_file = optarg;
        else if (o == 'p')
            ret->named = optarg;
        else
            return usage(err);
    }
    int left = argc - optind;
    if (left < 2 || left > 3 || strcmp(argv[optind], "check") != 0)
        return usage(err);
    ret->file = argv[optind + 1];
    ret->target = left == 3 ? argv[optind + 2] : NULL;
    return 0;
}

int
policy_command(int argc, char **argv, struct error *err)
{
    struct check c;
    int status = parse_options(argc, argv, &c, err);
    if (status == 0)
        status = run_check(&c, err);
    if (status >= 0)
        return status;
    (void)fprintf(stderr, "casemate: %s\n", err->msg);
    return 2;
}
