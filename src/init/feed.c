// SPDX-License-Identifier: Apache-2.0
// Bytes go through memory in order; while the spool holds any, new ones go behind them. The pipe is
// written as soon as there is something to write, and watched only while it is full. A pipe whose
// reader is gone reports EPOLLERR whatever is watched for, so the client learns at once.
#include "init/feed.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "init/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FEED_SPOOL_DIR "/var/tmp"

enum { FEED_REFILL = 256 * 1024 };

struct feed {
    struct loop *loop;
    struct loop_watch watch; // fd -1: the pipe is closed
    bool watching_out;
    bool ended; // no more comes from the client
    struct instream *source;
    bool in_source; // within an event of source: do not free it there
    struct buf memory;
    int spool;
    uint64_t spool_head;
    uint64_t spool_tail;
    void (*input)(void *user);
    void *user;
};

static void
drop_source(struct feed *f)
{
    struct instream *source = f->source;
    f->source = NULL;
    if (source != NULL && !f->in_source)
        instream_refuse(source, NULL);
}

static void
close_pipe(struct feed *f)
{
    if (f->watch.fd < 0)
        return;
    loop_watch_remove(f->loop, &f->watch);
    (void)close(f->watch.fd);
    f->watch.fd = -1;
    buf_done(&f->memory);
    if (f->spool >= 0)
        (void)close(f->spool);
    f->spool = -1;
    drop_source(f);
}

static bool
has_spooled(const struct feed *f)
{
    return f->spool_tail > f->spool_head;
}

static int
refill(struct feed *f)
{
    uint8_t *room = buf_reserve(&f->memory, FEED_REFILL);
    uint64_t left = f->spool_tail - f->spool_head;
    ssize_t n = room == NULL ? -1
                             : pread(f->spool, room, left < FEED_REFILL ? left : FEED_REFILL,
                                     (off_t)f->spool_head);
    if (n <= 0)
        return -1;
    buf_commit(&f->memory, (size_t)n);
    f->spool_head += (uint64_t)n;
    // Gives the disk back what was read. Should that fail, the file is merely larger than it need
    // be.
    int ignored;
    if (!has_spooled(f)) {
        f->spool_head = f->spool_tail = 0;
        ignored = ftruncate(f->spool, 0);
    } else {
        ignored = fallocate(f->spool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                            (off_t)f->spool_head);
    }
    (void)ignored;
    return 0;
}

static void
watch_out(struct feed *f, bool on)
{
    if (f->watching_out != on)
        loop_watch_change(f->loop, &f->watch, on ? EPOLLOUT : 0);
    f->watching_out = on;
}

// Writes what there is until the pipe is full; closes it when all is written and no more comes.
static void
pump(struct feed *f)
{
    while (f->watch.fd >= 0) {
        if (buf_size(&f->memory) == 0 && has_spooled(f) && refill(f) < 0)
            break;
        size_t size = buf_size(&f->memory);
        if (size == 0 && !f->ended) {
            watch_out(f, false);
            return;
        }
        if (size == 0)
            break;
        ssize_t n = write(f->watch.fd, buf_bytes(&f->memory), size);
        if (n < 0 && errno == EAGAIN) {
            watch_out(f, true);
            return;
        }
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0)
            buf_consume(&f->memory, (size_t)n);
    }
    close_pipe(f);
}

static void
pipe_ready(void *user, uint32_t events)
{
    struct feed *f = user;
    if (events & EPOLLERR)
        close_pipe(f);
    else
        pump(f);
}

static int
spool(struct feed *f, const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (f->spool < 0) {
        AS_APP_SCOPE();
        f->spool = open(FEED_SPOOL_DIR, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (f->spool < 0)
            return -1;
    }
    while (size > 0) {
        ssize_t n = pwrite(f->spool, data, size, (off_t)f->spool_tail);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        f->spool_tail += (uint64_t)n;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

// Keeps it behind what waits already; -1 if there is no room on the disk.
static int
keep(struct feed *f, const uint8_t *data, size_t size)
{
    size_t room = has_spooled(f) ? 0 : FEED_MEMORY_MAX - buf_size(&f->memory);
    size_t kept = size < room ? size : room;
    return buf_append(&f->memory, data, kept) < 0 || spool(f, data + kept, size - kept) < 0 ? -1
                                                                                            : 0;
}

int
feed_push(struct feed *f, const uint8_t *data, size_t size)
{
    if (f->watch.fd < 0)
        return -EPIPE;
    if (keep(f, data, size) < 0)
        return -ENOSPC;
    pump(f);
    return 0;
}

void
feed_finish(struct feed *f)
{
    f->ended = true;
    pump(f);
}

static bool
on_data(void *user, const uint8_t *data, size_t size)
{
    struct feed *f = user;
    f->input(f->user);
    if (f->watch.fd < 0)
        return false;
    f->in_source = true;
    bool full = keep(f, data, size) < 0;
    f->ended = full; // the disk is: the process gets what there is, the client is told to stop
    pump(f);
    f->in_source = false;
    if (full)
        f->source = NULL;
    return !full && f->watch.fd >= 0;
}

static void
on_end(void *user)
{
    struct feed *f = user;
    f->source = NULL;
    f->ended = true;
    pump(f);
}

static void
on_error(void *user, const json_t *error)
{
    (void)error; // a process knows no other end of its input
    on_end(user);
}

static const struct instream_events feed_events = {
    .data = on_data,
    .end = on_end,
    .error = on_error,
    .gone = on_end,
};

struct feed *
feed_new(struct loop *loop, int fd, void (*input)(void *user), void *user)
{
    struct feed *f = xcalloc(1, sizeof *f);
    f->loop = loop;
    f->watch = (struct loop_watch){.fd = fd, .ready = pipe_ready, .user = f};
    f->spool = -1;
    f->input = input;
    f->user = user;
    buf_init(&f->memory, FEED_MEMORY_MAX);
    if (loop_watch_add(loop, &f->watch, 0) < 0) {
        (void)close(fd);
        free(f);
        return NULL;
    }
    return f;
}

void
feed_connect(struct feed *f, struct instream *source)
{
    f->source = source;
    if (!instream_take(source, &feed_events, f))
        f->source = NULL;
}

void
feed_free(struct feed *f)
{
    if (f == NULL)
        return;
    drop_source(f);
    close_pipe(f);
    free(f);
}
