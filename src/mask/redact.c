// SPDX-License-Identifier: Apache-2.0
// A stream is cut where the host likes, so a value may come in parts. Holding every possible
// beginning of a value back would answer guesses: a host that echoes lets the sandbox send "a",
// "b", ... and see which one is delayed. So bytes are held only once the value's public prefix and
// PATTERN_HOLD characters more have come, in whatever form (pattern.hold counts the form's own
// characters): more than can be guessed. Shorter beginnings go out at once but are remembered, and
// when the rest follows, the rest is replaced.
//
// That alone would not do: who has the host cut its answer inside the value gets to know what came
// before the cut, has that echoed with one guess more, sees whether it is held, and so on to the
// value's end. Therefore, where it is sure that more follows (redact_expect_more), the end of a
// block is held whatever it is; and once a beginning was held that did not become a value, which
// nobody but a guesser brings about, that is done everywhere in the sandbox. So the delays tell of
// one guess, and then no more. Streams of such a sandbox are late by the length of the longest
// form.
//
// Hence, exactly:
// - What lies whole within one block (what was read from the host at once), or within a chunk or a
//   body of known length, never comes out.
// - Of what is cut between blocks never more comes out than what came before the cut, and of that
//   at most hold - 1 bytes: the public prefix and 15 characters. The rest is the placeholder's.
//   To hold less back would be impossible, to hold more back would be the oracle.
// - Values of no more than prefix + 16 characters are thus never held; the part of them before a
//   cut goes out.
// - What is delayed, or changed in size, tells of prefix + 16 right characters at least, and does
//   so once; any replacement of a whole value.
//
// work holds [ sent: bytes that went out, a beginning shorter than its hold, or
//              of a longer one the part that was out before it grew ][ held ]
// New bytes are joined to it only as far as a value that began there can reach; when none did, and
// nothing is held, they are looked at where they lie.
#include "mask/redact.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "mask/match.h"

#include <string.h>

enum {
    WORK_MAX = 2 * PATTERN_FORM_MAX + 1024 * 1024,
    OUT_MAX = 4 * 1024 * 1024, // placeholders may be longer than values
};

struct redact {
    const struct match *match; // NULL: nothing to look for
    struct patterns *patterns;
    bool more;       // surely follows
    bool guessed;    // a beginning is held because of what it is
    size_t guess_at; // in work
    bool keeps_length;
    bool equal_length; // what replaces a value is cut or filled up to its length
    uint64_t replaced;
    uint64_t counts[POLICY_SECRETS_MAX]; // likewise, of each, since it was asked
    struct buf work;
    size_t sent; // of work, bytes that went out already
    struct buf out;
};

struct redact *
redact_new(const struct policy *policy, struct patterns *patterns, const char *host,
           size_t host_size)
{
    struct redact *r = xcalloc(1, sizeof *r);
    uint64_t secrets = 0;
    for (size_t i = 0; i < policy_secret_count(policy); i++)
        // Its host may show on one port what it got on another.
        if (policy_secret_applies(policy_secret_at(policy, i), host, host_size, 0))
            secrets |= UINT64_C(1) << i;
    r->match = patterns_match(patterns, secrets);
    r->patterns = patterns;
    r->keeps_length = true;
    for (size_t i = 0; r->match != NULL && i < match_count(r->match); i++) {
        const struct pattern *p = match_at(r->match, i);
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
    redact_reset(r);
    buf_done(&r->work);
    buf_done(&r->out);
    free(r);
}

bool
redact_is_active(const struct redact *r)
{
    return r->match != NULL;
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

uint64_t
redact_take_count(struct redact *r, size_t secret)
{
    uint64_t count = r->counts[secret];
    r->counts[secret] = 0;
    return count;
}

// What was held came to nothing, or its user did not wait for it to.
static void
end_guess(struct redact *r)
{
    if (r->guessed)
        patterns_be_wary(r->patterns, true);
    r->guessed = false;
}

void
redact_reset(struct redact *r)
{
    end_guess(r);
    buf_clear(&r->work);
    r->sent = 0;
}

bool
redact_holds(const struct redact *r)
{
    return r->match != NULL && buf_size(&r->work) > r->sent;
}

void
redact_expect_more(struct redact *r, bool more)
{
    r->more = more;
}

// Appends what replaces a match of which already bytes are out.
static int
append_replacement(struct redact *r, const struct pattern *p, size_t already)
{
    r->replaced++;
    r->counts[p->number]++;
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

// What of the text's end must be kept, and held.
static struct match_tail
find_tail(struct redact *r, const char *text, size_t size, size_t from, bool final)
{
    struct match_tail tail = {0};
    size_t all = match_longest(r->match) - 1;
    all = size - from < all ? size - from : all;
    if (final)
        return tail;
    if (r->more || patterns_are_wary(r->patterns))
        return (struct match_tail){.begun = all, .held = all};
    return match_tail(r->match, text, size, from);
}

// Is the guess answered by a match, or does it still go on?
static void
follow_guess(struct redact *r, size_t size, size_t matched, const struct match_tail *tail)
{
    bool goes_on = tail->held > 0 && size - tail->held <= r->guess_at;
    if (matched > r->guess_at || goes_on)
        r->guessed = false;
    end_guess(r);
    r->guessed = tail->held > 0 && !r->more && !patterns_are_wary(r->patterns);
    r->guess_at = tail->begun - tail->held;
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
    struct match_tail tail;
    buf_clear(&r->out);
    while ((p = match_find(r->match, text, size, from, &at)) != NULL) {
        if (at > pos && buf_append(&r->out, text + pos, at - pos) != 0)
            return -1;
        if (append_replacement(r, p, at < pos ? pos - at : 0) != 0)
            return -1;
        pos = from = at + p->size;
    }
    tail = find_tail(r, text, size, from, final);
    follow_guess(r, size, from, &tail);
    size_t stop = size - tail.held;
    if (stop < pos)
        stop = pos;
    *ret_keep = tail.begun;
    *ret_sent = stop - (size - tail.begun);
    *ret = (struct h1_span){text + pos, stop - pos};
    if (from == 0)
        return 0;
    if (buf_append(&r->out, text + pos, stop - pos) != 0)
        return -1;
    *ret = (struct h1_span){(const char *)buf_bytes(&r->out), buf_size(&r->out)};
    return 0;
}

static int
feed_in_place(struct redact *r, const uint8_t *data, size_t size, bool final, struct h1_span *ret)
{
    size_t keep;
    size_t sent;
    if (look(r, (const char *)data, size, 0, final, ret, &keep, &sent) != 0 ||
        buf_append(&r->work, data + size - keep, keep) != 0)
        return -1;
    r->sent = sent;
    return 0;
}

static int
feed_joined(struct redact *r, const uint8_t *data, size_t size, bool final, struct h1_span *ret)
{
    size_t keep;
    size_t sent;
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

// Whether, with so many new bytes, it has become clear that no value begins in what is remembered.
static bool
came_to_nothing(struct redact *r, const uint8_t *data, size_t size)
{
    size_t remembered = buf_size(&r->work);
    size_t reach = match_longest(r->match) - 1;
    size_t at;
    if (r->guessed || size < reach || buf_append(&r->work, data, reach) != 0)
        return false;
    const char *text = (const char *)buf_bytes(&r->work);
    bool found = match_find(r->match, text, remembered + reach, 0, &at) != NULL && at < remembered;
    // feed_joined appends all.
    explicit_bzero(buf_bytes(&r->work) + remembered, reach);
    r->work.tail -= reach;
    return !found;
}

struct h1_span
redact_release(struct redact *r, const uint8_t *data, size_t size)
{
    struct h1_span none = {0};
    if (r->match == NULL || buf_size(&r->work) == r->sent || !came_to_nothing(r, data, size))
        return none;
    buf_clear(&r->out);
    if (buf_append(&r->out, buf_bytes(&r->work) + r->sent, buf_size(&r->work) - r->sent) != 0)
        return none;
    redact_reset(r);
    return (struct h1_span){(const char *)buf_bytes(&r->out), buf_size(&r->out)};
}

int
redact_feed(struct redact *r, const uint8_t *data, size_t size, bool final, struct h1_span *ret)
{
    static const uint8_t nothing[1];
    if (size == 0)
        data = nothing; // for sums with pointers that may be NULL
    if (r->match == NULL) {
        *ret = (struct h1_span){(const char *)data, size};
        return 0;
    }
    if (r->sent == buf_size(&r->work) && r->sent > 0 && came_to_nothing(r, data, size))
        redact_reset(r);
    return buf_size(&r->work) == 0 ? feed_in_place(r, data, size, final, ret)
                                   : feed_joined(r, data, size, final, ret);
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
