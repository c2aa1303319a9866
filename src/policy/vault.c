// SPDX-License-Identifier: Apache-2.0
#include "policy/vault.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int
vault_init(struct vault *v, size_t size, struct error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t capacity = (size / page + 1) * page;
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map memory for secrets");
    // Locked as it is used: patterns reserve for the worst case.
    if (mlock2(data, capacity, MLOCK_ONFAULT) < 0) {
        (void)munmap(data, capacity);
        return error_set(err, ERR_LIMIT,
                         "cannot keep %zu KiB for secrets out of swap: fewer or shorter values, or "
                         "a higher limit of locked memory (LimitMEMLOCK), are needed",
                         capacity / 1024);
    }
    if (madvise(data, capacity, MADV_DONTDUMP) < 0 ||
        madvise(data, capacity, MADV_WIPEONFORK) < 0) {
        int sys = errno;
        (void)munmap(data, capacity);
        return error_set_errno(err, sys, "cannot protect memory for secrets");
    }
    *v = (struct vault){.data = data, .capacity = capacity};
    return 0;
}

void
vault_done(struct vault *v)
{
    if (v->data == NULL)
        return;
    explicit_bzero(v->data, v->capacity);
    (void)munmap(v->data, v->capacity);
    *v = (struct vault){0};
}
