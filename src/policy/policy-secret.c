// SPDX-License-Identifier: Apache-2.0
// The secrets of a policy: built part by part, checked as a whole, and asked.
#include "policy/policy-internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static struct policy_secret *
last(struct policy *p)
{
    return &p->secrets[p->secret_count - 1];
}

static int
refuse(const struct policy_secret *s, struct error *err, const char *why)
{
    return error_set(err, ERR_INVALID_CONFIG, "secret %s: %s", s->name, why);
}

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool
is_variable_name(const char *name, size_t size)
{
    if (size == 0 || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (size_t i = 0; i < size; i++)
        if (!is_alnum(name[i]) && name[i] != '_')
            return false;
    return true;
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
    for (size_t i = 0; i < p->secret_count; i++)
        if (strlen(p->secrets[i].name) == size && memcmp(p->secrets[i].name, name, size) == 0)
            return error_set(err, ERR_INVALID_CONFIG, "secret %s: given twice", p->secrets[i].name);
    struct policy_secret *s = &p->secrets[p->secret_count];
    memcpy(s->name, name, size);
    s->name[size] = '\0';
    s->hosts = xcalloc(POLICY_HOSTS_MAX, sizeof *s->hosts);
    s->limits = xcalloc(1, sizeof *s->limits);
    p->secret_count++;
    return 0;
}

void
policy_secret_done(struct policy_secret *s)
{
    free(s->hosts);
    free(s->limits);
}

int
policy_add_host(struct policy *p, const char *text, size_t size, struct error *err)
{
    struct policy_secret *s = last(p);
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
    s->host_count++;
    return 0;
}

int
policy_add_port(struct policy *p, uint64_t port, struct error *err)
{
    struct policy_secret *s = last(p);
    struct policy_limits *l = s->limits;
    if (port == 0 || port > UINT16_MAX)
        return refuse(s, err, "ports: a port is a whole number from 1 to 65535");
    if (l->port_count == POLICY_PORTS_MAX)
        return refuse(s, err, "ports: more than 16");
    l->ports[l->port_count++] = (uint16_t)port;
    return 0;
}

// A token of RFC 9110 5.6.2 in upper case: methods are case-sensitive, and these are how all of
// them are written.
static bool
is_method(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!(text[i] >= 'A' && text[i] <= 'Z') && text[i] != '-')
            return false;
    return size > 0 && size <= POLICY_METHOD_MAX;
}

int
policy_add_method(struct policy *p, const char *text, size_t size, struct error *err)
{
    struct policy_secret *s = last(p);
    struct policy_limits *l = s->limits;
    if (!is_method(text, size))
        return refuse(s, err, "methods: a method is a word in upper case, as \"POST\"");
    if (l->method_count == POLICY_METHODS_MAX)
        return refuse(s, err, "methods: more than 16");
    memcpy(l->methods[l->method_count++], text, size);
    return 0;
}

static const char *
check_pattern(const char *text, size_t size)
{
    if (size == 0 || text[0] != '/')
        return "paths: a path begins with \"/\"";
    if (size > POLICY_PATTERN_MAX)
        return "paths: a path has at most 256 bytes";
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f || strchr("?#%\\", text[i]) != NULL)
            return "paths: a path is of visible ASCII characters without ?, #, % and backslash";
        if (text[i] == '*' && i + 1 < size)
            return "paths: \"*\" stands at the end only";
        if (i > 0 && text[i] == '/' && text[i - 1] == '/')
            return "paths: a path has no empty segment";
    }
    return NULL;
}

int
policy_add_path(struct policy *p, const char *text, size_t size, struct error *err)
{
    struct policy_secret *s = last(p);
    struct policy_limits *l = s->limits;
    const char *why = check_pattern(text, size);
    if (why != NULL)
        return refuse(s, err, why);
    if (l->path_count == POLICY_PATHS_MAX)
        return refuse(s, err, "paths: more than 16");
    memcpy(l->paths[l->path_count++], text, size);
    return 0;
}

int
policy_set_prefix(struct policy *p, const char *text, size_t size, struct error *err)
{
    struct policy_secret *s = last(p);
    if (size > POLICY_PREFIX_MAX)
        return refuse(s, err, "prefix: longer than 32 characters");
    for (size_t i = 0; i < size; i++)
        if (!is_alnum(text[i]) && (text[i] == '\0' || strchr("-_.", text[i]) == NULL))
            return refuse(s, err, "prefix: only letters, digits, \"-\", \"_\" and \".\"");
    if (memmem(text, size, POLICY_PLACEHOLDER_PREFIX, POLICY_PLACEHOLDER_PREFIX_SIZE) != NULL)
        return refuse(s, err, "prefix: holds what placeholders begin with");
    memcpy(s->limits->prefix, text, size);
    s->prefix_size = size;
    return 0;
}

// --- the whole ---

static const char *
check_value(const struct policy *p, const struct policy_secret *s, const char *value, size_t size)
{
    if (size == 0)
        return "its value is empty";
    if (size > POLICY_VALUE_MAX)
        return "its value is longer than 16384 bytes";
    bool dots = true;
    for (size_t i = 0; i < size; i++) {
        if (value[i] == '\r' || value[i] == '\n' || value[i] == '\0')
            return "its value holds a line break or NUL, which no header can carry";
        dots = dots && value[i] == '.';
    }
    if (dots && (s->where & POLICY_PATH) != 0)
        return "its value is of dots only, which mean something else in a path";
    if (s->prefix_size > 0 &&
        (size < s->prefix_size || memcmp(value, s->limits->prefix, s->prefix_size) != 0))
        return "its value does not begin with its prefix";
    if (s->prefix_size > 0 && size < s->prefix_size + POLICY_VALUE_UNKNOWN_MIN)
        return "its prefix leaves fewer than 16 characters of the value unknown";
    for (size_t i = 0; i + 1 < p->secret_count; i++)
        if (p->secrets[i].value_size == size && memcmp(p->secrets[i].value, value, size) == 0)
            return "another secret has the same value: bind one secret to all hosts instead";
    return NULL;
}

// Among what placeholders hold besides their prefix; text is one from there on.
static const struct policy_secret *
find_random(const struct policy *p, const char *text, size_t *ret_number, unsigned *ret_slot)
{
    uint32_t key;
    memcpy(&key, text + POLICY_PLACEHOLDER_PREFIX_SIZE, sizeof key);
    unsigned slot = key * 2654435761u >> 24; // Fibonacci hashing, of random characters anyway
    _Static_assert(POLICY_TOKEN_SLOTS == 1 << 8, "eight bits of it");
    for (; p->tokens[slot] != 0; slot = (slot + 1) % POLICY_TOKEN_SLOTS) {
        const struct policy_secret *s = &p->secrets[p->tokens[slot] - 1];
        if (memcmp(s->placeholder + s->prefix_size, text, POLICY_PLACEHOLDER_MIN) == 0) {
            *ret_number = p->tokens[slot] - 1u;
            return s;
        }
    }
    *ret_slot = slot;
    return NULL;
}

const struct policy_secret *
policy_find_placeholder(const struct policy *p, const char *text, size_t size, size_t *ret_number)
{
    unsigned slot;
    size_t number;
    if (size < POLICY_PLACEHOLDER_MIN)
        return NULL;
    const struct policy_secret *s = find_random(p, text, &number, &slot);
    if (s == NULL || size < s->placeholder_size - s->prefix_size ||
        memcmp(text, s->placeholder + s->prefix_size, s->placeholder_size - s->prefix_size) != 0)
        return NULL;
    *ret_number = number;
    return s;
}

static const char *
check_placeholder(const struct policy_secret *s, const char *text, size_t size, size_t value_size)
{
    static const char malformed[] = "its placeholder is malformed";
    size_t at = s->prefix_size;
    if (size != policy_placeholder_size(value_size, at) ||
        memcmp(text, s->limits->prefix, at) != 0 ||
        !policy_placeholder_is_wellformed(text + at, size - at))
        return malformed;
    for (size_t i = at + POLICY_PLACEHOLDER_MIN; i < size; i++)
        if (!is_alnum(text[i]))
            return malformed;
    return NULL;
}

// A host that can be reached on none of the secret's ports is a mistake that would go unnoticed.
static bool
is_reachable(const struct policy *p, const struct policy_secret *s, const struct rule *host)
{
    const struct policy_limits *l = s->limits;
    bool reached = l->port_count == 0 && policy_reaches(p, host);
    for (size_t i = 0; i < l->port_count && !reached; i++) {
        struct rule there = *host;
        there.port = l->ports[i];
        reached = (host->port == 0 || host->port == there.port) && policy_reaches(p, &there);
    }
    return reached;
}

static int
check_hosts(const struct policy *p, const struct policy_secret *s, struct error *err)
{
    if (s->host_count == 0)
        return refuse(s, err, "it has no host: at least one is needed");
    for (size_t i = 0; i < s->host_count; i++)
        if (!is_reachable(p, s, &s->hosts[i]))
            return error_set(err, ERR_INVALID_CONFIG,
                             "secret %s: host \"%s\" is not reachable under allow_net and what the "
                             "operator allows",
                             s->name, s->hosts[i].text);
    return 0;
}

static int
keep(struct policy *p, struct policy_secret *s, const char *value, size_t value_size,
     const char *placeholder, size_t placeholder_size, struct error *err)
{
    unsigned slot = 0;
    size_t number;
    if (find_random(p, placeholder + s->prefix_size, &number, &slot) != NULL)
        return refuse(s, err, "another secret has the same placeholder");
    s->value = policy_vault_add(p, value, value_size);
    s->value_size = value_size;
    s->placeholder = policy_vault_add(p, placeholder, placeholder_size);
    s->placeholder_size = placeholder_size;
    if (s->value == NULL || s->placeholder == NULL)
        return error_set(err, ERR_INTERNAL, "secret %s: no room in its memory", s->name);
    p->tokens[slot] = (uint8_t)p->secret_count;
    return 0;
}

int
policy_finish_secret(struct policy *p, const struct policy_traits *traits, const char *value,
                     size_t value_size, const char *placeholder, size_t placeholder_size,
                     struct error *err)
{
    struct policy_secret *s = last(p);
    s->where = traits->where;
    s->plain_http = traits->plain_http;
    s->redact = traits->redact && value_size >= POLICY_VALUE_UNKNOWN_MIN;
    if (check_hosts(p, s, err) < 0)
        return -1;
    const char *why = check_value(p, s, value, value_size);
    if (why == NULL && traits->redact_asked && traits->redact && !s->redact)
        why = "redact: a value of fewer than 16 characters cannot be found in answers safely";
    if (why == NULL && placeholder != NULL)
        why = check_placeholder(s, placeholder, placeholder_size, value_size);
    if (why != NULL)
        return refuse(s, err, why);

    char made[POLICY_VALUE_MAX];
    if (placeholder == NULL) {
        placeholder_size = policy_placeholder_size(value_size, s->prefix_size);
        memcpy(made, s->limits->prefix, s->prefix_size);
        policy_placeholder_make(made + s->prefix_size, placeholder_size - s->prefix_size);
        placeholder = made;
    }
    return keep(p, s, value, value_size, placeholder, placeholder_size, err);
}

// --- questions ---

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

const char *
policy_secret_host(const struct policy_secret *s, size_t i)
{
    return s->hosts[i].text;
}

static bool
has_port(const struct policy_limits *l, uint16_t port)
{
    bool found = l->port_count == 0 || port == 0;
    for (size_t i = 0; i < l->port_count && !found; i++)
        found = l->ports[i] == port;
    return found;
}

bool
policy_secret_applies(const struct policy_secret *s, const char *name, size_t name_size,
                      uint16_t port)
{
    if (!has_port(s->limits, port))
        return false;
    for (size_t i = 0; i < s->host_count; i++)
        if (rule_matches_name(&s->hosts[i], name, name_size, port))
            return true;
    return false;
}

static bool
has_method(const struct policy_limits *l, const char *method, size_t size)
{
    bool found = l->method_count == 0;
    for (size_t i = 0; i < l->method_count && !found; i++)
        found = strlen(l->methods[i]) == size && memcmp(l->methods[i], method, size) == 0;
    return found;
}

// "." and "..", also with a parameter behind them, which some servers take off.
static bool
is_dot_segment(const char *text, size_t size)
{
    size_t dots = 0;
    while (dots < size && text[dots] == '.')
        dots++;
    return (dots == 1 || dots == 2) && (dots == size || text[dots] == ';');
}

// The byte that "%xx" at text stands for; -1: it is none.
static int
encoded_byte(const char *text, size_t size)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    if (size < 3 || memchr(digits, text[1], 22) == NULL || memchr(digits, text[2], 22) == NULL)
        return -1;
    int high = (text[1] & 15) + (text[1] > '9' ? 9 : 0);
    int low = (text[2] & 15) + (text[2] > '9' ? 9 : 0);
    return high << 4 | low;
}

// Whether every server reads this path alike. What is percent-encoded and means something when it
// is not is left to nobody's guess.
static bool
is_plain_path(const char *path, size_t size)
{
    const char *end = path + size;
    if (size == 0 || path[0] != '/')
        return false;
    for (const char *at = path; at < end; at++) {
        int c = *at == '%' ? encoded_byte(at, (size_t)(end - at)) : (unsigned char)*at;
        if (c <= ' ' || c == 0x7f || c == '\\' || (*at == '%' && memchr("./%;", c, 4) != NULL))
            return false;
    }
    for (const char *segment = path + 1; segment <= end;) {
        const char *slash = memchr(segment, '/', (size_t)(end - segment));
        size_t length = (size_t)((slash != NULL ? slash : end) - segment);
        if ((length == 0 && slash != NULL) || is_dot_segment(segment, length))
            return false;
        segment += length + 1;
    }
    return true;
}

static bool
path_matches(const char *pattern, const char *path, size_t size)
{
    size_t length = strlen(pattern);
    if (pattern[length - 1] == '*')
        return size >= length - 1 && memcmp(pattern, path, length - 1) == 0;
    return size == length && memcmp(pattern, path, length) == 0;
}

bool
policy_path_covers(const char *outer, const char *inner)
{
    return path_matches(outer, inner, strlen(inner));
}

static bool
has_path(const struct policy_limits *l, const char *path, size_t size)
{
    if (l->path_count == 0)
        return true;
    bool found = false;
    for (size_t i = 0; i < l->path_count && !found; i++)
        found = path_matches(l->paths[i], path, size);
    return found && is_plain_path(path, size);
}

bool
policy_secret_permits(const struct policy_secret *s, const char *method, size_t method_size,
                      const char *path, size_t path_size)
{
    return has_method(s->limits, method, method_size) && has_path(s->limits, path, path_size);
}
