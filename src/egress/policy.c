// SPDX-License-Identifier: Apache-2.0
// The policy and what is asked of it. It is built by one set of functions, whether from JSON or
// from the memfd, so that both meet the same checks.
#include "egress/policy.h"

#include "egress/address.h"
#include "egress/policy-internal.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int
vault_init(struct vault *v, size_t size, struct error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t capacity = (size / page + 1) * page;
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map memory for secrets");
    // Locked as it is used: patterns reserve for the worst case.
    if (mlock2(data, capacity, MLOCK_ONFAULT) < 0) {
        (void)munmap(data, capacity);
        return error_set(err, ERR_LIMIT,
                         "cannot keep %zu KiB for secrets out of swap: fewer or shorter values, or "
                         "a higher limit of locked memory (LimitMEMLOCK), are needed",
                         capacity / 1024);
    }
    if (madvise(data, capacity, MADV_DONTDUMP) < 0 ||
        madvise(data, capacity, MADV_WIPEONFORK) < 0) {
        int sys = errno;
        (void)munmap(data, capacity);
        return error_set_errno(err, sys, "cannot protect memory for secrets");
    }
    *v = (struct vault){.data = data, .capacity = capacity};
    return 0;
}

void
vault_done(struct vault *v)
{
    if (v->data == NULL)
        return;
    explicit_bzero(v->data, v->capacity);
    (void)munmap(v->data, v->capacity);
    *v = (struct vault){0};
}

char *
policy_vault_add(struct policy *p, const void *data, size_t size)
{
    struct vault *v = &p->vault;
    if (size >= v->capacity - v->used)
        return NULL;
    char *at = v->data + v->used;
    memcpy(at, data, size);
    at[size] = '\0';
    v->used += size + 1;
    return at;
}

int
policy_new(size_t vault_size, struct policy **ret, struct error *err)
{
    struct vault vault;
    if (vault_init(&vault, vault_size, err) < 0)
        return -1;
    struct policy *p = xcalloc(1, sizeof *p);
    p->vault = vault;
    *ret = p;
    return 0;
}

void
policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->secret_count; i++)
        free(p->secrets[i].hosts);
    free(p->secrets);
    free(p->rules);
    vault_done(&p->vault);
    free(p);
}

int
policy_add_rule(struct policy *p, const char *text, size_t size, struct error *err)
{
    if (p->rule_count == POLICY_RULES_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "allow_net: more than %d rules",
                         (int)POLICY_RULES_MAX);
    if (p->rules == NULL)
        p->rules = xcalloc(POLICY_RULES_MAX, sizeof *p->rules);
    if (rule_parse(text, size, &p->rules[p->rule_count], err) < 0)
        return error_wrap(err, "allow_net");
    p->rule_count++;
    return 0;
}

static bool
is_variable_name(const char *name, size_t size)
{
    if (size == 0 || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_'))
            return false;
    }
    return true;
}

static const struct policy_secret *
find_secret(const struct policy *p, const char *name)
{
    for (size_t i = 0; i < p->secret_count; i++)
        if (strcmp(p->secrets[i].name, name) == 0)
            return &p->secrets[i];
    return NULL;
}

int
policy_begin_secret(struct policy *p, const char *name, size_t size, struct error *err)
{
    if (p->secret_count == POLICY_SECRETS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "secrets: more than %d", (int)POLICY_SECRETS_MAX);
    if (size > POLICY_NAME_MAX || !is_variable_name(name, size))
        return error_set(err, ERR_INVALID_CONFIG,
                         "secrets: \"%.*s\" is no name of an environment variable: at most %d "
                         "letters, digits and underscores, not beginning with a digit",
                         (int)(size < POLICY_NAME_MAX ? size : POLICY_NAME_MAX), name,
                         (int)POLICY_NAME_MAX);
    if (p->secrets == NULL)
        p->secrets = xcalloc(POLICY_SECRETS_MAX, sizeof *p->secrets);
    struct policy_secret *s = &p->secrets[p->secret_count];
    memcpy(s->name, name, size);
    s->name[size] = '\0';
    if (find_secret(p, s->name) != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "secret %s: given twice", s->name);
    s->hosts = xcalloc(POLICY_HOSTS_MAX, sizeof *s->hosts);
    s->where = POLICY_WHERE_DEFAULT;
    s->redact = true;
    p->secret_count++;
    return 0;
}

static bool
is_reachable(const struct policy *p, const struct rule *host)
{
    for (size_t i = 0; i < p->rule_count; i++)
        if (rule_covers(&p->rules[i], host))
            return true;
    return !p->restricted;
}

int
policy_add_host(struct policy *p, const char *text, size_t size, struct error *err)
{
    struct policy_secret *s = &p->secrets[p->secret_count - 1];
    struct rule *host = &s->hosts[s->host_count];
    if (s->host_count == POLICY_HOSTS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "secret %s: more than %d hosts", s->name,
                         (int)POLICY_HOSTS_MAX);
    if (rule_parse(text, size, host, err) < 0)
        return error_wrap(err, "secret %s: host", s->name);
    if (host->kind == RULE_ADDRESS)
        return error_set(err, ERR_INVALID_CONFIG,
                         "secret %s: host \"%s\" is an address; a secret is bound to names, which "
                         "certificates prove",
                         s->name, host->text);
    if (!is_reachable(p, host))
        return error_set(err, ERR_INVALID_CONFIG,
                         "secret %s: host \"%s\" is not reachable under allow_net: add it there",
                         s->name, host->text);
    s->host_count++;
    return 0;
}

static const char *
check_value(const struct policy *p, const char *value, size_t size)
{
    if (size == 0)
        return "its value is empty";
    if (size > POLICY_VALUE_MAX)
        return "its value is longer than 16384 bytes";
    for (size_t i = 0; i < size; i++)
        if (value[i] == '\r' || value[i] == '\n' || value[i] == '\0')
            return "its value holds a line break or NUL, which no header can carry";
    for (size_t i = 0; i + 1 < p->secret_count; i++)
        if (p->secrets[i].value_size == size && memcmp(p->secrets[i].value, value, size) == 0)
            return "another secret has the same value: bind one secret to all hosts instead";
    return NULL;
}

static const char *
check_placeholder(const struct policy *p, const char *text, size_t size, size_t value_size)
{
    if (size != policy_placeholder_size(value_size) ||
        !policy_placeholder_is_wellformed(text, size))
        return "its placeholder is malformed";
    for (size_t i = POLICY_PLACEHOLDER_MIN; i < size; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z') ||
              (text[i] >= 'a' && text[i] <= 'z')))
            return "its placeholder is malformed";
    for (size_t i = 0; i + 1 < p->secret_count; i++)
        if (memcmp(p->secrets[i].placeholder, text, POLICY_PLACEHOLDER_MIN) == 0)
            return "another secret has the same placeholder";
    return NULL;
}

int
policy_finish_secret(struct policy *p, const char *value, size_t value_size,
                     const char *placeholder, size_t placeholder_size, struct error *err)
{
    struct policy_secret *s = &p->secrets[p->secret_count - 1];
    const char *why = s->host_count == 0 ? "it has no host: at least one is needed" : NULL;
    if (why == NULL)
        why = check_value(p, value, value_size);
    if (why == NULL && placeholder != NULL)
        why = check_placeholder(p, placeholder, placeholder_size, value_size);
    if (why != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "secret %s: %s", s->name, why);

    char made[POLICY_VALUE_MAX];
    if (placeholder == NULL) {
        placeholder_size = policy_placeholder_size(value_size);
        policy_placeholder_make(made, placeholder_size);
        placeholder = made;
    }
    s->value = policy_vault_add(p, value, value_size);
    s->value_size = value_size;
    s->placeholder = policy_vault_add(p, placeholder, placeholder_size);
    s->placeholder_size = placeholder_size;
    if (s->value == NULL || s->placeholder == NULL)
        return error_set(err, ERR_INTERNAL, "secret %s: no room in its memory", s->name);
    return 0;
}

struct policy_decision
policy_decide(const struct policy *p, const char *name, size_t name_size,
              const struct in6_addr *addr, uint16_t port)
{
    struct policy_decision d = {.reason = "no rule allows it"};
    if (name_size == 0) {
        enum address_class class = address_classify(addr);
        if (class != ADDRESS_PUBLIC)
            return (struct policy_decision){.reason = address_class_text(class)};
    }
    if (!p->restricted)
        return (struct policy_decision){.allowed = true};
    for (size_t i = 0; i < p->rule_count && !d.port_named; i++) {
        const struct rule *r = &p->rules[i];
        bool matches = name_size > 0 ? rule_matches_name(r, name, name_size, port)
                                     : rule_matches_address(r, addr, port);
        // Among several the one that names the port tells most.
        if (matches && (!d.allowed || r->port != 0))
            d = (struct policy_decision){
                .allowed = true, .port_named = r->port != 0, .rule = r->text};
    }
    return d;
}

bool
policy_bound(const struct policy *p, const char *name, size_t name_size, uint16_t port)
{
    for (size_t i = 0; i < p->secret_count; i++)
        if (policy_secret_applies(&p->secrets[i], name, name_size, port))
            return true;
    return false;
}

bool
policy_inspected(const struct policy *p, const char *name, size_t name_size, uint16_t port)
{
    (void)p;
    (void)name;
    (void)name_size;
    (void)port;
    return false;
}

const struct policy_settings *
policy_settings(const struct policy *p)
{
    return &p->settings;
}

bool
policy_secret_permits(const struct policy_secret *s, const char *method, size_t method_size,
                      const char *path, size_t path_size)
{
    (void)s;
    (void)method;
    (void)method_size;
    (void)path;
    (void)path_size;
    return true;
}

size_t
policy_secret_count(const struct policy *p)
{
    return p->secret_count;
}

const struct policy_secret *
policy_secret_at(const struct policy *p, size_t i)
{
    return &p->secrets[i];
}

const char *
policy_secret_name(const struct policy *p, size_t i)
{
    return p->secrets[i].name;
}

const char *
policy_secret_placeholder(const struct policy *p, size_t i)
{
    return p->secrets[i].placeholder;
}

bool
policy_secret_applies(const struct policy_secret *s, const char *name, size_t name_size,
                      uint16_t port)
{
    for (size_t i = 0; i < s->host_count; i++)
        if (rule_matches_name(&s->hosts[i], name, name_size, port))
            return true;
    return false;
}

const char *
policy_secret_host(const struct policy_secret *s, size_t i)
{
    return s->hosts[i].text;
}

int
policy_add_dial_override(struct policy *p, const char *text, struct error *err)
{
    const char *equals = strchr(text, '=');
    struct policy_override *o = &p->overrides[p->override_count];
    if (p->override_count == POLICY_OVERRIDES_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "more than %d hosts are dialled elsewhere",
                         (int)POLICY_OVERRIDES_MAX);
    if (equals == NULL || strlen(text) > POLICY_OVERRIDE_TEXT_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "\"%.80s\" is not NAME=ADDR:PORT", text);
    const char *why = hostname_canonical(text, (size_t)(equals - text), o->name, &o->name_size);
    if (why != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "\"%.80s\": the name %s", text, why);
    struct rule target;
    if (rule_parse(equals + 1, strlen(equals + 1), &target, err) < 0)
        return -1;
    if (target.kind != RULE_ADDRESS || target.bits != 128 || target.port == 0)
        return error_set(err, ERR_INVALID_CONFIG, "\"%.80s\": what follows is not ADDR:PORT", text);
    memcpy(o->text, text, strlen(text) + 1);
    address_to_sockaddr(&target.addr, target.port, &o->addr);
    p->override_count++;
    return 0;
}

const struct sockaddr *
policy_dial_override(const struct policy *p, const char *name, size_t name_size)
{
    for (size_t i = 0; i < p->override_count; i++) {
        const struct policy_override *o = &p->overrides[i];
        if (o->name_size == name_size && memcmp(o->name, name, name_size) == 0)
            return (const struct sockaddr *)&o->addr;
    }
    return NULL;
}
