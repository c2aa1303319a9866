// SPDX-License-Identifier: Apache-2.0
// The network of a sandbox: a namespace with no device but lo, to which every address is local
// (rtnetlink(7)), and the two sockets in it that its egress worker serves.
//
// Both sockets are bound to the dummy address (RFC 7600), not to the wildcard: the capture program
// (capture.h) hands them every connection to a foreign address, while none to a loopback address,
// whatever its port, finds them. UDP other than port 53 meets no socket and is refused by the
// kernel at once.
#pragma once

#include "base/error.h"

enum { NETWORK_TCP_PORT = 1, NETWORK_DNS_PORT = 53 };

struct network_sockets {
    int tcp; // listening, v6 dual-stack
    int udp; // port 53, v6 dual-stack, packet info on, may answer from any address
};

// Builds it in the namespace netns_fd; the caller is back in its own when this returns.
int network_build(int netns_fd, struct network_sockets *ret, struct error *err);
