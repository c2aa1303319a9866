// SPDX-License-Identifier: Apache-2.0
// Finds the placeholders in a request's head and puts the values in: pure, bytes in, bytes out. One
// pass, so that a value which looks like a placeholder is never swapped again. A placeholder that
// may not be where it stands is misuse: nothing of the request goes upstream then, unless the
// policy passes misused heads; then it stays as it is.
#pragma once

#include "http/h1.h"
#include "policy/policy.h"

// Bit i of policy_secret.where is place i.
enum substitute_where {
    SUBSTITUTE_HEADER,
    SUBSTITUTE_BASIC,
    SUBSTITUTE_QUERY,
    SUBSTITUTE_PATH,
    SUBSTITUTE_MAX
};

enum substitute_result {
    SUBSTITUTE_OK,
    SUBSTITUTE_MISUSE, // what, where and why stand in struct substitute
    SUBSTITUTE_FULL,   // out's cap is reached
};

// One request. Zero the rest.
struct substitute {
    const struct policy *policy;
    const char *host; // where the request goes, proved by its certificate
    size_t host_size;
    uint16_t port;
    bool plain;            // no TLS: only what may go without is swapped
    struct h1_span method; // of the request, and its target's path, for what a secret permits;
    struct h1_span path;   // left empty, secrets that ask for either go nowhere
    uint64_t swapped[SUBSTITUTE_MAX]; // bit i: secret i
    // Of the first misuse, also of one that passes; reason NULL: there was none.
    const char *secret; // its name, NULL if the placeholder is nobody's
    const char *place;
    const char *reason;
};

// To be told of each field's name, after method and path are set: a field that has servers take the
// request for one with another method or path leaves that empty.
void substitute_note_override(struct substitute *s, struct h1_span name);

const char *substitute_where_name(enum substitute_where where);

// A part in which no placeholder may stand; place names it ("method").
enum substitute_result substitute_forbid(struct substitute *s, struct h1_span text,
                                         const char *place);
// Likewise, of percent-encoded text ("path").
enum substitute_result substitute_forbid_encoded(struct substitute *s, struct h1_span text,
                                                 const char *place);
// Appends a field's value with values for placeholders, those within Basic credentials included;
// out is a secret buf.
enum substitute_result substitute_field(struct substitute *s, const struct h1_field *field,
                                        struct buf *out);
// Appends the query (without its '?'); any byte of a placeholder may be percent-encoded, values
// are.
enum substitute_result substitute_query(struct substitute *s, struct h1_span query,
                                        struct buf *out);

// Appends a path, likewise. A value stays within its segment.
enum substitute_result substitute_path(struct substitute *s, struct h1_span path, struct buf *out);

// For the audit: the target's path as it is written, cut to size bytes with the NUL, and "{NAME}"
// in place of each placeholder ("{}" where it is nobody's).
void substitute_show_path(const struct policy *policy, struct h1_span target, char *out,
                          size_t size);

// Looks for placeholders in a body that streams by.
enum {
    SEEN_RANDOM = 16, // characters after the prefix that make a placeholder
    SEEN_CARRY = sizeof POLICY_PLACEHOLDER_PREFIX - 1 + SEEN_RANDOM,
};
struct substitute_seen {
    bool found;
    size_t carried;
    char carry[SEEN_CARRY];
};
enum substitute_sight {
    SUBSTITUTE_UNSEEN, // no placeholder, or not the first
    SUBSTITUTE_SEEN,   // the first: to be told of, once; *ret_secret is its name or NULL
    SUBSTITUTE_BLOCK,  // any: these bytes may not go on, nor what follows
};
enum substitute_sight substitute_watch(struct substitute_seen *s, const struct policy *policy,
                                       const uint8_t *data, size_t size, const char **ret_secret);
