// SPDX-License-Identifier: Apache-2.0
// Only the type of the route tells that an address is the host's own. The source address that the
// kernel would choose does not: to a second address of an interface it talks from the first one.
#include "egress/route.h"

#include "policy/address.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct question {
    struct nlmsghdr header;
    struct rtmsg route;
    struct rtattr attribute;
    uint8_t address[sizeof(struct in6_addr)];
};

int
route_open(struct error *err)
{
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&kernel, sizeof kernel) == 0)
        return fd;
    (void)error_set_errno(err, errno, "cannot open a netlink socket");
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static struct question
make_question(const struct in6_addr *addr, uint32_t number)
{
    bool v4 = address_is_v4(addr);
    size_t size = v4 ? sizeof(struct in_addr) : sizeof *addr;
    struct question q = {
        .header = {.nlmsg_len = (uint32_t)(offsetof(struct question, address) + size),
                   .nlmsg_type = RTM_GETROUTE,
                   .nlmsg_flags = NLM_F_REQUEST,
                   .nlmsg_seq = number},
        .route = {.rtm_family = v4 ? AF_INET : AF_INET6, .rtm_dst_len = (uint8_t)(size * 8)},
        .attribute = {.rta_len = (unsigned short)RTA_LENGTH(size), .rta_type = RTA_DST},
    };
    memcpy(q.address, addr->s6_addr + sizeof *addr - size, size);
    return q;
}

bool
route_leaves_host(int fd, const struct in6_addr *addr)
{
    static uint32_t number;
    struct question q = make_question(addr, ++number);
    union {
        struct nlmsghdr header;
        uint8_t bytes[4096];
    } answer;
    if (send(fd, &q, q.header.nlmsg_len, 0) < 0)
        return false;
    for (;;) {
        // The kernel has answered when send returns, so this never waits; an answer that did not
        // fit the socket is none.
        ssize_t n = recv(fd, &answer, sizeof answer, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct rtmsg)))
            return false;
        if (answer.header.nlmsg_seq != number)
            continue;
        struct rtmsg route;
        memcpy(&route, NLMSG_DATA(&answer.header), sizeof route);
        return answer.header.nlmsg_type == RTM_NEWROUTE && route.rtm_type == RTN_UNICAST;
    }
}
