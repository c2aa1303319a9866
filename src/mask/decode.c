// SPDX-License-Identifier: Apache-2.0
// zlib does the work, in memory that is wiped: hosts echo values, also compressed. Output goes
// through one buffer of OUT_SIZE.
//
// "deflate" means zlib's format, but servers send bare deflate under that name. The first byte
// tells: zlib's has 8 in its low half, with which a bare stream would begin with a stored block
// whose padding is not zero, as nobody writes it. To take one for the other only fails.
#include "mask/decode.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { OUT_SIZE = 32 * 1024 };

struct decode {
    enum decode_coding coding;
    z_stream z;
    bool open; // z is
    bool begun;
    bool between; // a member has ended, none has begun
    const char *problem;
    uint64_t allowance; // bytes that may still come out
    uint8_t out[OUT_SIZE];
};

enum decode_coding
decode_coding_of(struct h1_span value)
{
    if (h1_span_is_nocase(value, "identity"))
        return DECODE_IDENTITY;
    if (h1_span_is_nocase(value, "gzip") || h1_span_is_nocase(value, "x-gzip"))
        return DECODE_GZIP;
    return h1_span_is_nocase(value, "deflate") ? DECODE_DEFLATE : DECODE_UNKNOWN;
}

// --- memory ---

enum { HEADER = 16 }; // keeps malloc's alignment

static voidpf
take(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    size_t total = (size_t)items * size;
    char *at = malloc(HEADER + total);
    if (at == NULL)
        return Z_NULL;
    memcpy(at, &total, sizeof total);
    return at + HEADER;
}

static void
give_back(voidpf opaque, voidpf address)
{
    (void)opaque;
    size_t total;
    char *at = (char *)address - HEADER;
    memcpy(&total, at, sizeof total);
    explicit_bzero(at, HEADER + total);
    free(at);
}

struct decode *
decode_new(enum decode_coding coding)
{
    struct decode *d = xcalloc(1, sizeof *d);
    d->coding = coding;
    d->allowance = DECODE_ALLOWANCE;
    return d;
}

void
decode_free(struct decode *d)
{
    if (d == NULL)
        return;
    if (d->open)
        (void)inflateEnd(&d->z);
    explicit_bzero(d, sizeof *d);
    free(d);
}

// --- decoding ---

static int
fail(struct decode *d, const char *problem)
{
    d->problem = problem;
    return -1;
}

static int
begin(struct decode *d, uint8_t first)
{
    enum { GZIP_FORMAT = 16 }; // zlib's way to ask for it
    bool bare = d->coding == DECODE_DEFLATE && (first & 0x0f) != Z_DEFLATED;
    int bits = d->coding == DECODE_GZIP ? MAX_WBITS + GZIP_FORMAT : bare ? -MAX_WBITS : MAX_WBITS;
    d->z = (z_stream){.zalloc = take, .zfree = give_back};
    if (inflateInit2(&d->z, bits) != Z_OK)
        return fail(d, "there is no memory to decode the response");
    d->open = true;
    d->begun = true;
    return 0;
}

static void
allow(struct decode *d, size_t size)
{
    d->allowance += (uint64_t)size * DECODE_RATIO_MAX;
    if (d->allowance > DECODE_AHEAD_MAX)
        d->allowance = DECODE_AHEAD_MAX;
}

// After a member of gzip's there may be another; of deflate there is one.
static int
begin_next(struct decode *d)
{
    if (d->coding != DECODE_GZIP)
        return fail(d, "bytes follow the end of the coded response");
    if (inflateReset(&d->z) != Z_OK)
        return fail(d, "the coded response is broken");
    d->between = false;
    return 0;
}

int
decode_feed(struct decode *d, const uint8_t *data, size_t size, size_t *ret_used,
            struct h1_span *ret)
{
    *ret_used = 0;
    *ret = (struct h1_span){0};
    if (d->problem != NULL)
        return -1;
    if (size == 0 && !d->begun)
        return 0;
    if (!d->begun && begin(d, data[0]) != 0)
        return -1;
    if (d->between && size == 0)
        return 0;
    if (d->between && begin_next(d) != 0)
        return -1;
    uInt most = size < UINT32_MAX / 2 ? (uInt)size : UINT32_MAX / 2;
    d->z.next_in = (Bytef *)(uintptr_t)data; // which it does not write to
    d->z.avail_in = most;
    d->z.next_out = d->out;
    d->z.avail_out = OUT_SIZE;
    int rc = inflate(&d->z, Z_NO_FLUSH);
    size_t written = OUT_SIZE - d->z.avail_out;
    *ret_used = most - d->z.avail_in;
    // Without progress there is nothing more to say until more comes.
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return fail(d, "the coded response is broken");
    allow(d, *ret_used);
    if (written > d->allowance)
        return fail(d, "the coded response grows too much");
    d->allowance -= written;
    d->between = rc == Z_STREAM_END;
    *ret = (struct h1_span){(const char *)d->out, written};
    return 0;
}

bool
decode_is_complete(const struct decode *d)
{
    return d->problem == NULL && (!d->begun || d->between);
}

const char *
decode_problem(const struct decode *d)
{
    return d->problem;
}
