// SPDX-License-Identifier: Apache-2.0
// Scope-bound ownership: a variable marked cleanup_* is released when its scope ends, whatever the
// path out; TAKE_PTR and TAKE_FD hand it on, visibly.
#pragma once

#include <stdlib.h>
#include <unistd.h>

static inline void
cleanup_free_p(void *p)
{
    free(*(void **)p);
}

static inline void
cleanup_fd_p(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define cleanup_free __attribute__((cleanup(cleanup_free_p)))
#define cleanup_fd   __attribute__((cleanup(cleanup_fd_p)))

#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof *(a))
