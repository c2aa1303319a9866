// SPDX-License-Identifier: Apache-2.0
// What casemate-init and casemate-fetch, the program that it starts for each call of fetch, say to
// each other over the program's standard input and output. Both ends run in the sandbox; init
// treats what comes as any guest's. Integers and strings as in wire/pack.h.
//
// Input: a 32-bit size, then so many bytes:
//   str method, str url, u8 flags, u8 redirect, u32 pid (0: none), u16 count, count times (str
//   name, str value); then the body's bytes up to the end of the file.
// Output: frames of u8 kind, u32 size, payload.
#pragma once

enum {
    // A client's headers and URL: stops one call from growing init and its helper.
    FETCH_REQUEST_MAX = 256 * 1024,
    FETCH_HEADERS_MAX = 1000,
    // A response's status line and headers. The result that they become has to fit one frame to the
    // daemon (FRAME_PAYLOAD_MAX), so an upstream host with more gets no further than the helper.
    FETCH_HEAD_MAX = 48 * 1024,
    FETCH_MESSAGE_MAX = 2048, // of a failure
    FETCH_CHUNK_MAX = 48 * 1024,
    FETCH_FRAME_HEADER = 5,
};

enum fetch_flag {
    FETCH_HAS_BODY = 1 << 0,
};

enum fetch_redirect { FETCH_FOLLOW, FETCH_MANUAL, FETCH_ERROR, FETCH_REDIRECT_MAX };

enum fetch_kind {
    FETCH_HELLO, // the program runs; the first frame
    FETCH_HEAD, // u16 status, str reason, u16 count, count times (str name, str value), u8 has_body
    FETCH_DATA, // 1 to FETCH_CHUNK_MAX bytes of the body
    FETCH_END,  // of the body: the last frame
    FETCH_FAIL, // a message for people, before the head or behind a part of the body: the last
                // frame
    FETCH_KIND_MAX
};
