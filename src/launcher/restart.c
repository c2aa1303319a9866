// SPDX-License-Identifier: Apache-2.0
#include "launcher/restart.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

void
restart_init(struct restart *r)
{
    *r = (struct restart){
        .policy_fd = -1,
        .roots_fd = -1,
        .ca_fd = -1,
        .sent_fd = -1,
        .capture_fd = -1,
        .sockets = {.tcp = -1, .udp = -1},
    };
}

void
restart_done(struct restart *r)
{
    const int kept[] = {r->policy_fd,  r->roots_fd,    r->ca_fd,      r->sent_fd,
                        r->capture_fd, r->sockets.tcp, r->sockets.udp};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (kept[i] >= 0)
            (void)close(kept[i]);
    restart_init(r);
}

// Of a size that no worker can change.
static int
new_counter(void)
{
    cleanup_fd int fd = memfd_create("casemate-sent", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof(uint64_t)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return -1;
    return TAKE_FD(fd);
}

int
restart_keep(struct restart *r, int policy_fd, int roots_fd, struct error *err)
{
    r->policy_fd = fcntl(policy_fd, F_DUPFD_CLOEXEC, 0);
    r->roots_fd = fcntl(roots_fd, F_DUPFD_CLOEXEC, 0);
    r->ca_fd = memfd_create("casemate-ca", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    r->sent_fd = new_counter();
    if (r->policy_fd < 0 || r->roots_fd < 0 || r->ca_fd < 0 || r->sent_fd < 0)
        return error_set_errno(err, errno, "keep what the next worker needs");
    return 0;
}

bool
restart_grant(struct restart *r, int64_t now_ms)
{
    if (r->since_ms == 0 || now_ms - r->since_ms > RESTARTS_MS) {
        r->since_ms = now_ms;
        r->count = 0;
    }
    if (r->count == RESTARTS_MAX)
        return false;
    r->at_ms = now_ms + (r->count > 0 ? RESTART_PAUSE_MS << (r->count - 1) : 0);
    r->count++;
    return true;
}

struct worker_plan
restart_plan(const struct restart *r, const struct workshop *shop, int events_fd)
{
    return (struct worker_plan){
        .shop = shop,
        .launcher = getpid(),
        .policy_fd = r->policy_fd,
        .roots_fd = r->roots_fd,
        .events_fd = events_fd,
        .capture_fd = r->capture_fd,
        .ca_fd = r->ca_fd,
        .sent_fd = r->sent_fd,
        .sockets = r->sockets,
    };
}
