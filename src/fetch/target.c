// SPDX-License-Identifier: Apache-2.0
#include "fetch/target.h"

#include "base/listener.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 20 };

static void
write_address(const struct listener *l, char ret[TARGET_SIZE])
{
    static const uint32_t any[4];
    char text[INET6_ADDRSTRLEN] = "";
    // A socket of all addresses is asked at the loopback's; an IPv6 one may not take IPv4.
    if (memcmp(l->address, any, l->v6 ? 16 : 4) == 0)
        (void)snprintf(text, sizeof text, "%s", l->v6 ? "::1" : "127.0.0.1");
    else
        (void)inet_ntop(l->v6 ? AF_INET6 : AF_INET, l->address, text, sizeof text);
    (void)snprintf(ret, TARGET_SIZE, l->v6 ? "[%s]:%u" : "%s:%u", text, l->port);
}

int
target_find(uint32_t pid, char ret[TARGET_SIZE])
{
    struct listener l;
    char folder[64];
    (void)snprintf(folder, sizeof folder, "/proc/%" PRIu32, pid);
    for (int i = 0; i < TARGET_PATIENCE_MS / POLL_MS && access(folder, F_OK) == 0; i++) {
        const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
        if (listener_find(pid, &l)) {
            write_address(&l, ret);
            return 0;
        }
        (void)nanosleep(&pause, NULL);
    }
    return -1;
}
