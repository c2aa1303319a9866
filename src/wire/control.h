// SPDX-License-Identifier: Apache-2.0
// What casemate-launcher hands to the two programs it starts for a sandbox.
//
// casemate-init is executed inside the finished sandbox with these descriptors, and later receives
// data channels over CONTROL_SOCKET: one SEQPACKET datagram of one byte (enum control_type) with
// one descriptor. It sends nothing back there; the launcher reads only the socket's end.
//
// casemate-proxy is executed on the host, as a user of its own, with the worker's descriptors.
#pragma once

enum control_init_fd {
    CONTROL_SOCKET = 3,
    CONTROL_MEMORY_EVENTS = 4, // read-only: cgroup v2 memory.events or v1 memory.oom_control: both
                               // have a line "oom_kill N"
    CONTROL_FETCH = 5,         // sealed memfd: the program casemate-fetch
};

// oom_score_adj of the sandbox's processes (proc(5)). Nobody inside can go below init's
// where the launcher has CAP_SYS_RESOURCE.
enum control_oom_score {
    CONTROL_INIT_OOM_SCORE = 300,
    CONTROL_CHILD_OOM_SCORE = 600, // set by init's children themselves: chosen before init
};

enum control_type {
    CONTROL_NONE,
    CONTROL_CHANNEL, // fd: the guest's end of a data channel (wire/frame.h); replaces an earlier
                     // one
};

enum control_worker_fd {
    CONTROL_WORKER_POLICY = 3, // sealed memfd: policy_encode
    CONTROL_WORKER_ROOTS = 4,  // sealed memfd: PEM certificates to verify upstreams with
    CONTROL_WORKER_TCP = 5,    // listening socket in the sandbox's network namespace, v6 dual-stack
    CONTROL_WORKER_UDP = 6,    // bound datagram socket there, v6 dual-stack, packet info on
    CONTROL_WORKER_EVENTS = 7, // wire/events.h
    CONTROL_WORKER_CAPTURE = 8, // the sk_lookup link
    CONTROL_WORKER_CA = 9,    // memfd: empty for the first worker, which seals its authority in it
    CONTROL_WORKER_SENT = 10, // memfd of one uint64_t: bytes that the sandbox's workers have sent
};
