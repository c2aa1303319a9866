// SPDX-License-Identifier: Apache-2.0
#include "fetch/body.h"

#include "base/clock.h"
#include "base/fd.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

// Reads ahead while there is more and room; standard input does not block.
static void
read_ahead(struct body *b)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int64_t end = clock_monotonic_ms() + BODY_PATIENCE_ALL_MS;
    while (buf_size(&b->kept) < BODY_KEPT_MAX && clock_monotonic_ms() < end &&
           poll(&p, 1, BODY_PATIENCE_MS) > 0) {
        size_t room = BODY_KEPT_MAX - buf_size(&b->kept);
        size_t step = room < 65536 ? room : 65536;
        uint8_t *to = buf_reserve(&b->kept, step);
        ssize_t n = to != NULL ? read(STDIN_FILENO, to, step) : -1;
        if (n == 0) {
            b->ended = b->whole = true;
            return;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (n > 0)
            buf_commit(&b->kept, (size_t)n);
    }
}

void
body_init(struct body *b, bool present)
{
    *b = (struct body){.present = present};
    buf_init(&b->kept, BODY_KEPT_MAX);
    if (!present)
        return;
    (void)fd_set_nonblock(STDIN_FILENO);
    read_ahead(b);
}

long long
body_size(const struct body *b)
{
    if (!b->present)
        return 0;
    return b->whole ? (long long)buf_size(&b->kept) : -1;
}

size_t
body_read(struct body *b, char *out, size_t capacity)
{
    size_t left = buf_size(&b->kept) - b->sent;
    if (left > 0) {
        size_t n = left < capacity ? left : capacity;
        memcpy(out, buf_bytes(&b->kept) + b->sent, n);
        b->sent += n;
        return n;
    }
    if (b->ended)
        return 0;
    ssize_t n = read(STDIN_FILENO, out, capacity);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        b->waiting = true;
        return CURL_READFUNC_PAUSE;
    }
    if (n < 0)
        return CURL_READFUNC_ABORT;
    b->ended = n == 0;
    b->streamed = true;
    return (size_t)n;
}

int
body_rewind(struct body *b)
{
    if (b->streamed)
        return -1;
    b->sent = 0;
    return 0;
}

void
body_forget(struct body *b)
{
    buf_done(&b->kept);
    *b = (struct body){0};
}
