// SPDX-License-Identifier: Apache-2.0
// What a sandbox may reach, and which secret goes where. Made by casemated from the caller's
// configuration, carried to the worker in a sealed memfd, and asked there for every decision. Pure:
// no I/O, names are bytes with lengths.
#pragma once

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POLICY_RULES_MAX = 256,
    POLICY_SECRETS_MAX = 64,
    POLICY_HOSTS_MAX = 32, // hosts of one secret
    POLICY_VALUE_MAX = 16384,
    POLICY_NAME_MAX = 64,      // of a secret: an environment variable's name
    POLICY_OVERRIDES_MAX = 64, // dial overrides
    POLICY_PORTS_MAX = 16,     // of one secret, as the three below
    POLICY_METHODS_MAX = 16,
    POLICY_PATHS_MAX = 16,
    POLICY_PATTERN_MAX = 256, // bytes of a path pattern
    POLICY_METHOD_MAX = 32,
    POLICY_PREFIX_MAX = 32,        // bytes of a public prefix
    POLICY_VALUE_UNKNOWN_MIN = 16, // bytes of a value that nobody can guess; fewer are not redacted
    POLICY_ENCODED_MAX = 4 * 1024 * 1024,
    POLICY_AUTHORITY_NAMES_MAX = POLICY_SECRETS_MAX * POLICY_HOSTS_MAX + POLICY_RULES_MAX,
    POLICY_AUTHORITY_SIZE_MAX = 32 * 1024, // bytes of them in a certificate
};

struct policy; // holds secret values in memory that is locked where possible and wiped when freed
struct operator;

// Whose lists a connection must pass, in the order in which they are asked. None can widen another.
enum policy_layer { POLICY_CEILING, POLICY_NAMED, POLICY_CALLER, POLICY_LAYER_MAX };

// What a policy is made from; all borrowed.
struct policy_request {
    // Object with the members `allowNet` (or `allow_net`), `secrets` and so on (the operator's
    // handbook lists them); a member that is JSON null is absent, NULL: none at all.
    const json_t *document;
    bool whole;                // the document is nothing but a policy: other members are refused
    bool stand_in;             // to look at only: a value that is not given is made up
    const char *named;         // the operator's policy that was chosen, or NULL
    struct operator* operator; // operator.h; or NULL
};

// Makes the placeholders. ERR_INVALID_CONFIG names the offending rule or secret (never a value) and
// says what is allowed, ERR_UNSUPPORTED names what this build has not, ERR_UNAVAILABLE the
// operator's secret that cannot be had now. On success *ret is the caller's.
int policy_load(const struct policy_request *request, struct policy **ret, struct error *err);
// With the members `allow_net` and `secrets` only.
int policy_from_json(const json_t *allow_net, const json_t *secrets, struct policy **ret,
                     struct error *err);
void policy_free(struct policy *p); // accepts NULL

// What a connection may do. rule is the text of the rule that allows it (of several layers, the
// caller's) or that denies it, of the policy; NULL when there is none. reason is static text, NULL
// when allowed. layer says whose word it was.
struct policy_decision {
    bool allowed;
    bool port_named; // every list names the port, so any protocol may pass there
    enum policy_layer layer;
    const char *rule;
    const char *reason;
};
const char *policy_layer_name(enum policy_layer layer); // "the operator's ceiling"

// For a canonical host name (hostname.h), or for a bare address when name_size is 0: addr, IPv4 in
// mapped form, is then needed and must be public by the address rules (address.h) whatever the list
// says, or private and opened by the operator.
struct policy_decision policy_decide(const struct policy *p, const char *name, size_t name_size,
                                     const struct in6_addr *addr, uint16_t port);
// Whether a connection that was allowed may be made to this address, one of the name's or the bare
// one: NULL, or static text that says why not. A rule that denies addresses also holds for names.
const char *policy_check_address(const struct policy *p, const char *name, size_t name_size,
                                 const struct in6_addr *addr, uint16_t port);
// Whether this address of another network was opened by the operator, by itself or by its name, and
// by a list, which must name it. Never a loopback, link-local or metadata address.
bool policy_private_allows(const struct policy *p, const char *name, size_t name_size,
                           const struct in6_addr *addr, uint16_t port);

// Whether any secret is bound to this host and port.
bool policy_bound(const struct policy *p, const char *name, size_t name_size, uint16_t port);

// Whether there is any list, so that it matters which host a connection is for.
bool policy_tells_hosts_apart(const struct policy *p);

// Whether HTTP to this host is read and audited though no secret is bound to it.
bool policy_inspected(const struct policy *p, const char *name, size_t name_size, uint16_t port);
// Those hosts as they were written, in lower case, as policy_secret_host has it.
size_t policy_inspect_count(const struct policy *p);
const char *policy_inspect_host(const struct policy *p, size_t i);

// Bytes that are another's, not NUL-terminated.
struct policy_span {
    const char *data;
    size_t size;
};

// The names that the sandbox's certificate authority may speak for: the hosts of secrets and the
// inspected ones, sorted, each once; one that stands for all below it, too. Returns how many.
size_t policy_authority_names(const struct policy *p,
                              struct policy_span ret[POLICY_AUTHORITY_NAMES_MAX]);

// Places in a request where a placeholder becomes its value, as bits of a set.
enum policy_where {
    POLICY_HEADER = 1 << 0,
    POLICY_BASIC = 1 << 1, // within Basic credentials
    POLICY_QUERY = 1 << 2,
    POLICY_PATH = 1 << 3,
    POLICY_WHERE_DEFAULT = POLICY_HEADER | POLICY_BASIC | POLICY_QUERY,
};

// A secret, for substitution: value and placeholder stay the policy's.
struct policy_secret {
    char name[POLICY_NAME_MAX + 1];
    const char *value;
    size_t value_size;
    const char *placeholder;
    size_t placeholder_size;
    size_t prefix_size; // of both: what everybody may know of the value ("sk-ant-")
    unsigned where;     // enum policy_where
    bool redact;        // taken out of what its hosts answer
    bool plain_http;    // may be put into requests without TLS
    struct rule *hosts; // rule.h
    size_t host_count;
    struct policy_limits *limits; // ports, methods and paths
};

// What the whole policy says of its sandbox.
struct policy_settings {
    bool pass_ech;           // "ech": "allow": also behind an encrypted ClientHello
    bool pass_misused_heads; // "onMisuse": {"head": "pass"}
    bool block_seen_bodies;  // "onMisuse": {"body": "block"}
    bool drop_audit;         // "onAuditFailure": "drop": go on without
    uint64_t max_tx_bytes;   // that may leave the sandbox in its life; 0: no limit
};

const struct policy_settings *policy_settings(const struct policy *p);

// Whether the secret may go into a request with this method and path (without the query). Where the
// secret names paths, one that servers may read differently than we do (dot segments, encoded
// slashes, backslashes, empty segments) is none of them.
bool policy_secret_permits(const struct policy_secret *s, const char *method, size_t method_size,
                           const char *path, size_t path_size);

const struct policy_secret *policy_secret_at(const struct policy *p, size_t i);
// Whether the secret is bound to this canonical host name on this port.
bool policy_secret_applies(const struct policy_secret *s, const char *name, size_t name_size,
                           uint16_t port);
// Host i of the secret as it was written, in lower case: "api.test", "*.api.test", "api.test:8443".
const char *policy_secret_host(const struct policy_secret *s, size_t i);

// The secret whose placeholder, from its "csec_" on, is what text begins with; NULL: none. Of its
// public prefix nothing is said. *ret_number is for policy_secret_at. Takes the same time for any
// number of secrets.
const struct policy_secret *policy_find_placeholder(const struct policy *p, const char *text,
                                                    size_t size, size_t *ret_number);

// Placeholders: the public prefix of the value, "csec_", 31 random base62 characters (184 bits), 4
// check characters, then random base62 up to the length of the value where that is longer.
#define POLICY_PLACEHOLDER_PREFIX "csec_"
enum {
    POLICY_PLACEHOLDER_PREFIX_SIZE = 5,
    POLICY_PLACEHOLDER_RANDOM = 31,
    POLICY_PLACEHOLDER_CHECK = 4,
    POLICY_PLACEHOLDER_MIN = 40,
};
// True if text begins with a placeholder of anyone's, from its "csec_" on: what follows its first
// 40 characters is not looked at.
bool policy_placeholder_is_wellformed(const char *text, size_t size);

// The operator's part. NAME=ADDR:PORT of --egress-host: connections to that name are dialled there,
// whatever its port; the address is exempt from the address rules. ERR_INVALID_CONFIG on bad text.
int policy_add_dial_override(struct policy *p, const char *text, struct error *err);

// Where connections to this canonical name are dialled instead, or NULL.
const struct sockaddr *policy_dial_override(const struct policy *p, const char *name,
                                            size_t name_size);

// Environment to give to the sandbox. Texts are terminated.
size_t policy_secret_count(const struct policy *p);
const char *policy_secret_name(const struct policy *p, size_t i);
const char *policy_secret_placeholder(const struct policy *p, size_t i);

// Tells of what is allowed but unwise, in words; never a value.
void policy_lint(const struct policy *p, void (*tell)(void *user, const char *warning), void *user);

// For the memfd; out must be a secret buf of POLICY_ENCODED_MAX. Decoding checks everything again.
int policy_encode(const struct policy *p, struct buf *out, struct error *err);
int policy_decode(const void *data, size_t size, struct policy **ret, struct error *err);
