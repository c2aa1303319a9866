// SPDX-License-Identifier: Apache-2.0
#include "launcher/network.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

enum {
    LO_INDEX = 1,      // of lo, in every namespace
    TCP_BACKLOG = 512, // connections of one sandbox that its worker has not taken yet
    REPLY_MAX = 4096,
};

// ::ffff:192.0.0.8, the IPv4 dummy address. Mapped, since a socket bound to any other IPv6 address
// takes IPv6 alone.
static const struct in6_addr worker_address = {
    .s6_addr = {[10] = 0xff, 0xff, 192, 0, 0, 8},
};

union request {
    struct nlmsghdr head;
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } link;
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr device;
        uint32_t index;
    } route;
};

// Sends one request and waits for its acknowledgement.
static int
transact(int sock, const struct nlmsghdr *request)
{
    union {
        struct nlmsghdr head;
        char bytes[REPLY_MAX];
    } reply;
    if (send(sock, request, request->nlmsg_len, 0) < 0)
        return -errno;
    ssize_t n = recv(sock, &reply, sizeof reply, 0);
    if (n < 0)
        return -errno;
    if ((size_t)n < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || reply.head.nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    const struct nlmsgerr *ack = NLMSG_DATA(&reply.head);
    return ack->error;
}

static int
set_lo_up(int sock)
{
    union request r = {
        .link = {
            .head = {.nlmsg_len = sizeof r.link,
                     .nlmsg_type = RTM_NEWLINK,
                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
            .link = {.ifi_index = LO_INDEX, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
        }};
    return transact(sock, &r.head);
}

// "local default dev lo": the kernel delivers every destination here.
static int
add_local_default(int sock, int family)
{
    union request r = {
        .route = {
            .head = {.nlmsg_len = sizeof r.route,
                     .nlmsg_type = RTM_NEWROUTE,
                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
            .route = {.rtm_family = (unsigned char)family,
                      .rtm_table = RT_TABLE_LOCAL,
                      .rtm_protocol = RTPROT_STATIC,
                      .rtm_scope = RT_SCOPE_HOST,
                      .rtm_type = RTN_LOCAL},
            .device = {.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_OIF},
            .index = LO_INDEX,
        }};
    return transact(sock, &r.head);
}

static int
make_routes(struct error *err)
{
    cleanup_fd int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (sock < 0)
        return error_set_errno(err, errno, "open a netlink socket");
    int r = set_lo_up(sock);
    if (r < 0)
        return error_set_errno(err, -r, "set lo up");
    r = add_local_default(sock, AF_INET);
    if (r < 0)
        return error_set_errno(err, -r, "route every IPv4 address to lo");
    r = add_local_default(sock, AF_INET6);
    return r < 0 ? error_set_errno(err, -r, "route every IPv6 address to lo") : 0;
}

static int
set_option(int sock, int level, int name, int value)
{
    return setsockopt(sock, level, name, &value, sizeof value);
}

static int
bound_socket(int type, uint16_t port, struct error *err)
{
    cleanup_fd int sock = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return error_set_errno(err, errno, "open the worker's socket");
    // IPV6_FREEBIND: the addresses that are bound to and answered from are no device's.
    if (set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY, 0) < 0 ||
        set_option(sock, IPPROTO_IPV6, IPV6_FREEBIND, 1) < 0 ||
        set_option(sock, IPPROTO_IP, IP_FREEBIND, 1) < 0)
        return error_set_errno(err, errno, "set up the worker's socket");
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = worker_address};
    if (bind(sock, (const struct sockaddr *)&address, sizeof address) < 0)
        return error_set_errno(err, errno, "bind the worker's socket to port %u", port);
    return TAKE_FD(sock);
}

static int
make_sockets(struct network_sockets *ret, struct error *err)
{
    cleanup_fd int tcp = bound_socket(SOCK_STREAM, NETWORK_TCP_PORT, err);
    if (tcp < 0)
        return -1;
    if (listen(tcp, TCP_BACKLOG) < 0)
        return error_set_errno(err, errno, "listen for the worker");
    cleanup_fd int udp = bound_socket(SOCK_DGRAM, NETWORK_DNS_PORT, err);
    if (udp < 0)
        return -1;
    if (set_option(udp, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) < 0 ||
        set_option(udp, IPPROTO_IP, IP_PKTINFO, 1) < 0)
        return error_set_errno(err, errno, "ask for packet info");
    ret->tcp = TAKE_FD(tcp);
    ret->udp = TAKE_FD(udp);
    return 0;
}

int
network_build(int netns_fd, struct network_sockets *ret, struct error *err)
{
    cleanup_fd int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return error_set_errno(err, errno, "open the own network namespace");
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return error_set_errno(err, errno, "enter the sandbox's network namespace");
    struct network_sockets sockets = {-1, -1};
    int r = make_routes(err);
    if (r == 0)
        r = make_sockets(&sockets, err);
    if (setns(own, CLONE_NEWNET) < 0) {
        r = error_set_errno(err, errno, "leave the sandbox's network namespace");
        if (sockets.tcp >= 0)
            (void)close(sockets.tcp);
        if (sockets.udp >= 0)
            (void)close(sockets.udp);
    }
    if (r == 0)
        *ret = sockets;
    return r;
}
