// SPDX-License-Identifier: Apache-2.0
#include "wire/launch.h"

#include "wire/pack.h"

#include <assert.h>
#include <unistd.h>

static const char *const type_names[] = {
    [LAUNCH_NONE] = "none",       [LAUNCH_READY] = "ready",     [LAUNCH_CREATE] = "create",
    [LAUNCH_CHANNEL] = "channel", [LAUNCH_DESTROY] = "destroy", [LAUNCH_CREATED] = "created",
    [LAUNCH_FAILED] = "failed",   [LAUNCH_ENDED] = "ended",     [LAUNCH_WORKER] = "worker",
};
static_assert(sizeof type_names / sizeof *type_names == LAUNCH_TYPE_MAX, "a name for each type");

static const char *const reason_names[] = {
    [LAUNCH_REASON_NONE] = "none",
    [LAUNCH_REASON_DESTROYED] = "destroyed",
    [LAUNCH_REASON_INIT_DIED] = "init-died",
    [LAUNCH_REASON_WORKER_DIED] = "worker-died",
};
static_assert(sizeof reason_names / sizeof *reason_names == LAUNCH_REASON_MAX,
              "a name for each reason");

const char *
launch_type_name(enum launch_type type)
{
    return type < LAUNCH_TYPE_MAX ? type_names[type] : "unknown";
}

const char *
launch_reason_name(enum launch_reason reason)
{
    return reason < LAUNCH_REASON_MAX ? reason_names[reason] : "unknown";
}

int
launch_encode(struct buf *out, const struct launch_message *m)
{
    if (pack_u8(out, (uint8_t)m->type) < 0 || pack_str(out, m->id) < 0 ||
        pack_u32(out, m->memory_mib) < 0 || pack_u32(out, m->disk_mib) < 0 ||
        pack_u32(out, m->cpu_millis) < 0 || pack_u32(out, m->pids_max) < 0 ||
        pack_u64(out, m->cpu_usec) < 0 || pack_u8(out, (uint8_t)m->reason) < 0 ||
        pack_u8(out, (uint8_t)m->cpu_format) < 0 || pack_u32(out, (uint32_t)m->error.code) < 0 ||
        pack_u32(out, (uint32_t)m->error.sys) < 0 || pack_str(out, m->error.msg) < 0 ||
        pack_str(out, m->detail) < 0)
        return -1;
    return 0;
}

int
launch_decode(const void *data, size_t size, struct launch_message *ret, struct error *err)
{
    struct unpack u;
    struct launch_message m = {0};
    unpack_init(&u, data, size);
    uint8_t type = unpack_u8(&u);
    unpack_str(&u, m.id, sizeof m.id);
    m.memory_mib = unpack_u32(&u);
    m.disk_mib = unpack_u32(&u);
    m.cpu_millis = unpack_u32(&u);
    m.pids_max = unpack_u32(&u);
    m.cpu_usec = unpack_u64(&u);
    uint8_t reason = unpack_u8(&u);
    uint8_t cpu_format = unpack_u8(&u);
    m.error.code = (int32_t)unpack_u32(&u);
    m.error.sys = (int32_t)unpack_u32(&u);
    unpack_str(&u, m.error.msg, sizeof m.error.msg);
    unpack_str(&u, m.detail, sizeof m.detail);
    if (!unpack_complete(&u) || type == LAUNCH_NONE || type >= LAUNCH_TYPE_MAX ||
        reason >= LAUNCH_REASON_MAX || cpu_format >= LAUNCH_CPU_FORMAT_MAX)
        return error_set(err, ERR_PROTOCOL, "malformed launcher message of %zu bytes", size);
    m.type = (enum launch_type)type;
    m.reason = (enum launch_reason)reason;
    m.cpu_format = (enum launch_cpu_format)cpu_format;
    *ret = m;
    return 0;
}

int
launch_send(int sock, const struct launch_message *m, const int *fds, size_t fd_count,
            struct error *err)
{
    cleanup_buf struct buf out;
    buf_init(&out, LAUNCH_MESSAGE_MAX);
    if (launch_encode(&out, m) < 0)
        return error_set(err, ERR_INTERNAL, "launcher message too long");
    int r = fd_send_msg(sock, buf_bytes(&out), buf_size(&out), fds, fd_count);
    if (r < 0)
        return error_set_errno(err, -r, "send %s", launch_type_name(m->type));
    return 0;
}

int
launch_recv(int sock, struct launch_message *ret, int fds[FD_PASS_MAX], size_t *ret_fd_count,
            struct error *err)
{
    uint8_t data[LAUNCH_MESSAGE_MAX];
    ssize_t n = fd_recv_msg(sock, data, sizeof data, fds, ret_fd_count);
    if (n == 0)
        return 0;
    if (n < 0)
        return error_set_errno(err, (int)-n, "receive from the launcher's socket");
    if (launch_decode(data, (size_t)n, ret, err) < 0) {
        for (size_t i = 0; i < *ret_fd_count; i++)
            (void)close(fds[i]);
        *ret_fd_count = 0;
        return -1;
    }
    return 1;
}
