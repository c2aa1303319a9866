// SPDX-License-Identifier: Apache-2.0
#include "launcher/permit.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const char *const state_names[] = {
    [SANDBOX_ABSENT] = "absent",   [SANDBOX_BUILDING] = "building", [SANDBOX_RUNNING] = "running",
    [SANDBOX_KILLING] = "killing", [SANDBOX_CLEANING] = "cleaning",
};
static_assert(ARRAY_SIZE(state_names) == SANDBOX_STATE_MAX, "a name for each state");

const char *
sandbox_state_name(enum sandbox_state state)
{
    return state < SANDBOX_STATE_MAX ? state_names[state] : "unknown";
}

enum {
    IN_ABSENT = 1 << SANDBOX_ABSENT,
    IN_BUILDING = 1 << SANDBOX_BUILDING,
    IN_RUNNING = 1 << SANDBOX_RUNNING,
    IN_ENDING = 1 << SANDBOX_KILLING | 1 << SANDBOX_CLEANING,
};

// A sandbox may end while a request for it is under way: such a request is permitted, and ignored.
static const struct permit {
    unsigned states;
    size_t fd_count;
} permits[LAUNCH_TYPE_MAX] = {
    [LAUNCH_CREATE] = {IN_ABSENT, LAUNCH_CREATE_FDS},
    [LAUNCH_CHANNEL] = {IN_RUNNING | IN_ENDING | IN_ABSENT, 1},
    [LAUNCH_DESTROY] = {IN_ABSENT | IN_BUILDING | IN_RUNNING | IN_ENDING, 0},
};

int
permit_check(const struct launch_message *m, size_t fd_count, enum sandbox_state state,
             struct error *err)
{
    const struct permit *p = m->type < LAUNCH_TYPE_MAX ? &permits[m->type] : &permits[LAUNCH_NONE];
    if ((p->states & 1U << state) == 0)
        return error_set(err, ERR_FORBIDDEN, "request %s is not permitted for a sandbox that is %s",
                         launch_type_name(m->type), sandbox_state_name(state));
    if (fd_count != p->fd_count)
        return error_set(err, ERR_FORBIDDEN, "request %s with %zu descriptors, not %zu",
                         launch_type_name(m->type), fd_count, p->fd_count);
    if (!ident_is_sandbox(m->id, strlen(m->id)))
        return error_set(err, ERR_FORBIDDEN, "request %s with a malformed sandbox id",
                         launch_type_name(m->type));
    return 0;
}

static int
check_range(const char *name, uint32_t value, uint32_t min, uint32_t max, struct error *err)
{
    if (value >= min && value <= max)
        return 0;
    return error_set(err, ERR_INVALID_CONFIG, "%s of %u is not between %u and %u", name, value, min,
                     max);
}

int
permit_check_limits(const struct launch_message *m, struct error *err)
{
    if (check_range("memory", m->memory_mib, LAUNCH_MEMORY_MIN_MIB, LAUNCH_MEMORY_MAX_MIB, err) <
            0 ||
        check_range("disk", m->disk_mib, LAUNCH_DISK_MIN_MIB, LAUNCH_DISK_MAX_MIB, err) < 0 ||
        check_range("CPU", m->cpu_millis, PERMIT_CPU_MILLIS_MIN, LAUNCH_CPU_MILLIS_MAX, err) < 0)
        return -1;
    return check_range("processes", m->pids_max, PERMIT_PIDS_MIN, LAUNCH_PIDS_MAX, err);
}

static int
check_socket(int fd, int type, const char *what, struct error *err)
{
    int domain = -1;
    int got = -1;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &got, &size) < 0)
        return error_set_errno(err, errno, "descriptor for %s", what);
    if (domain != AF_UNIX || got != type)
        return error_set(err, ERR_FORBIDDEN, "descriptor for %s is no such socket", what);
    // One that listens, or has a name to be connected to, would let others in later.
    struct sockaddr_un peer;
    size = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0)
        return error_set(err, ERR_FORBIDDEN, "descriptor for %s is not connected", what);
    return 0;
}

static int
check_sealed(int fd, off_t max, const char *what, struct error *err)
{
    const int needed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & needed) != needed)
        return error_set(err, ERR_FORBIDDEN, "descriptor for %s is no sealed memory file", what);
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > max)
        return error_set(err, ERR_FORBIDDEN, "memory file for %s is empty or too large", what);
    return 0;
}

int
permit_check_fds(const struct launch_message *m, const int *fds, struct error *err)
{
    if (m->type == LAUNCH_CHANNEL)
        return check_socket(fds[0], SOCK_STREAM, "the channel", err);
    if (m->type != LAUNCH_CREATE)
        return 0;
    if (check_sealed(fds[LAUNCH_FD_POLICY], LAUNCH_POLICY_MAX, "the policy", err) < 0 ||
        check_sealed(fds[LAUNCH_FD_ROOTS], LAUNCH_ROOTS_MAX, "the roots", err) < 0)
        return -1;
    return check_socket(fds[LAUNCH_FD_EVENTS], SOCK_SEQPACKET, "events", err);
}
