// SPDX-License-Identifier: Apache-2.0
// Takes the content coding off a response that came coded though that was not asked for, so that
// the filter can look at it. Pure: bytes in, spans out.
#pragma once

#include "http/h1.h"

enum {
    // What may come out for each byte that went in, beyond an allowance. Stops bombs (deflate's
    // utmost is 1032); no text or picture comes near it for long.
    DECODE_RATIO_MAX = 100,
    // The allowance: so much may come out beyond the ratio. It grows again by what the ratio leaves
    // unused, to no more than DECODE_AHEAD_MAX: what one block can become at once stays bounded
    // however much came before it.
    DECODE_ALLOWANCE = 1024 * 1024,
    DECODE_AHEAD_MAX = 4 * 1024 * 1024,
};

enum decode_coding {
    DECODE_IDENTITY,
    DECODE_GZIP,    // RFC 1952, any number of members; "x-gzip" is the same
    DECODE_DEFLATE, // RFC 1950, or RFC 1951 as some servers mean it
    DECODE_UNKNOWN,
};

// Of the value of a Content-Encoding field: one coding, case ignored. Several codings are unknown.
enum decode_coding decode_coding_of(struct h1_span value);

struct decode;

struct decode *decode_new(enum decode_coding coding); // GZIP or DEFLATE
void decode_free(struct decode *d);                   // accepts NULL; wipes what it held

// Takes *ret_used bytes and yields at most one span, which is d's until the next call. Call again
// with what is left, and with nothing, until nothing was used and the span is empty. -1: the data
// is broken or grows too much; decode_problem() says which, and d is of no more use.
int decode_feed(struct decode *d, const uint8_t *data, size_t size, size_t *ret_used,
                struct h1_span *ret);
// Whether the data may end here. Nothing at all is an empty body.
bool decode_is_complete(const struct decode *d);
const char *decode_problem(const struct decode *d); // static text
