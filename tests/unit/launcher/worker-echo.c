// SPDX-License-Identifier: Apache-2.0
// Stands in for casemate-proxy in the launcher's tests: tells every TCP client where it wanted to
// go, and answers every datagram with its own bytes from the address it was sent to.
#include "wire/control.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT_MAX = 128, DATAGRAM_MAX = 1500 };

static void
answer_stream(void)
{
    struct sockaddr_in6 local;
    socklen_t size = sizeof local;
    char address[INET6_ADDRSTRLEN];
    char text[TEXT_MAX];
    int client = accept(CONTROL_WORKER_TCP, NULL, NULL);
    if (client < 0 || getsockname(client, (struct sockaddr *)&local, &size) < 0)
        return;
    (void)inet_ntop(AF_INET6, &local.sin6_addr, address, sizeof address);
    int n = snprintf(text, sizeof text, "worker [%s]:%u\n", address, ntohs(local.sin6_port));
    (void)!write(client, text, (size_t)n);
    (void)shutdown(client, SHUT_WR);
    (void)close(client);
}

static void
answer_datagram(void)
{
    union {
        struct cmsghdr align;
        char bytes[256];
    } control;
    char data[DATAGRAM_MAX];
    struct sockaddr_in6 from;
    struct iovec iov = {.iov_base = data, .iov_len = sizeof data};
    struct msghdr msg = {.msg_name = &from,
                         .msg_namelen = sizeof from,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(CONTROL_WORKER_UDP, &msg, 0);
    if (n < 0)
        return;
    struct in6_pktinfo info = {0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
            memcpy(&info, CMSG_DATA(c), sizeof info);
    }
    info.ipi6_ifindex = 0;
    iov.iov_len = (size_t)n;
    msg.msg_controllen = CMSG_SPACE(sizeof info);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    if (sendmsg(CONTROL_WORKER_UDP, &msg, 0) < 0)
        perror("worker-echo: sendmsg");
}

int
main(void)
{
    struct pollfd p[] = {{.fd = CONTROL_WORKER_TCP, .events = POLLIN},
                         {.fd = CONTROL_WORKER_UDP, .events = POLLIN}};
    while (poll(p, 2, -1) > 0) {
        if (p[0].revents != 0)
            answer_stream();
        if (p[1].revents != 0)
            answer_datagram();
    }
    return 0;
}
