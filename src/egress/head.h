// SPDX-License-Identifier: Apache-2.0
// Message heads on their way through: checked against the destination, and written anew from the
// parsed form, so that no byte goes on which we have not understood. Hop-by-hop fields end here.
#pragma once

#include "egress/refusal.h"
#include "mask/decode.h"
#include "mask/redact.h"
#include "mask/substitute.h"

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

// Appends the trailer fields of a request, but for those that have no place there (RFC 9110 6.5.1).
// Nothing is swapped there: a placeholder is misuse. -1: as above.
int head_write_request_trailers(const struct buf *trailers, struct substitute *s, struct buf *out,
                                struct refusal *ret);

// How a response's body goes to the client.
enum head_framing { HEAD_NO_BODY, HEAD_LENGTH, HEAD_CHUNKED, HEAD_UNTIL_CLOSE };

// Appends the head for the client, redacted. decoded: the body goes without its content coding.
// close: the connection ends after this response. -1: out is full.
int head_write_response(const struct h1_head *head, struct redact *redact,
                        enum head_framing framing, bool decoded, bool close, struct buf *out);
// Appends the trailer fields of a response, redacted, but for those that have no place there (RFC
// 9110 6.5.1). -1: out is full.
int head_write_trailers(const struct buf *trailers, struct redact *redact, struct buf *out);
// What the response's body is coded with; several fields or codings are unknown.
enum decode_coding head_coding(const struct h1_head *head);
// Whether a Content-Type names a character set in which ASCII is not as it is: a value in it would
// not be found.
bool head_hides_text(struct h1_span content_type);
// A digest of the body as the host sent it (Content-MD5, RFC 3230, RFC 9530). A filter that may
// change the body makes it wrong, and with it who guesses a short value could check his guesses.
bool head_is_digest(struct h1_span name);

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

// A request that may become a WebSocket (RFC 6455 4.1).
bool head_wants_websocket(const struct h1_head *head);
