// SPDX-License-Identifier: Apache-2.0
// Frames between casemated and casemate-init over one stream socket a sandbox: typed, bounded, and
// multiplexed over channels, one for each client connection.
//
// The guest is hostile. It knows channels, calls and its own streams only by small numbers;
// casemated alone maps them to what stands on the client's wire, and writes every envelope itself.
//
// Layout, little-endian:  u32 payload size | u8 kind | u8 flags | u16 zero | u32 channel | u64
// number
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    FRAME_HEADER_SIZE = 20,
    FRAME_PAYLOAD_MAX = 65536,
    // Raw bytes of a stream chunk whose base64 fills one frame.
    FRAME_CHUNK_MAX = FRAME_PAYLOAD_MAX / 4 * 3,
    // A client message, whole (protocol: one writeFile is one message).
    FRAME_MESSAGE_MAX = 128 * 1024 * 1024,
    // What a guest may send on a fresh channel before it is given more; each frame costs its
    // payload and its header.
    FRAME_CREDIT_INITIAL = 1024 * 1024,
    // Streams that one result may announce.
    FRAME_RESULT_STREAMS_MAX = 4,
    FRAME_PROTOCOL_VERSION = 3,
};

enum frame_kind {
    FRAME_NONE,

    // casemated to guest, channel 0: set-up, before the first FRAME_OPEN.
    FRAME_ENV,   // pack: str name, str value: into the sandbox's environment
    FRAME_TRUST, // number 0: the whole bundle of roots, 1: the egress CA alone; PEM; MORE but the
                 // last
    FRAME_SETUP_DONE, // nothing: open for business

    // casemated to guest, on a channel.
    FRAME_OPEN,    // pack: u8 enum client_family, u8 primary, u64 most bytes of a message to the
                   // client
    FRAME_CLOSE,   // the client is gone: drop its streams, handles and pending calls
    FRAME_MESSAGE, // number: call. Text of a client's JSON-RPC message, MORE but the last, which
                   // has exactly one of CALL (a request: answer with number), NOTE, DROP (forget
                   // it)
    FRAME_CREDIT,  // number: bytes the guest may send in addition
    FRAME_CANCEL,  // number: guest's stream: the client cancelled it, stop producing
    FRAME_BARRIER_DONE, // number: as in FRAME_BARRIER

    // casemated to guest, channel 0, at any time after set-up.
    FRAME_DENIAL, // text: one audit event of the sandbox's own, of something that was refused
    FRAME_COUNTS, // text: one JSON object, of what became of each secret's placeholders so far

    // guest to casemated.
    FRAME_HELLO,  // channel 0, once, first. pack: u32 FRAME_PROTOCOL_VERSION
    FRAME_RESULT, // number: call. First frame: u8 count of streams, u32 number of each (0: null),
                  // then JSON text; MORE but the last; one of OK, ERROR, FAILURE on the first. With
                  // streams: one frame only, text is an object. No other frame of the channel in
                  // between.
    FRAME_STREAM_START,  // number: a stream that a result announced
    FRAME_STREAM_DATA,   // number: stream; text: base64, padded, not empty
    FRAME_STREAM_END,    // number: stream
    FRAME_STREAM_ERROR,  // number: stream; text: one JSON value, an error object
    FRAME_STREAM_REFUSE, // number: a client's stream id that the client started; text: JSON value
    FRAME_RESTARTED,     // number: a watcher that a result announced: what it watches began anew
    FRAME_BARRIER,       // number: guest's choice: answer when the client has read all before it
    FRAME_KIND_MAX
};

enum frame_flags {
    FRAME_MORE = 1 << 0,
    FRAME_IS_CALL = 1 << 1, // of FRAME_MESSAGE
    FRAME_IS_NOTE = 1 << 2,
    FRAME_IS_DROP = 1 << 3,
    FRAME_IS_OK = 1 << 4,      // of FRAME_RESULT: {"result":{"ok":…}}
    FRAME_IS_ERROR = 1 << 5,   // {"result":{"error":…}}
    FRAME_IS_FAILURE = 1 << 6, // {"error":{"code":…,"message":…}}
};

enum client_family { CLIENT_OTHER, CLIENT_JAVASCRIPT, CLIENT_PYTHON, CLIENT_FAMILY_MAX };

struct frame {
    enum frame_kind kind;
    uint8_t flags;
    uint32_t channel;
    uint64_t number;
    const uint8_t *payload; // into the decoder's buffer, until the next call
    size_t size;
};

const char *frame_kind_name(enum frame_kind kind);

// Appends a frame to out. 0, or -1 when the payload is too long or out's cap would be passed.
int frame_encode(struct buf *out, const struct frame *f);

enum frame_status { FRAME_STATUS_OK, FRAME_STATUS_MORE, FRAME_STATUS_BAD };

// Reads one frame from the head of in. OK: *ret is set and *ret_size tells how many bytes to
// consume once the frame is done with. MORE: not whole yet. BAD: no frame can start so (kind,
// flags, size or reserved bits out of range); nothing after it may be trusted.
enum frame_status frame_decode(const struct buf *in, struct frame *ret, size_t *ret_size);
