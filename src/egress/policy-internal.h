// SPDX-License-Identifier: Apache-2.0
// The parts of a policy, for its loader and its codec.
#pragma once

#include "egress/policy.h"
#include "egress/rule.h"

#include <sys/socket.h>

enum { POLICY_OVERRIDE_TEXT_MAX = HOSTNAME_MAX + 64 };

struct policy_override {
    char text[POLICY_OVERRIDE_TEXT_MAX + 1];
    char name[HOSTNAME_MAX + 1];
    size_t name_size;
    struct sockaddr_storage addr;
};

// Pages of their own for values and placeholders: locked, left out of core dumps, empty in a forked
// child, wiped before they are given back. Filled from the front.
struct vault {
    char *data;
    size_t used;
    size_t capacity;
};

struct policy {
    bool restricted; // there is a list; else every public address is allowed
    struct rule *rules;
    size_t rule_count;
    struct policy_secret *secrets;
    size_t secret_count;
    struct policy_override overrides[POLICY_OVERRIDES_MAX];
    size_t override_count;
    struct policy_settings settings;
    struct vault vault;
};

int vault_init(struct vault *v, size_t size, struct error *err);
void vault_done(struct vault *v);

// An empty policy whose vault holds this many bytes.
int policy_new(size_t vault_size, struct policy **ret, struct error *err);

// Copies into the vault, terminated; takes size + 1 bytes of it. NULL: it is full.
char *policy_vault_add(struct policy *p, const void *data, size_t size);

int policy_add_rule(struct policy *p, const char *text, size_t size, struct error *err);

// In this order for each secret: begin, hosts, finish. finish checks what can only be told from the
// whole policy, its rules included. placeholder NULL: make one.
int policy_begin_secret(struct policy *p, const char *name, size_t size, struct error *err);
int policy_add_host(struct policy *p, const char *text, size_t size, struct error *err);
int policy_finish_secret(struct policy *p, const char *value, size_t value_size,
                         const char *placeholder, size_t placeholder_size, struct error *err);

size_t policy_placeholder_size(size_t value_size);
void policy_placeholder_make(char *out, size_t size); // size >= POLICY_PLACEHOLDER_MIN; no NUL
