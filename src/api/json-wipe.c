// SPDX-License-Identifier: Apache-2.0
#include "api/json-wipe.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

// The usable size, not a header of our own: what json_dumps returns may then go to plain free(3),
// too.
static void
wiping_free(void *p)
{
    if (p == NULL)
        return;
    explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

void
json_wipe_install(void)
{
    json_set_alloc_funcs(malloc, wiping_free);
}
