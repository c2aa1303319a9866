// SPDX-License-Identifier: Apache-2.0
// What takes the place of casemate-fetch where a client's own environment makes the loader run it
// first (LD_PRELOAD): it answers casemate-init with the lie that the variable LIE names. Speaks
// wire/fetch.h by hand.
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
put(const void *data, size_t size)
{
    const char *at = data;
    for (ssize_t n; size > 0 && (n = write(STDOUT_FILENO, at, size)) > 0; at += n)
        size -= (size_t)n;
}

static void
frame(uint8_t kind, const void *data, uint32_t size)
{
    put(&kind, 1);
    put(&size, sizeof size);
    put(data, size);
}

// A head with one header.
static void
head(uint16_t status, const char *name, const char *value, uint8_t has_body)
{
    static uint8_t out[200000];
    size_t at = 0;
    uint32_t none = 0;
    uint16_t one = 1;
    uint32_t size = (uint32_t)strlen(name);
    memcpy(out + at, &status, 2), at += 2;
    memcpy(out + at, &none, 4), at += 4;
    memcpy(out + at, &one, 2), at += 2;
    memcpy(out + at, &size, 4), at += 4;
    memcpy(out + at, name, size), at += size;
    size = (uint32_t)strlen(value);
    memcpy(out + at, &size, 4), at += 4;
    memcpy(out + at, value, size), at += size;
    out[at++] = has_body;
    frame(1, out, (uint32_t)at);
}

static void
tell(const char *lie)
{
    static char junk[48 * 1024];
    memset(junk, 0xff, sizeof junk);
    bool hello = strcmp(lie, "mute") != 0 && strcmp(lie, "no-hello") != 0;
    if (hello)
        frame(0, NULL, 0);
    if (strcmp(lie, "no-hello") == 0 || strcmp(lie, "inject") == 0)
        head(200, "x", "y\",\"bodyStreamId\":1,\"z\":\"\\", 1);
    else if (strcmp(lie, "kind") == 0)
        frame(77, "x", 1);
    else if (strcmp(lie, "huge") == 0)
        put("\2\377\377\377\377", 5);
    else if (strcmp(lie, "data-first") == 0)
        frame(2, "x", 1);
    else if (strcmp(lie, "end-first") == 0)
        frame(3, NULL, 0);
    else if (strcmp(lie, "status") == 0)
        head(65535, "x", "y", 1);
    else if (strcmp(lie, "status-101") == 0)
        head(101, "x", "y", 1);
    else if (strcmp(lie, "split") == 0)
        head(200, "x", "a\r\nset-cookie: b", 0);
    else if (strcmp(lie, "short-head") == 0)
        frame(1, "\310\0\377\377\377\377", 6);
    else if (strcmp(lie, "junk-head") == 0)
        frame(1, junk, sizeof junk);
    else if (strcmp(lie, "twice") == 0)
        head(200, "x", "y", 1), head(200, "x", "y", 1);
    else if (strcmp(lie, "flood") == 0)
        for (head(200, "x", "y", 1);;)
            frame(2, junk, sizeof junk);
    else if (strcmp(lie, "hello-flood") == 0)
        for (;;)
            frame(0, NULL, 0);
    else if (strcmp(lie, "hello-large") == 0)
        for (;;)
            frame(0, junk, sizeof junk);
    else if (strcmp(lie, "junk-failure") == 0)
        frame(4, junk, sizeof junk);
    else if (strcmp(lie, "bite") == 0)
        (void)kill(1, SIGKILL), (void)kill(-1, SIGSTOP);
}

__attribute__((constructor)) static void
instead(void)
{
    const char *lie = getenv("LIE");
    if (lie == NULL)
        return;
    tell(lie);
    _exit(0);
}
