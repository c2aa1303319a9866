// SPDX-License-Identifier: Apache-2.0
#include "net/stream.h"

void
stream_set_user(struct stream *s, const struct stream_events *events, void *user)
{
    s->events = events;
    s->user = user;
}

void
stream_read_start(struct stream *s)
{
    s->ops->read_start(s);
}

void
stream_read_stop(struct stream *s)
{
    s->ops->read_stop(s);
}

int
stream_write(struct stream *s, const void *data, size_t size)
{
    return s->ops->write(s, data, size);
}

size_t
stream_queued(const struct stream *s)
{
    return s->ops->queued(s);
}

bool
stream_is_quiet(const struct stream *s)
{
    return s->ops->is_quiet(s);
}

void
stream_shutdown(struct stream *s)
{
    s->ops->shutdown(s);
}

void
stream_close(struct stream *s)
{
    s->ops->close(s);
}
