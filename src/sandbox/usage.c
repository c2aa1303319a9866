// SPDX-License-Identifier: Apache-2.0
// Usage from the kernel's counters, read through descriptors that the launcher passed: CPU time as
// it stands, memory sampled on each tick and integrated over time.
#include "sandbox/sandbox-internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
read_counter(int fd, char *text, size_t capacity)
{
    ssize_t n = fd < 0 ? -1 : pread(fd, text, capacity - 1, 0);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    return 0;
}

static void
sample_cpu(struct sandbox *s)
{
    char text[1024];
    if (read_counter(s->usage_fds[LAUNCH_FD_CPU], text, sizeof text) < 0)
        return;
    uint64_t usec = 0;
    if (s->cpu_format == LAUNCH_CPU_STAT) {
        const char *line = strstr(text, "usage_usec ");
        usec = line != NULL ? strtoull(line + strlen("usage_usec "), NULL, 10) : 0;
    } else {
        usec = strtoull(text, NULL, 10) / 1000;
    }
    if (usec > s->cpu_usec)
        s->cpu_usec = usec;
}

static void
sample_memory(struct sandbox *s)
{
    char text[32];
    int64_t now = clock_monotonic_ms();
    uint64_t before = s->memory_bytes;
    if (read_counter(s->usage_fds[LAUNCH_FD_MEMORY], text, sizeof text) == 0)
        s->memory_bytes = strtoull(text, NULL, 10);
    if (s->sampled_ms > 0)
        s->memory_byte_ms +=
            ((double)before + (double)s->memory_bytes) / 2 * (double)(now - s->sampled_ms);
    s->sampled_ms = now;
}

void
usage_sample(struct sandbox *s)
{
    if (s->usage_fds[LAUNCH_FD_CPU] < 0)
        return;
    sample_cpu(s);
    sample_memory(s);
}

void
usage_close(struct sandbox *s)
{
    for (size_t i = 0; i < LAUNCH_USAGE_FDS; i++) {
        if (s->usage_fds[i] >= 0)
            (void)close(s->usage_fds[i]);
        s->usage_fds[i] = -1;
    }
}

struct sandbox_usage
sandbox_usage(struct sandbox *s)
{
    usage_sample(s);
    return (struct sandbox_usage){
        .cpu_seconds = (double)s->cpu_usec / 1e6,
        .memory_gib_seconds = s->memory_byte_ms / 1e3 / (double)(1u << 30),
        .memory_bytes = s->state == SANDBOX_STOPPED ? 0 : s->memory_bytes,
    };
}
