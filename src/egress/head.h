// SPDX-License-Identifier: Apache-2.0
// Message heads on their way through: checked against the destination, and written anew from the
// parsed form, so that no byte goes on which we have not understood. Hop-by-hop fields end here.
#pragma once

#include "egress/redact.h"
#include "egress/refusal.h"
#include "egress/substitute.h"

enum {
    HEAD_MAX = 64 * 1024, // a head as received; stops heads without end
    HEAD_WRITTEN_MAX =
        256 * 1024, // after the swap; stops a head full of placeholders of long values
};

// Is this a request for that destination which may go on? *ret_target is its target in origin form;
// s is zeroed but for its inputs. -1: ret says how to refuse it (for misuse, s->reason is set).
int head_check_request(const struct h1_head *head, const struct destination *to,
                       struct substitute *s, struct h1_span *ret_target, struct refusal *ret);

// Appends the head for upstream to out (a secret buf), values for placeholders. narrowed: the
// response will be redacted, so it must come whole and uncoded. -1: as above.
int head_write_request(const struct h1_head *head, struct h1_span target, bool narrowed,
                       struct substitute *s, struct buf *out, struct refusal *ret);

// How a response's body goes to the client.
enum head_framing { HEAD_NO_BODY, HEAD_LENGTH, HEAD_CHUNKED, HEAD_UNTIL_CLOSE };

// Appends the head for the client, redacted. close: the connection ends after this response.
// -1: out is full.
int head_write_response(const struct h1_head *head, struct redact *redact,
                        enum head_framing framing, bool close, struct buf *out);

// What requests of both versions of HTTP are held to.

// name[.][:port], case ignored; a port is the connection's own.
bool head_is_authority_of(struct h1_span text, const struct destination *to);
// Fills in ret from the misuse that s tells of; always -1.
int head_refuse_misuse(const struct substitute *s, struct refusal *ret);
// A field that would let a response hide a value from the filter.
bool head_defeats_redaction(struct h1_span name);
// Appends a target in origin form, values for the placeholders in its query.
enum substitute_result head_write_target(struct h1_span target, struct substitute *s,
                                         struct buf *out);

// Content-Encoding says that the body is not as it reads.
bool head_is_coded(const struct h1_head *head);
// A request that may become a WebSocket (RFC 6455 4.1).
bool head_wants_websocket(const struct h1_head *head);
