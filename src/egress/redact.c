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

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <string.h>

enum {
    HOLD_MIN = 16,
    VALUE_MIN = 8, // shorter ones would be found in ordinary text
    WORK_MAX = 2 * POLICY_VALUE_MAX + 1024 * 1024,
    OUT_MAX = 4 * 1024 * 1024, // placeholders may be longer than values
};

struct pattern {
    const char *value;
    size_t size;
    const char *replacement;
    size_t replacement_size;
    size_t next; // where it stands next in the text that is being looked at, SIZE_MAX: nowhere
};

// Forms of one secret: as it is, and as it reads within base64 at each of the three alignments. In
// the latter only the characters that depend on nothing but the value are looked for.
enum { BASE64_ALIGNMENTS = 3, FORMS = 1 + BASE64_ALIGNMENTS };

struct redact {
    size_t count;
    struct pattern patterns[POLICY_SECRETS_MAX * FORMS];
    struct buf forms; // secret: the bytes of derived patterns
    bool keeps_length;
    uint64_t replaced;
    struct buf work;
    size_t sent; // of work, bytes that went out already
    struct buf out;
};

static void
add_pattern(struct redact *r, const char *value, size_t size, const char *replacement,
            size_t replacement_size)
{
    r->keeps_length = r->keeps_length && size == replacement_size;
    r->patterns[r->count++] = (struct pattern){
        .value = value,
        .size = size,
        .replacement = replacement,
        .replacement_size = replacement_size,
    };
}

// What text becomes within base64 when shift bytes (0 to 2) stand before it, less the characters
// that it shares with its neighbours. forms has room.
static struct h1_span
derive_base64(struct redact *r, const char *text, size_t size, size_t shift)
{
    static const uint8_t nothing[BASE64_ALIGNMENTS] = {0};
    cleanup_buf struct buf plain;
    buf_init_secret(&plain, size + shift);
    (void)buf_append(&plain, nothing, shift);
    (void)buf_append(&plain, text, size);
    char *out = (char *)buf_reserve(&r->forms, base64_encoded_size(size + shift));
    base64_encode(out, buf_bytes(&plain), size + shift);
    buf_commit(&r->forms, base64_encoded_size(size + shift));
    size_t from = (shift * 8 + 5) / 6;
    size_t to = (size + shift) * 8 / 6;
    return (struct h1_span){out + from, to - from};
}

static size_t
forms_size(const struct policy_secret *s)
{
    size_t size =
        base64_encoded_size(s->value_size + 2) + base64_encoded_size(s->placeholder_size + 2);
    return size * BASE64_ALIGNMENTS;
}

static void
add_secret(struct redact *r, const struct policy_secret *s)
{
    add_pattern(r, s->value, s->value_size, s->placeholder, s->placeholder_size);
    for (size_t shift = 0; shift < BASE64_ALIGNMENTS; shift++) {
        struct h1_span value = derive_base64(r, s->value, s->value_size, shift);
        struct h1_span replacement = derive_base64(r, s->placeholder, s->placeholder_size, shift);
        add_pattern(r, value.data, value.size, replacement.data, replacement.size);
    }
}

struct redact *
redact_new(const struct policy *policy, const char *host, size_t host_size, uint16_t port)
{
    struct redact *r = xcalloc(1, sizeof *r);
    const struct policy_secret *chosen[POLICY_SECRETS_MAX];
    size_t count = 0;
    size_t size = 0;
    for (size_t i = 0; i < policy_secret_count(policy); i++) {
        const struct policy_secret *s = policy_secret_at(policy, i);
        if (s->value_size < VALUE_MIN || !policy_secret_applies(s, host, host_size, port))
            continue;
        chosen[count++] = s;
        size += forms_size(s);
    }
    buf_init_secret(&r->work, WORK_MAX);
    buf_init_secret(&r->out, OUT_MAX);
    buf_init_secret(&r->forms, size);
    // Patterns point into forms: all of its room is taken at once, so that it never moves.
    if (size > 0 && buf_reserve(&r->forms, size) == NULL)
        abort();
    r->keeps_length = true;
    for (size_t i = 0; i < count; i++)
        add_secret(r, chosen[i]);
    return r;
}

void
redact_free(struct redact *r)
{
    if (r == NULL)
        return;
    buf_done(&r->work);
    buf_done(&r->out);
    buf_done(&r->forms);
    free(r);
}

bool
redact_is_active(const struct redact *r)
{
    return r->count > 0;
}

bool
redact_keeps_length(const struct redact *r)
{
    return r->keeps_length;
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

static size_t
find(const struct pattern *p, const char *text, size_t size, size_t from)
{
    const char *hit = from < size ? memmem(text + from, size - from, p->value, p->size) : NULL;
    return hit == NULL ? SIZE_MAX : (size_t)(hit - text);
}

// The first value that stands at or after from; of two in one place the longer. NULL: none.
static struct pattern *
first_match(struct redact *r, const char *text, size_t size, size_t from)
{
    struct pattern *first = NULL;
    for (size_t i = 0; i < r->count; i++) {
        struct pattern *p = &r->patterns[i];
        if (p->next != SIZE_MAX && p->next < from)
            p->next = find(p, text, size, from);
        if (p->next == SIZE_MAX)
            continue;
        if (first == NULL || p->next < first->next ||
            (p->next == first->next && p->size > first->size))
            first = p;
    }
    return first;
}

// How many bytes at the end of text (from on) are the beginning of a value.
static size_t
beginning_at_end(const struct redact *r, const char *text, size_t size, size_t from)
{
    size_t longest = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct pattern *p = &r->patterns[i];
        size_t most = size - from < p->size - 1 ? size - from : p->size - 1;
        for (size_t n = most; n > longest; n--) {
            if (text[size - n] == p->value[0] && memcmp(text + size - n, p->value, n) == 0) {
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
    if (p->size != p->replacement_size)
        already = 0;
    return buf_append(&r->out, p->replacement + already, p->replacement_size - already);
}

// Looks at text, whose first bytes (pos) are out already. *ret gets what goes out now, *ret_keep
// how many bytes at the end of text must be kept, *ret_sent how many of these are out.
static int
look(struct redact *r, const char *text, size_t size, size_t pos, bool final, struct h1_span *ret,
     size_t *ret_keep, size_t *ret_sent)
{
    size_t from = 0;
    struct pattern *p;
    bool changed = false;
    buf_clear(&r->out);
    for (size_t i = 0; i < r->count; i++)
        r->patterns[i].next = find(&r->patterns[i], text, size, 0);
    while ((p = first_match(r, text, size, from)) != NULL) {
        size_t at = p->next;
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
