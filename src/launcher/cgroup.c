// SPDX-License-Identifier: Apache-2.0
// The groups of one sandbox. A small table says what each controller's limit is called in which
// version, so that the code below knows no version.
#include "launcher/cgroup.h"

#include "base/cleanup.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CPU_PERIOD_USEC = 100000,
    STAT_MAX = 4096,
    // Share of the memory limit that socket buffers may take in addition, on version 1.
    SOCKET_SHARE = 4,
};

static void
group_path(const struct cgroup_layout *layout, const char *root, const char *id, char *out,
           size_t capacity)
{
    (void)snprintf(out, capacity, "%s/casemate-%s/%s", root, layout->instance, id);
}

// Root of the hierarchy that holds the controller.
static const char *
root_of(const struct cgroup_layout *layout, enum cgroup_controller c)
{
    return layout->v1[c][0] != '\0' ? layout->v1[c] : layout->v2;
}

static int
open_in(const struct cgroup_layout *layout, enum cgroup_controller c, const char *id, int flags)
{
    char path[CGROUP_PATH_MAX * 2];
    group_path(layout, root_of(layout, c), id, path, sizeof path);
    int fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

struct limit_file {
    enum cgroup_controller controller;
    const char *v2; // NULL: not there
    const char *v1;
    bool optional; // only where the kernel has it (swap accounting may be off)
};

enum limit_value {
    LIMIT_MEMORY,
    LIMIT_SWAP,
    LIMIT_SOCKETS,
    LIMIT_CPU_PERIOD,
    LIMIT_CPU,
    LIMIT_PIDS,
    LIMIT_MAX
};

static const struct limit_file limit_files[] = {
    [LIMIT_MEMORY] = {CGROUP_MEMORY, "memory.max", "memory.limit_in_bytes", false},
    [LIMIT_SWAP] = {CGROUP_MEMORY, "memory.swap.max", "memory.memsw.limit_in_bytes", true},
    // Version 1 does not count socket buffers until this is set: a sandbox could fill tcp_mem and
    // udp_mem, gigabytes that are the whole host's, with connections to itself.
    [LIMIT_SOCKETS] = {CGROUP_MEMORY, NULL, "memory.kmem.tcp.limit_in_bytes", true},
    [LIMIT_CPU_PERIOD] = {CGROUP_CPU, NULL, "cpu.cfs_period_us", false},
    [LIMIT_CPU] = {CGROUP_CPU, "cpu.max", "cpu.cfs_quota_us", false},
    [LIMIT_PIDS] = {CGROUP_PIDS, "pids.max", "pids.max", false},
};
static_assert(ARRAY_SIZE(limit_files) == LIMIT_MAX, "a file for each limit");

static void
format_limit(enum limit_value value, bool v1, const struct cgroup_limits *limits, char *out,
             size_t capacity)
{
    uint64_t memory = (uint64_t)limits->memory_mib << 20;
    uint64_t quota = (uint64_t)limits->cpu_millis * (CPU_PERIOD_USEC / 1000);
    switch (value) {
    case LIMIT_MEMORY:
        (void)snprintf(out, capacity, "%" PRIu64, memory);
        break;
    case LIMIT_SWAP: // version 1 limits memory and swap together, version 2 swap alone
        (void)snprintf(out, capacity, "%" PRIu64, v1 ? memory : 0);
        break;
    case LIMIT_SOCKETS:
        (void)snprintf(out, capacity, "%" PRIu64, memory / SOCKET_SHARE);
        break;
    case LIMIT_CPU_PERIOD:
        (void)snprintf(out, capacity, "%d", CPU_PERIOD_USEC);
        break;
    case LIMIT_CPU:
        if (v1)
            (void)snprintf(out, capacity, "%" PRIu64, quota);
        else
            (void)snprintf(out, capacity, "%" PRIu64 " %d", quota, CPU_PERIOD_USEC);
        break;
    case LIMIT_PIDS:
        (void)snprintf(out, capacity, "%" PRIu32, limits->pids_max);
        break;
    case LIMIT_MAX:
        break;
    }
}

static int
write_limits(const struct cgroup_layout *layout, const char *id, const struct cgroup_limits *limits,
             struct error *err)
{
    for (unsigned i = 0; i < LIMIT_MAX; i++) {
        const struct limit_file *f = &limit_files[i];
        bool v1 = layout->v1[f->controller][0] != '\0';
        const char *file = v1 ? f->v1 : f->v2;
        if (file == NULL)
            continue;
        char text[48];
        format_limit((enum limit_value)i, v1, limits, text, sizeof text);
        cleanup_fd int dir = open_in(layout, f->controller, id, O_PATH | O_DIRECTORY);
        int r = dir < 0 ? dir : fd_write_file_at(dir, file, text);
        if (r < 0 && !(f->optional && r == -ENOENT))
            return error_set_errno(err, -r, "set %s to %s", file, text);
    }
    return 0;
}

static int
make_group(const struct cgroup_layout *layout, const char *root, const char *id, bool shared,
           struct error *err)
{
    char path[CGROUP_PATH_MAX * 2];
    group_path(layout, root, id, path, sizeof path);
    // Controllers mounted together share a directory. Any other that is there already is an earlier
    // sandbox's that would not go: one of the same id must not join its processes.
    if (mkdir(path, 0755) < 0 && !(shared && errno == EEXIST))
        return error_set_errno(err, errno, "make group %s", path);
    return 0;
}

int
cgroup_create(const struct cgroup_layout *layout, const char *id,
              const struct cgroup_limits *limits, struct error *err)
{
    if (make_group(layout, layout->v2, id, false, err) < 0)
        return -1;
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] != '\0' && make_group(layout, layout->v1[c], id, true, err) < 0)
            return -1;
    }
    if (write_limits(layout, id, limits, err) < 0)
        return -1;
    char path[CGROUP_PATH_MAX * 2];
    group_path(layout, layout->v2, id, path, sizeof path);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "open group %s", path) : fd;
}

int
cgroup_join_v1(const struct cgroup_layout *layout, const char *id, pid_t pid, struct error *err)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", (int)pid);
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] == '\0')
            continue;
        cleanup_fd int dir = open_in(layout, (enum cgroup_controller)c, id, O_PATH | O_DIRECTORY);
        int r = dir < 0 ? dir : fd_write_file_at(dir, "cgroup.procs", text);
        if (r < 0)
            return error_set_errno(err, -r, "move the sandbox into its %s group",
                                   cgroup_controller_name((enum cgroup_controller)c));
    }
    return 0;
}

static int
open_counter(const struct cgroup_layout *layout, const char *root, const char *id, const char *file,
             struct error *err)
{
    char path[CGROUP_PATH_MAX * 3];
    group_path(layout, root, id, path, CGROUP_PATH_MAX * 2);
    size_t used = strlen(path);
    (void)snprintf(path + used, sizeof path - used, "/%s", file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "open %s", file) : fd;
}

int
cgroup_open_cpu(const struct cgroup_layout *layout, const char *id, struct error *err)
{
    return open_counter(layout, layout->v2, id, "cpu.stat", err);
}

int
cgroup_open_memory(const struct cgroup_layout *layout, const char *id, struct error *err)
{
    bool v1 = layout->v1[CGROUP_MEMORY][0] != '\0';
    return open_counter(layout, root_of(layout, CGROUP_MEMORY), id,
                        v1 ? "memory.usage_in_bytes" : "memory.current", err);
}

int
cgroup_open_memory_events(const struct cgroup_layout *layout, const char *id, struct error *err)
{
    bool v1 = layout->v1[CGROUP_MEMORY][0] != '\0';
    return open_counter(layout, root_of(layout, CGROUP_MEMORY), id,
                        v1 ? "memory.oom_control" : "memory.events", err);
}

uint64_t
cgroup_read_cpu_usec(const struct cgroup_layout *layout, const char *id)
{
    static const char key[] = "usage_usec ";
    cleanup_fd int fd = cgroup_open_cpu(layout, id, NULL);
    char text[STAT_MAX];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *at = strstr(text, key);
    return at == NULL ? 0 : strtoull(at + sizeof key - 1, NULL, 10);
}

// Kernels before 5.14 have no cgroup.kill: the processes are killed one by one. The caller repeats
// until the group can be removed, which a fork between reading and killing only delays.
static void
kill_listed(int dir)
{
    cleanup_fd int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    char text[STAT_MAX];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        long pid = strtol(line, NULL, 10);
        if (pid > 1)
            (void)kill((pid_t)pid, SIGKILL);
    }
}

void
cgroup_kill(const struct cgroup_layout *layout, const char *id)
{
    char path[CGROUP_PATH_MAX * 2];
    group_path(layout, layout->v2, id, path, sizeof path);
    cleanup_fd int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 && fd_write_file_at(dir, "cgroup.kill", "1") < 0)
        kill_listed(dir);
}

static int
remove_group(const struct cgroup_layout *layout, const char *root, const char *id,
             struct error *err)
{
    char path[CGROUP_PATH_MAX * 2];
    group_path(layout, root, id, path, sizeof path);
    if (rmdir(path) == 0 || errno == ENOENT)
        return 1;
    if (errno == EBUSY)
        return 0;
    return error_set_errno(err, errno, "remove group %s", path);
}

int
cgroup_remove(const struct cgroup_layout *layout, const char *id, struct error *err)
{
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] == '\0')
            continue;
        int r = remove_group(layout, layout->v1[c], id, err);
        if (r != 1)
            return r;
    }
    return remove_group(layout, layout->v2, id, err);
}
