// SPDX-License-Identifier: Apache-2.0
// What an egress worker tells casemated, over a SEQPACKET socket of its own: one event a datagram,
// u8 type, then the payload. The worker is exposed to its sandbox, so casemated believes none of it
// about any other sandbox and checks each text.
#pragma once

enum {
    EVENT_MAX = 64 * 1024, // type and payload
    EVENT_CA_MAX =
        56 * 1024,          // PEM of the sandbox's egress CA, with POLICY_AUTHORITY_SIZE_MAX names
    EVENT_AUDIT_MAX = 4096, // one audit event
    EVENT_LINES_MAX = 128,  // audit events in one datagram: bounds what casemated adds to them
};

enum event_type {
    EVENT_NONE,
    EVENT_READY, // payload: PEM of the CA certificate; the listeners are served from now on
    // Payload: JSON objects, a newline between each two, members in no order, without the sandbox's
    // id.
    EVENT_AUDIT,
    EVENT_TYPE_MAX
};
