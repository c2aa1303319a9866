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
// Content-Encoding says that the body is not as it reads.
bool head_is_coded(const struct h1_head *head);
// A request that may become a WebSocket (RFC 6455 4.1).
bool head_wants_websocket(const struct h1_head *head);
