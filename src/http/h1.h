// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 message heads and bodies (RFC 9110, RFC 9112), strict and sans I/O: bytes in, spans out.
// Framing is policy in a proxy, so whatever two parsers could read differently is refused: bare LF
// or CR, line folding, white space before a colon, Content-Length beside Transfer-Encoding,
// repeated or odd Content-Length, any transfer coding but a single "chunked", control bytes, empty
// or repeated Host.
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum {
    H1_FIELDS_MAX = 100,     // field lines in a head or a trailer section
    H1_CHUNK_LINE_MAX = 256, // stops a chunk's size line that never ends
    H1_TRAILER_MAX = 16384,  // trailer section and all chunk extensions of one body together
};

enum h1_status { H1_OK, H1_MORE, H1_BAD };

struct h1_span {
    const char *data;
    size_t size;
};

struct h1_field {
    struct h1_span name;  // as it stands: case is kept
    struct h1_span value; // without surrounding white space
};

enum h1_framing { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_UNTIL_CLOSE };

// All spans point into the caller's bytes.
struct h1_head {
    struct h1_span method; // requests
    struct h1_span target;
    int status; // responses
    struct h1_span reason;
    int minor_version; // 0 or 1
    struct h1_field fields[H1_FIELDS_MAX];
    size_t field_count;
    enum h1_framing framing;
    uint64_t content_length; // with H1_BODY_LENGTH
    bool keep_alive;
    bool has_connection;  // there is a Connection field
    bool expect_continue; // request with "Expect: 100-continue"
    bool upgrade;         // Connection names "upgrade" and there is an Upgrade field
};

struct h1_problem {
    int status;         // to answer a bad request with: 400, 413, 414, 431, 501, 505
    const char *reason; // static text
};

// Parses a whole head from data. MORE: no end of head yet within size bytes (the caller bounds
// size: when size reaches its own limit, it answers 431). OK: *ret_size is the head's length with
// its blank line. BAD: *problem says why. One or two empty lines before a request line are skipped
// (RFC 9112 2.2).
enum h1_status h1_parse_request(const uint8_t *data, size_t size, struct h1_head *ret,
                                size_t *ret_size, struct h1_problem *problem);
// request_method decides with the status whether a body follows (RFC 9112 6.3): HEAD, CONNECT.
enum h1_status h1_parse_response(const uint8_t *data, size_t size, struct h1_span request_method,
                                 struct h1_head *ret, size_t *ret_size, struct h1_problem *problem);

// The first field so named (names compare without case), or NULL if absent; *ret_count (may be
// NULL) tells how many there are: whoever acts on a value that must be single checks it.
const struct h1_field *h1_find(const struct h1_head *head, const char *name, size_t *ret_count);

// Inline, for the size of a literal is then known: most names differ in it.
static inline bool
h1_span_is(struct h1_span span, const char *text) // byte for byte
{
    size_t size = strlen(text);
    return span.size == size && memcmp(span.data, text, size) == 0;
}

static inline bool
h1_span_is_nocase(struct h1_span span, const char *text) // ASCII case ignored
{
    size_t size = strlen(text);
    return span.size == size && strncasecmp(span.data, text, size) == 0;
}

bool h1_list_has(const struct h1_head *head, const char *name, const char *token); // #token lists

// Takes a body apart. Feed bytes; each call yields at most one span of content.
struct h1_body {
    enum h1_framing framing;
    uint64_t left; // of the length, or of the present chunk
    // To be set after h1_body_init by who wants them: gets the lines of the trailer section, each
    // with its CRLF, complete when the body is (for h1_next_trailer). Its cap should be
    // H1_TRAILER_MAX; with a smaller one a body may be BAD.
    struct buf *trailers;
    // Private.
    uint8_t state;
    size_t line_size;
    size_t digits;
    size_t trailer_size;
    size_t trailer_fields;
};

void h1_body_init(struct h1_body *b, const struct h1_head *head);
// *ret_used: bytes taken from data; *ret_content points into data (size 0: none this time).
// OK: the body is complete (for H1_BODY_UNTIL_CLOSE never: the connection's end is its end).
// MORE: feed what follows. BAD: framing broken. Trailer fields are checked, and kept in trailers or
// dropped.
enum h1_status h1_body_feed(struct h1_body *b, const uint8_t *data, size_t size, size_t *ret_used,
                            struct h1_span *ret_content);
// Whether more content was announced than has come yet.
bool h1_body_is_within(const struct h1_body *b);
// Takes the trailer section of a complete body apart, from *at on (at first 0). False: no more.
bool h1_next_trailer(const struct buf *trailers, size_t *at, struct h1_field *ret);
