// SPDX-License-Identifier: Apache-2.0
// A response cut anywhere is redacted as the same response in one piece, but for what of a value
// came before a cut; and a value never comes out. The first bytes say where to cut; of the others
// those above 0x80 stand for forms of the value, whole or begun.
#include "mask/redact.h"
#include "mask/match.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

#define VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2" // as long as its placeholder

enum { CUTS = 8, TEXT_MAX = 64 * 1024, BEGUN = 0xc0, WHOLE = 0x80 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct policy *policy;
static struct patterns *patterns;
static struct redact *redact;

static void
set_up(void)
{
    struct error err = {0};
    json_t *secrets = json_pack("{s:{s:[s],s:s}}", "KEY", "hosts", "api.test", "value", VALUE);
    if (secrets == NULL || policy_from_json(NULL, secrets, &policy, &err) != 0 ||
        patterns_new(policy, &patterns, &err) != 0)
        abort();
    json_decref(secrets);
    redact = redact_new(policy, patterns, "api.test", strlen("api.test"));
    if (!redact_keeps_length(redact))
        abort();
}

static void
expand(const uint8_t *data, size_t size, struct buf *out)
{
    for (size_t i = 0; i < size; i++) {
        const struct pattern *p = patterns_at(patterns, data[i] % patterns_count(patterns));
        size_t n = p->size;
        if (data[i] >= BEGUN && i + 1 < size)
            n = data[++i] % (p->size + 1);
        if (data[i] < WHOLE && n == p->size)
            (void)buf_append(out, &data[i], 1);
        else
            (void)buf_append(out, p->text, n);
    }
}

static void
feed(const uint8_t *data, size_t size, bool final, struct buf *out)
{
    struct h1_span clean;
    if (redact_feed(redact, data, size, final, &clean) != 0 ||
        buf_append(out, clean.data, clean.size) != 0)
        abort();
}

// Where there was a value, less than its hold came out.
static void
check_beginnings(const struct buf *in, const struct buf *cut)
{
    const struct match *m = patterns_match(patterns, 1);
    const struct pattern *p;
    size_t at;
    size_t from = 0;
    while ((p = match_find(m, (const char *)buf_bytes(in), buf_size(in), from, &at)) != NULL) {
        size_t n = 0;
        while (n < p->size && buf_bytes(cut)[at + n] == (uint8_t)p->text[n])
            n++;
        // A form may have characters in common with the placeholder's.
        if (n >= p->hold &&
            memcmp(p->text + p->hold - 1, p->replacement + p->hold - 1, n - p->hold + 1) != 0)
            abort();
        from = at + p->size;
    }
}

static void
check(const struct buf *in, const struct buf *whole, const struct buf *cut)
{
    size_t at;
    if (buf_size(in) != buf_size(whole) || buf_size(in) != buf_size(cut))
        abort();
    if (match_find(patterns_match(patterns, 1), (const char *)buf_bytes(cut), buf_size(cut), 0,
                   &at) != NULL)
        abort();
    for (size_t i = 0; i < buf_size(in); i++)
        if (buf_bytes(cut)[i] != buf_bytes(whole)[i] && buf_bytes(cut)[i] != buf_bytes(in)[i])
            abort();
    check_beginnings(in, cut);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (redact == NULL)
        set_up();
    if (size < CUTS)
        return 0;
    cleanup_buf struct buf in;
    cleanup_buf struct buf whole;
    cleanup_buf struct buf cut;
    buf_init(&in, TEXT_MAX);
    buf_init(&whole, TEXT_MAX);
    buf_init(&cut, TEXT_MAX);
    expand(data + CUTS, size - CUTS, &in);
    redact_reset(redact);
    feed(buf_bytes(&in), buf_size(&in), true, &whole);
    redact_reset(redact);
    patterns_be_wary(patterns, false);
    size_t at = 0;
    for (size_t i = 0; at < buf_size(&in); i++) {
        size_t n = 1 + (size_t)data[i % CUTS] * (i % 3 == 2 ? 16 : 1);
        if (n > buf_size(&in) - at)
            n = buf_size(&in) - at;
        redact_expect_more(redact, data[i % CUTS] % 4 == 3);
        feed(buf_bytes(&in) + at, n, false, &cut);
        at += n;
    }
    feed(NULL, 0, true, &cut);
    check(&in, &whole, &cut);
    return 0;
}
