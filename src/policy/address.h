// SPDX-License-Identifier: Apache-2.0
// Which addresses a sandbox may ever be connected to. Addresses are 16 bytes, IPv4 in its mapped
// form
// (::ffff:a.b.c.d), so that there is one comparison and no second spelling.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum address_class {
    ADDRESS_PUBLIC,
    ADDRESS_UNSPECIFIED, // 0.0.0.0/8, ::
    ADDRESS_LOOPBACK,
    ADDRESS_PRIVATE, // RFC 1918, unique local
    ADDRESS_SHARED,  // carrier-grade NAT, RFC 6598
    ADDRESS_LINK_LOCAL,
    ADDRESS_METADATA,  // of clouds, where it is not link-local
    ADDRESS_SYNTHETIC, // 198.18.0.0/15: the resolver's answers
    ADDRESS_MULTICAST,
    ADDRESS_RESERVED, // everything else that is not global unicast, and tunnels to anywhere
    ADDRESS_CLASS_MAX
};

// "private address", for people and the audit.
const char *address_class_text(enum address_class class);

// Of IPv6 forms that carry an IPv4 address (NAT64, 6to4), the class of that address.
enum address_class address_classify(const struct in6_addr *a);

bool address_is_v4(const struct in6_addr *a);
// False for other families.
bool address_from_sockaddr(const struct sockaddr *sa, struct in6_addr *ret, in_port_t *ret_port);
// Fills an AF_INET or AF_INET6 address; the port in host order.
void address_to_sockaddr(const struct in6_addr *a, in_port_t port, struct sockaddr_storage *ret);
struct in6_addr address_map_v4(struct in_addr v4);

// Text without brackets, IPv4 dotted.
enum { ADDRESS_TEXT_MAX = INET6_ADDRSTRLEN };
void address_format(const struct in6_addr *a, char out[ADDRESS_TEXT_MAX]);
// Strict: four decimal numbers, or RFC 4291 text; no zone, no brackets. size bytes, no NUL needed.
bool address_parse(const char *text, size_t size, struct in6_addr *ret);
// Whether the first bits (0 to 128) of both are the same.
bool address_in_prefix(const struct in6_addr *a, const struct in6_addr *prefix, unsigned bits);
