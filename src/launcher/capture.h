// SPDX-License-Identifier: Apache-2.0
// Capture: a BPF program of type sk_lookup (kernel documentation, bpf/prog_sk_lookup) in the
// sandbox's network namespace, which picks the socket for every new TCP connection and every
// datagram to port 53, unless its destination is a loopback address: those stay the sandbox's own.
#pragma once

#include "base/error.h"
#include "launcher/network.h"

// Attaches it; returns the link, whose last descriptor's end ends the capture, or -1.
int capture_attach(int netns_fd, const struct network_sockets *sockets, struct error *err);
