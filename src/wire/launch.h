// SPDX-License-Identifier: Apache-2.0
// Messages between casemated and casemate-launcher over one SEQPACKET socket, each one datagram
// with descriptors attached. The launcher trusts no field and checks each again.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/ident.h"

#include <stdint.h>

enum {
    LAUNCH_MESSAGE_MAX = 4096,
    LAUNCH_DETAIL_MAX = 128,
    LAUNCH_MEMORY_MIN_MIB = 64,
    LAUNCH_MEMORY_MAX_MIB = 4096 * 16,
    LAUNCH_DISK_MIN_MIB = 64,
    LAUNCH_DISK_MAX_MIB = 1024 * 1024,
    LAUNCH_CPU_MILLIS_MAX = 1024 * 1000,
    LAUNCH_PIDS_MAX = 65536,
    LAUNCH_SANDBOXES_MAX = 1024, // at once, of one launcher
    // Of the sealed files of a LAUNCH_CREATE, which the launcher holds as long as the sandbox
    // lives: stops a daemon that was taken over from keeping the host's memory in them.
    LAUNCH_POLICY_MAX = 4 * 1024 * 1024,
    LAUNCH_ROOTS_MAX = 4 * 1024 * 1024,
};

enum launch_type {
    LAUNCH_NONE,
    // launcher to casemated, once, first: it is ready to build.
    LAUNCH_READY, // detail: driver and cgroup layout in words
    // casemated to launcher.
    LAUNCH_CREATE,  // id, limits; fds: enum launch_create_fd
    LAUNCH_CHANNEL, // id; fd 0: guest's end of a fresh data channel (SOCK_STREAM)
    LAUNCH_DESTROY, // id; unknown ids are ignored (it may have ended meanwhile)
    // launcher to casemated.
    LAUNCH_CREATED, // id; fds: enum launch_usage_fd
    LAUNCH_FAILED,  // id, error: nothing of it is left
    LAUNCH_ENDED,   // id, reason, cpu_usec, detail: nothing of it is left
    // id; fd 0: casemated's end of the event socket of a new worker, for the last one died. Until
    // it is ready the sandbox's connections wait; there is no way around it.
    LAUNCH_WORKER,
    LAUNCH_TYPE_MAX
};

enum launch_create_fd {
    LAUNCH_FD_POLICY, // sealed memfd: policy and secrets; the launcher never maps it
    LAUNCH_FD_ROOTS,  // sealed memfd: PEM roots to verify upstreams with
    LAUNCH_FD_EVENTS, // the worker's end of its event socket (SEQPACKET)
    LAUNCH_CREATE_FDS
};

// Read-only files with the sandbox's counters; each is read whole with pread(2) at 0.
enum launch_usage_fd {
    LAUNCH_FD_CPU,    // cgroup v2 cpu.stat (usage_usec) or v1 cpuacct.usage (ns), by cpu_format
    LAUNCH_FD_MEMORY, // cgroup v2 memory.current or v1 memory.usage_in_bytes: bytes in decimal
    LAUNCH_USAGE_FDS
};

enum launch_cpu_format { LAUNCH_CPU_STAT, LAUNCH_CPUACCT_NS, LAUNCH_CPU_FORMAT_MAX };

enum launch_reason {
    LAUNCH_REASON_NONE,
    LAUNCH_REASON_DESTROYED, // asked for
    LAUNCH_REASON_INIT_DIED,
    LAUNCH_REASON_WORKER_DIED,
    LAUNCH_REASON_MAX
};

struct launch_message {
    enum launch_type type;
    char id[SANDBOX_ID_SIZE + 1];
    uint32_t memory_mib;
    uint32_t disk_mib;
    uint32_t cpu_millis; // thousandths of a CPU
    uint32_t pids_max;
    uint64_t cpu_usec;                 // LAUNCH_ENDED: all that the sandbox used
    enum launch_reason reason;         // LAUNCH_ENDED
    enum launch_cpu_format cpu_format; // LAUNCH_CREATED
    struct error error;                // LAUNCH_FAILED
    char detail[LAUNCH_DETAIL_MAX];    // LAUNCH_READY, LAUNCH_ENDED: for logs
};

const char *launch_type_name(enum launch_type type);
const char *launch_reason_name(enum launch_reason reason); // "destroyed", "init-died", …

int launch_encode(struct buf *out, const struct launch_message *m);
// Checks framing, enums and that strings are terminated; 0 or -1 (ERR_PROTOCOL).
int launch_decode(const void *data, size_t size, struct launch_message *ret, struct error *err);

// One message over sock with its descriptors (not closed); 0 or -1. On a non-blocking socket a full
// queue is an error, too.
int launch_send(int sock, const struct launch_message *m, const int *fds, size_t fd_count,
                struct error *err);
// 1: a message; 0: end of file; -1: error. Received descriptors are the caller's.
int launch_recv(int sock, struct launch_message *ret, int fds[FD_PASS_MAX], size_t *ret_fd_count,
                struct error *err);
