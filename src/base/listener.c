// SPDX-License-Identifier: Apache-2.0
// The kernel tells listening sockets by inode, and a process' descriptors tell inodes. Of several,
// the lowest inode is the oldest. Whoever asks sees only what it may: processes of its own user.
#include "base/listener.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LISTEN = 0x0A, // TCP_LISTEN, include/net/tcp_states.h
    LISTENERS_MAX = 4096,
    FAMILY_MAX = 4096, // processes below one that are looked at
};

static size_t
read_table(const char *path, bool v6, struct listener *out, size_t count)
{
    char line[512];
    FILE *f = fopen(path, "re");
    while (f != NULL && count < LISTENERS_MAX && fgets(line, sizeof line, f) != NULL) {
        char local[64];
        unsigned state;
        struct listener l = {.v6 = v6};
        if (sscanf(line, " %*[^:]: %63s %*s %x %*s %*s %*s %*s %*s %" SCNu64, local, &state,
                   &l.inode) != 3 ||
            state != LISTEN)
            continue;
        int n = v6 ? sscanf(local, "%8x%8x%8x%8x:%x", &l.address[0], &l.address[1], &l.address[2],
                            &l.address[3], &l.port)
                   : sscanf(local, "%8x:%x", &l.address[0], &l.port);
        if (n == (v6 ? 5 : 2))
            out[count++] = l;
    }
    if (f != NULL)
        (void)fclose(f);
    return count;
}

// The oldest listener of the process, or NULL.
static const struct listener *
of_process(uint32_t pid, const struct listener *all, size_t count)
{
    char folder[64];
    const struct listener *best = NULL;
    (void)snprintf(folder, sizeof folder, "/proc/%" PRIu32 "/fd", pid);
    DIR *d = opendir(folder);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char target[64];
        uint64_t inode;
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (sscanf(target, "socket:[%" SCNu64 "]", &inode) != 1)
            continue;
        for (size_t i = 0; i < count; i++)
            if (all[i].inode == inode && (best == NULL || inode < best->inode))
                best = &all[i];
    }
    if (d != NULL)
        (void)closedir(d);
    return best;
}

// Adds the children of pid to the family, as the kernel lists them for each thread.
static size_t
add_children(uint32_t pid, uint32_t *family, size_t count)
{
    char folder[64];
    (void)snprintf(folder, sizeof folder, "/proc/%" PRIu32 "/task", pid);
    DIR *d = opendir(folder);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%.20s/children", folder, e->d_name);
        FILE *f = fopen(path, "re");
        for (uint32_t child; f != NULL && count < FAMILY_MAX && fscanf(f, "%" SCNu32, &child) == 1;)
            family[count++] = child;
        if (f != NULL)
            (void)fclose(f);
    }
    if (d != NULL)
        (void)closedir(d);
    return count;
}

bool
listener_find(uint32_t pid, struct listener *ret)
{
    static struct listener all[LISTENERS_MAX];
    static uint32_t family[FAMILY_MAX];
    size_t count = read_table("/proc/net/tcp", false, all, 0);
    count = read_table("/proc/net/tcp6", true, all, count);
    family[0] = pid;
    size_t members = 1;
    for (size_t i = 0; i < members && count > 0; i++) {
        const struct listener *l = of_process(family[i], all, count);
        if (l != NULL) {
            *ret = *l;
            return true;
        }
        members = add_children(family[i], family, members);
    }
    return false;
}
