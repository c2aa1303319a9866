// SPDX-License-Identifier: Apache-2.0
// The parts of a policy, for its loader and its codec.
#pragma once

#include "policy/policy.h"
#include "policy/rule.h"
#include "policy/vault.h"

#include <sys/socket.h>

enum { POLICY_OVERRIDE_TEXT_MAX = HOSTNAME_MAX + 64 };

struct policy_override {
    char text[POLICY_OVERRIDE_TEXT_MAX + 1];
    char name[HOSTNAME_MAX + 1];
    size_t name_size;
    struct sockaddr_storage addr;
};

// A list of rules that grows.
struct rules {
    struct rule *items;
    size_t count;
    size_t room;
};

// label names the list in messages. ERR_INVALID_CONFIG also on more than POLICY_RULES_MAX.
int rules_add(struct rules *list, const char *label, const char *text, size_t size,
              struct error *err);
const struct rule *rules_match_name(const struct rules *list, const char *name, size_t size,
                                    uint16_t port);

struct layer {
    bool restricted; // there is a list; else every public address is allowed
    struct rules allow;
    struct rules deny;
};

struct policy_limits {
    char prefix[POLICY_PREFIX_MAX + 1]; // public, of the value
    uint16_t ports[POLICY_PORTS_MAX];
    size_t port_count; // 0: any, as for the two below
    char methods[POLICY_METHODS_MAX][POLICY_METHOD_MAX + 1];
    size_t method_count;
    char paths[POLICY_PATHS_MAX][POLICY_PATTERN_MAX + 1];
    size_t path_count;
};

enum { POLICY_TOKEN_SLOTS = 256 }; // four times the secrets there can be, so that few collide

struct policy {
    struct layer layers[POLICY_LAYER_MAX];
    struct rules private; // what the operator opens of other networks
    struct rules inspect;
    struct policy_secret *secrets;
    size_t secret_count;
    uint8_t tokens[POLICY_TOKEN_SLOTS]; // by what is random in a placeholder: secret + 1
    struct policy_override overrides[POLICY_OVERRIDES_MAX];
    size_t override_count;
    struct policy_settings settings;
    struct vault vault;
};

// An empty policy whose vault holds this many bytes.
int policy_new(size_t vault_size, struct policy **ret, struct error *err);

// Copies into the vault, terminated; takes size + 1 bytes of it. NULL: it is full.
char *policy_vault_add(struct policy *p, const void *data, size_t size);

// Whether some name that host stands for passes every layer on one of its ports.
bool policy_reaches(const struct policy *p, const struct rule *host);

int policy_add_private(struct policy *p, const char *text, size_t size, struct error *err);
int policy_add_inspect(struct policy *p, const char *text, size_t size, struct error *err);

// In this order for each secret, when all layers are there: begin, the parts, finish. finish checks
// what can only be told from the whole. placeholder NULL: make one.
int policy_begin_secret(struct policy *p, const char *name, size_t size, struct error *err);
int policy_add_host(struct policy *p, const char *text, size_t size, struct error *err);
int policy_add_port(struct policy *p, uint64_t port, struct error *err);
int policy_add_method(struct policy *p, const char *text, size_t size, struct error *err);
int policy_add_path(struct policy *p, const char *text, size_t size, struct error *err);
int policy_set_prefix(struct policy *p, const char *text, size_t size, struct error *err);

struct policy_traits {
    unsigned where;
    bool redact;
    bool redact_asked; // in so many words: refused where it cannot be had
    bool plain_http;
};
int policy_finish_secret(struct policy *p, const struct policy_traits *traits, const char *value,
                         size_t value_size, const char *placeholder, size_t placeholder_size,
                         struct error *err);
void policy_secret_done(struct policy_secret *s);

// Whether inner, a path pattern, stands for nothing that outer does not.
bool policy_path_covers(const char *outer, const char *inner);

size_t policy_placeholder_size(size_t value_size, size_t prefix_size);
// What follows the prefix; size >= POLICY_PLACEHOLDER_MIN; no NUL.
void policy_placeholder_make(char *out, size_t size);
// policy-authority.c: not more names than a certificate can hold.
int policy_check_authority(const struct policy *p, struct error *err);
