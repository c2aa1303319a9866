// SPDX-License-Identifier: Apache-2.0
// A stream is cut where the host likes, so a value may come in parts. Holding every possible
// beginning of a value back would answer guesses: a host that echoes lets the sandbox send "a",
// "b", ... and see which one is delayed. So bytes are held only once HOLD_MIN of a value have come,
// more than can be guessed; shorter beginnings go out at once but are remembered, and when the rest
// follows, the rest is replaced. A value thus never passes whole, and no delay tells of fewer than
// HOLD_MIN right characters.
//
// work holds [ sent: bytes that went out, a beginning shorter than HOLD_MIN, or
//              of a longer one the part that was out before it grew ][ held ]
// and new bytes are joined to it only while it is not empty; otherwise they are looked at where
// they lie.
#include "egress/redact.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <string.h>

enum {
    HOLD_MIN = 16,
    WORK_MAX = 2 * PATTERN_FORM_MAX + 1024 * 1024,
    OUT_MAX = 4 * 1024 * 1024, // placeholders may be longer than values
};

struct redact {
    const struct patterns *patterns;
    uint64_t secrets; // of this host
    bool keeps_length;
    bool equal_length; // what replaces a value is cut or filled up to its length
    uint64_t replaced;
    struct buf work;
    size_t sent; // of work, bytes that went out already
    struct buf out;
};

struct redact *
redact_new(const struct policy *policy, const struct patterns *patterns, const char *host,
           size_t host_size, uint16_t port)
{
    struct redact *r = xcalloc(1, sizeof *r);
    r->patterns = patterns;
    r->keeps_length = true;
    for (size_t i = 0; i < patterns_count(patterns); i++) {
        const struct pattern *p = patterns_at(patterns, i);
        const struct policy_secret *s = policy_secret_at(policy, p->number);
        if (!policy_secret_applies(s, host, host_size, port))
            continue;
        r->secrets |= pattern_bit(p);
        r->keeps_length = r->keeps_length && p->size == p->replacement_size;
    }
    buf_init_secret(&r->work, WORK_MAX);
    buf_init_secret(&r->out, OUT_MAX);
    return r;
}

void
redact_free(struct redact *r)
{
    if (r == NULL)
        return;
    buf_done(&r->work);
    buf_done(&r->out);
    free(r);
}

bool
redact_is_active(const struct redact *r)
{
    return r->secrets != 0;
}

bool
redact_keeps_length(const struct redact *r)
{
    return r->keeps_length;
}

void
redact_keep_length(struct redact *r)
{
    r->equal_length = true;
}

uint64_t
redact_count(const struct redact *r)
{
    return r->replaced;
}

void
redact_reset(struct redact *r)
{
    buf_clear(&r->work);
    r->sent = 0;
}

// How many bytes at the end of text (from on) are the beginning of a value.
static size_t
beginning_at_end(const struct redact *r, const char *text, size_t size, size_t from)
{
    size_t longest = 0;
    for (size_t i = 0; i < patterns_count(r->patterns); i++) {
        const struct pattern *p = patterns_at(r->patterns, i);
        if ((pattern_bit(p) & r->secrets) == 0)
            continue;
        size_t most = size - from < p->size - 1 ? size - from : p->size - 1;
        for (size_t n = most; n > longest; n--) {
            if (text[size - n] == p->text[0] && memcmp(text + size - n, p->text, n) == 0) {
                longest = n;
                break;
            }
        }
    }
    return longest;
}

// Appends what replaces a match of which already bytes are out.
static int
append_replacement(struct redact *r, const struct pattern *p, size_t already)
{
    r->replaced++;
    size_t size = p->replacement_size;
    if (r->equal_length && size > p->size)
        size = p->size;
    size_t fill = r->equal_length ? p->size - size : 0;
    if (size + fill != p->size)
        already = 0;
    size_t from = already < size ? already : size;
    if (buf_append(&r->out, p->replacement + from, size - from) != 0)
        return -1;
    for (size_t i = already > size ? already - size : 0; i < fill; i++)
        if (buf_append(&r->out, "*", 1) != 0)
            return -1;
    return 0;
}

// Looks at text, whose first bytes (pos) are out already. *ret gets what goes out now, *ret_keep
// how many bytes at the end of text must be kept, *ret_sent how many of these are out.
static int
look(struct redact *r, const char *text, size_t size, size_t pos, bool final, struct h1_span *ret,
     size_t *ret_keep, size_t *ret_sent)
{
    size_t from = 0;
    size_t at;
    const struct pattern *p;
    bool changed = false;
    buf_clear(&r->out);
    while ((p = patterns_find(r->patterns, r->secrets, text, size, from, &at)) != NULL) {
        if (at > pos && buf_append(&r->out, text + pos, at - pos) != 0)
            return -1;
        if (append_replacement(r, p, at < pos ? pos - at : 0) != 0)
            return -1;
        changed = true;
        pos = from = at + p->size;
    }
    size_t kept = final ? 0 : beginning_at_end(r, text, size, from);
    size_t stop = kept >= HOLD_MIN ? size - kept : size;
    if (stop < pos)
        stop = pos;
    *ret_keep = kept;
    *ret_sent = stop - (size - kept);
    *ret = (struct h1_span){text + pos, stop - pos};
    if (!changed)
        return 0;
    if (buf_append(&r->out, text + pos, stop - pos) != 0)
        return -1;
    *ret = (struct h1_span){(const char *)buf_bytes(&r->out), buf_size(&r->out)};
    return 0;
}

int
redact_feed(struct redact *r, const uint8_t *data, size_t size, bool final, struct h1_span *ret)
{
    size_t keep;
    size_t sent;
    if (buf_size(&r->work) == 0) {
        if (look(r, (const char *)data, size, 0, final, ret, &keep, &sent) != 0 ||
            buf_append(&r->work, data + size - keep, keep) != 0)
            return -1;
        r->sent = sent;
        return 0;
    }
    if (buf_append(&r->work, data, size) != 0)
        return -1;
    const char *text = (const char *)buf_bytes(&r->work);
    size_t text_size = buf_size(&r->work);
    if (look(r, text, text_size, r->sent, final, ret, &keep, &sent) != 0)
        return -1;
    // The result must outlive the bytes that it points to.
    if (ret->data != (const char *)buf_bytes(&r->out)) {
        if (buf_append(&r->out, ret->data, ret->size) != 0)
            return -1;
        ret->data = (const char *)buf_bytes(&r->out);
    }
    buf_consume(&r->work, text_size - keep);
    r->sent = sent;
    return 0;
}

int
redact_text(struct redact *r, struct h1_span text, struct buf *out)
{
    struct h1_span clean;
    redact_reset(r);
    if (redact_feed(r, (const uint8_t *)text.data, text.size, true, &clean) != 0)
        return -1;
    return buf_append(out, clean.data, clean.size);
}
