// SPDX-License-Identifier: Apache-2.0
#include "base/mem.h"
#include "init/deno/deno-internal.h"

const struct param deno_pid_params[] = {{"pid", PARAM_INDEX}, {0}};

struct deno *
deno_new(struct loop *loop)
{
    struct deno *d = xcalloc(1, sizeof *d);
    d->loop = loop;
    deno_http_init(d);
    return d;
}
