// SPDX-License-Identifier: Apache-2.0
// Whatever a host sends as frames, in blocks of the first byte's size: what goes on is frames
// again, no message in them holds the value, and each is as long as it was. Bytes of 0xfe in the
// input stand for the value.
#include "mask/websocket.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

#define VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2"

enum { VALUE_SIZE = sizeof VALUE - 1, VALUE_MARK = 0xfe, TEXT_MAX = 16 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct policy *policy;
static struct patterns *patterns;

static void
set_up(void)
{
    struct error err = {0};
    json_t *secrets = json_pack("{s:{s:[s],s:s}}", "KEY", "hosts", "api.test", "value", VALUE);
    if (secrets == NULL || policy_from_json(NULL, secrets, &policy, &err) != 0 ||
        patterns_new(policy, &patterns, &err) != 0)
        abort();
    json_decref(secrets);
}

static bool
has_value(const void *data, size_t size)
{
    return size > 0 && memmem(data, size, VALUE, VALUE_SIZE) != NULL;
}

// Payloads of the messages, a line end behind each, in frames that are sound as far as they go.
// Returns where in messages the last whole one ends. clean: no control frame may hold the value.
static size_t
join(const struct buf *b, bool clean, struct buf *messages)
{
    const uint8_t *p = buf_bytes(b);
    size_t whole = 0;
    for (size_t at = 0, size = buf_size(b); size - at >= 2;) {
        size_t wide = p[at + 1] == 127 ? 8 : p[at + 1] == 126 ? 2 : 0;
        uint64_t length = p[at + 1];
        if (size - at < 2 + wide)
            break;
        for (size_t i = 0; i < wide; i++)
            length = (i == 0 ? 0 : length << 8) | p[at + 2 + i];
        uint8_t first = p[at];
        at += 2 + wide;
        size_t n = length < size - at ? (size_t)length : size - at;
        if ((first & 8) != 0 && clean && has_value(p + at, n))
            abort();
        if ((first & 8) == 0 && buf_append(messages, p + at, n) != 0)
            abort();
        at += n;
        if (n < length)
            break;
        if ((first & 0x88) == 0x80 && buf_append(messages, "\n", 1) == 0)
            whole = buf_size(messages);
    }
    return whole;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_buf struct buf in;
    cleanup_buf struct buf out;
    cleanup_buf struct buf sent;
    cleanup_buf struct buf got;
    buf_init(&in, TEXT_MAX);
    buf_init(&out, TEXT_MAX);
    buf_init(&sent, TEXT_MAX);
    buf_init(&got, TEXT_MAX);
    if (policy == NULL)
        set_up();
    if (size == 0)
        return 0;
    for (size_t i = 1; i < size; i++)
        (void)(data[i] == VALUE_MARK ? buf_append(&in, VALUE, VALUE_SIZE)
                                     : buf_append(&in, &data[i], 1));
    struct websocket *w = websocket_new(policy, patterns, "api.test", strlen("api.test"));
    size_t block = data[0] == 0 ? SIZE_MAX : data[0];
    bool sound = true;
    for (size_t at = 0; sound && at < buf_size(&in);) {
        size_t n = buf_size(&in) - at < block ? buf_size(&in) - at : block;
        sound = websocket_feed(w, buf_bytes(&in) + at, n, &out) == 0;
        at += n;
    }
    if (!sound && websocket_problem(w) == NULL)
        abort();
    size_t whole = join(&out, true, &got);
    if (sound && whole != join(&in, false, &sent))
        abort();
    if (has_value(buf_bytes(&got), buf_size(&got)))
        abort();
    websocket_free(w);
    return 0;
}
