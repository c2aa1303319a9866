// SPDX-License-Identifier: Apache-2.0
#include "fetch/output.h"

#include "base/fd.h"
#include "wire/pack.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void
output_frame(enum fetch_kind kind, const void *data, size_t size)
{
    static uint8_t frame[FETCH_FRAME_HEADER + FETCH_CHUNK_MAX];
    uint32_t wire = (uint32_t)size;
    frame[0] = (uint8_t)kind;
    for (size_t i = 0; i < sizeof wire; i++)
        frame[1 + i] = (uint8_t)(wire >> (8 * i));
    if (size > 0)
        memcpy(frame + FETCH_FRAME_HEADER, data, size);
    if (fd_write_all(STDOUT_FILENO, frame, FETCH_FRAME_HEADER + size) < 0)
        _exit(1);
}

void
output_data(const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        size_t chunk = size < FETCH_CHUNK_MAX ? size : FETCH_CHUNK_MAX;
        output_frame(FETCH_DATA, at, chunk);
        at += chunk;
        size -= chunk;
    }
}

void
output_fail(const char *fmt, ...)
{
    char text[FETCH_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t size = n < 0 ? 0 : (size_t)n;
    output_frame(FETCH_FAIL, text, size < sizeof text ? size : sizeof text - 1);
}
