// SPDX-License-Identifier: Apache-2.0
// Heads of HTTP/2 on their way through: a list of fields in, a checked and swapped or redacted list
// out. Pure; nghttp2 has refused what is no HTTP at all (RFC 9113 8.2, 8.3) before.
#pragma once

#include "egress/head.h"

#include <nghttp2/nghttp2.h>

enum {
    H2_FIELDS_MAX = H1_FIELDS_MAX + 8, // with pseudo-header fields, and what we add
    H2_FIELD_OVERHEAD = 32,            // of each in a list's size (RFC 9113 6.5.2)
};

// Fields in their order. The bytes are wiped when they go.
struct h2_fields {
    struct buf bytes;
    size_t count;
    size_t size; // as RFC 9113 6.5.2 counts it
    struct {
        uint32_t name_at; // into bytes
        uint32_t name_size;
        uint32_t value_at;
        uint32_t value_size;
        bool sensitive; // never indexed (RFC 7541 7.1.3)
    } items[H2_FIELDS_MAX];
};

void h2_fields_init(struct h2_fields *f, size_t cap);
void h2_fields_clear(struct h2_fields *f); // wiped, and as after init
// -1 when there are too many or too large ones.
int h2_fields_add(struct h2_fields *f, const void *name, size_t name_size, const void *value,
                  size_t value_size, bool sensitive);
// Valid until the next call that changes f.
struct h1_field h2_fields_at(const struct h2_fields *f, size_t i);
// For nghttp2, which copies them. ret has room for H2_FIELDS_MAX.
size_t h2_fields_list(const struct h2_fields *f, nghttp2_nv *ret);
#define cleanup_fields __attribute__((cleanup(h2_fields_clear)))

enum h2_verdict {
    H2_PASS,
    H2_REFUSE, // with an answer of ours
    H2_RESET,  // a stream error: what no client sends by mistake
};

// Of a request that was taken apart; spans point into the list.
struct h2_request {
    struct h1_span method;
    struct h1_span target;
    struct h1_span authority;
};

// Is it a request for that destination which may go on? Then out gets it with values for
// placeholders. narrowed: the response will be redacted. s is zeroed but for its inputs. For
// H2_REFUSE ret says how; *ret_request is filled in as far as it was read.
enum h2_verdict h2_head_pass_request(const struct h2_fields *in, const struct destination *to,
                                     bool narrowed, struct substitute *s, struct h2_fields *out,
                                     struct h2_request *ret_request, struct refusal *ret);
// The trailer section of a request: no placeholder may stand in it.
enum h2_verdict h2_head_pass_trailers(const struct h2_fields *in, struct substitute *s,
                                      struct h2_fields *out, struct refusal *ret);

// :status, or -1.
int h2_head_status(const struct h2_fields *in);
// Its Content-Type does (head.h).
bool h2_head_hides_text(const struct h2_fields *in);
// What the response's body is coded with; several fields or codings are unknown.
enum decode_coding h2_head_coding(const struct h2_fields *in);

// How a body goes on.
enum h2_body {
    H2_BODY_KEPT,    // in its length
    H2_BODY_RESIZED, // it may change its length
    H2_BODY_DECODED, // likewise, and goes without its content coding
};
// A response's head or trailer section, redacted. -1: out is full.
int h2_head_pass_response(const struct h2_fields *in, struct redact *redact, enum h2_body body,
                          struct h2_fields *out);
