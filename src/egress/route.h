// SPDX-License-Identifier: Apache-2.0
// What the kernel would do with a packet to an address, asked over rtnetlink(7). A socket opened
// before the process is hardened serves afterwards.
#pragma once

#include "base/error.h"

#include <netinet/in.h>
#include <stdbool.h>

// Returns the socket, the caller's, or -1.
int route_open(struct error *err);

// True if packets to addr (IPv4 in mapped form) leave this host: not if it is one of the host's own
// addresses, a broadcast or multicast address, or has no route. Sends nothing to it.
bool route_leaves_host(int fd, const struct in6_addr *addr);
