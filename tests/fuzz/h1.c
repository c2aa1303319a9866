// SPDX-License-Identifier: Apache-2.0
// A head lies within its bytes and reads alike whether more follow or not; a body's content and end
// do not depend on how its bytes are cut.
#include "http/h1.h"
#include "base/cleanup.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum h1_status status;
    size_t used;
    size_t content;
    uint32_t sum; // of the content and the trailers
};

// All that was kept is fields, or the body is not one.
static uint32_t
sum_trailers(const struct buf *trailers, bool complete)
{
    struct h1_field f;
    size_t at = 0;
    uint32_t sum = 0;
    while (h1_next_trailer(trailers, &at, &f)) {
        if (f.name.size == 0 || memchr(f.value.data, '\r', f.value.size) != NULL)
            abort();
        for (size_t i = 0; i < f.value.size; i++)
            sum = sum * 31 + (uint8_t)f.value.data[i];
    }
    if (complete && at != buf_size(trailers))
        abort();
    return sum;
}

static struct outcome
feed(const struct h1_head *head, const uint8_t *data, size_t size, size_t piece)
{
    struct outcome o = {.status = H1_MORE};
    struct h1_body b;
    cleanup_buf struct buf trailers;
    buf_init(&trailers, H1_TRAILER_MAX);
    h1_body_init(&b, head);
    b.trailers = &trailers;
    while (o.status == H1_MORE && o.used < size) {
        size_t n = size - o.used < piece ? size - o.used : piece;
        size_t used;
        struct h1_span content;
        o.status = h1_body_feed(&b, data + o.used, n, &used, &content);
        if (used > n || (o.status == H1_MORE && used == 0))
            abort();
        for (size_t i = 0; i < content.size; i++)
            o.sum = o.sum * 31 + (uint8_t)content.data[i];
        o.content += content.size;
        o.used += used;
    }
    o.sum ^= sum_trailers(&trailers, o.status == H1_OK);
    return o;
}

static void
check_spans(const struct h1_head *h, const uint8_t *data, size_t size)
{
    const char *low = (const char *)data;
    for (size_t i = 0; i < h->field_count; i++) {
        const struct h1_field *f = &h->fields[i];
        if (f->name.data < low || f->value.data + f->value.size > low + size || f->name.size == 0)
            abort();
    }
}

static void
check_body(const struct h1_head *h, const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    struct outcome whole = feed(h, data, size, size);
    struct outcome bytes = feed(h, data, size, 1);
    if (whole.status != bytes.status)
        abort();
    if (whole.status != H1_BAD &&
        (whole.used != bytes.used || whole.content != bytes.content || whole.sum != bytes.sum))
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct h1_span get = {"GET", 3};
    struct h1_head h;
    struct h1_problem problem = {0};
    size_t used;
    size_t again;
    enum h1_status r = h1_parse_request(data, size, &h, &used, &problem);
    if (r == H1_BAD && (problem.status < 400 || problem.reason == NULL))
        abort();
    if (r == H1_OK) {
        check_spans(&h, data, used);
        check_body(&h, data + used, size - used);
        if (h1_parse_request(data, used, &h, &again, &problem) != H1_OK || again != used ||
            h1_parse_request(data, used - 1, &h, &again, &problem) != H1_MORE)
            abort();
    }
    r = h1_parse_response(data, size, get, &h, &used, &problem);
    if (r == H1_OK) {
        check_spans(&h, data, used);
        check_body(&h, data + used, size - used);
    }
    const struct h1_head chunked = {.framing = H1_BODY_CHUNKED};
    check_body(&chunked, data, size);
    return 0;
}
