// SPDX-License-Identifier: Apache-2.0
// Takes the values of a host's secrets out of what the host answers, and puts the placeholders
// there, also where they are encoded or part of base64 (as in credentials that are echoed). Whole
// values only: to replace parts would tell which parts are right.
#pragma once

#include "http/h1.h"
#include "mask/patterns.h"

struct redact;

// policy and patterns, which are of it, must outlive the filter.
struct redact *redact_new(const struct policy *policy, struct patterns *patterns, const char *host,
                          size_t host_size);
void redact_free(struct redact *r); // accepts NULL

bool redact_is_active(const struct redact *r);    // there is something to look for
bool redact_keeps_length(const struct redact *r); // what comes out is as long as what went in
// From now on it does, at the price of placeholders that are cut short.
void redact_keep_length(struct redact *r);
uint64_t redact_count(const struct redact *r); // replaced so far
// How often this secret was replaced since it was last asked, for the audit.
uint64_t redact_take_count(struct redact *r, size_t secret);

// A new message begins: what was held or remembered of the last one is forgotten.
void redact_reset(struct redact *r);
// The bytes that may go on: they point into data or into r, until the next call. final: no more
// bytes will come, nothing stays held. -1: more came out than is reasonable.
int redact_feed(struct redact *r, const uint8_t *data, size_t size, bool final,
                struct h1_span *ret);
// Whether more bytes surely follow those that will be fed, as within a chunk or a body of known
// length: then as much as could be a value's beginning is held, whatever it is. At first: no.
void redact_expect_more(struct redact *r, bool more);
bool redact_holds(const struct redact *r); // bytes that are not out yet
// What was held of earlier bytes and is no part of a value, now that these are there; to go on
// before what redact_feed makes of them. Need not be asked: it saves copies of large blocks.
struct h1_span redact_release(struct redact *r, const uint8_t *data, size_t size);
// Appends a text that is whole in itself. Forgets, as redact_reset does.
int redact_text(struct redact *r, struct h1_span text, struct buf *out);
