// SPDX-License-Identifier: Apache-2.0
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

void *
xmalloc(size_t size)
{
    return or_abort(malloc(size > 0 ? size : 1));
}

void *
xcalloc(size_t count, size_t size)
{
    return or_abort(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

char *
xstrdup(const char *s)
{
    return or_abort(strdup(s));
}

char *
xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int used = vasprintf(&text, fmt, args);
    va_end(args);
    return or_abort(used < 0 ? NULL : text);
}
