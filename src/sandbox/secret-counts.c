// SPDX-License-Identifier: Apache-2.0
// What became of each secret's placeholders, by the audit events of the sandbox, for those inside
// to read (init/denials.h). Events that the worker only counted come as one with the number of
// those left out. The worker is exposed to its sandbox: a name that cannot be one, or one name too
// many, is not counted.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "wire/json-scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAMES_MAX = 64,        // secrets of one sandbox
    NAME_SIZE_MAX = 64,    // of an environment variable
    TEXT_MAX = 16 * 1024,  // of all counts
    DIGITS_MAX = 12,       // of a number of events that were left out
    QUEUE_MAX = 64 * 1024, // bytes that wait for a guest, with which it is told nothing
};

enum outcome { SWAPPED, SEEN, REFUSED, OUTCOME_MAX };

struct count {
    char name[NAME_SIZE_MAX + 1];
    uint64_t of[OUTCOME_MAX];
};

struct secret_counts {
    bool changed;
    size_t count;
    struct count names[NAMES_MAX];
};

static bool
is_text(const struct json_capture *c, const char *text)
{
    return c->kind == JSON_KIND_STRING && c->size == strlen(text) &&
           memcmp(c->text, text, c->size) == 0;
}

static bool
is_variable(const struct json_capture *c)
{
    if (c->kind != JSON_KIND_STRING || c->size == 0 || c->size > NAME_SIZE_MAX)
        return false;
    for (size_t i = 0; i < c->size; i++) {
        char b = c->text[i];
        if (!((b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') ||
              b == '_'))
            return false;
    }
    return true;
}

static struct count *
find(struct sandbox *s, const struct json_capture *name)
{
    if (s->counts == NULL)
        s->counts = xcalloc(1, sizeof *s->counts);
    struct secret_counts *c = s->counts;
    for (size_t i = 0; i < c->count; i++)
        if (is_text(name, c->names[i].name))
            return &c->names[i];
    if (c->count == NAMES_MAX)
        return NULL;
    struct count *new = &c->names[c->count++];
    memcpy(new->name, name->text, name->size);
    return new;
}

// How many an event stands for: with those of its kind that were left out before it.
static uint64_t
events_of(const struct json_capture *suppressed)
{
    uint64_t n = 0;
    if (suppressed->kind != JSON_KIND_NUMBER || suppressed->size > DIGITS_MAX)
        return 1;
    for (size_t i = 0; i < suppressed->size; i++) {
        if (suppressed->text[i] < '0' || suppressed->text[i] > '9')
            return 1;
        n = n * 10 + (uint64_t)(suppressed->text[i] - '0');
    }
    return n + 1;
}

void
secret_counts_take(struct sandbox *s, const uint8_t *event, size_t size)
{
    enum { EVENT, SECRET, REASON, SUPPRESSED };
    static const char member[] = "\"secret\":";
    if (memmem(event, size, member, sizeof member - 1) == NULL)
        return;
    struct json_scan scan;
    json_scan_init(&scan);
    json_scan_watch(&scan, NULL, "ev");
    json_scan_watch(&scan, NULL, "secret");
    json_scan_watch(&scan, NULL, "reason");
    json_scan_watch(&scan, NULL, "suppressed");
    if (!json_scan_feed(&scan, event, size) || !is_variable(json_scan_captured(&scan, SECRET)))
        return;
    const struct json_capture *kind = json_scan_captured(&scan, EVENT);
    const struct json_capture *reason = json_scan_captured(&scan, REASON);
    enum outcome outcome = OUTCOME_MAX;
    if (is_text(kind, "swap"))
        outcome = SWAPPED;
    else if (is_text(kind, "placeholder_seen") ||
             (is_text(kind, "misuse") && is_text(reason, "placeholder_seen")))
        outcome = SEEN;
    else if (is_text(kind, "misuse"))
        outcome = REFUSED;
    struct count *c = outcome < OUTCOME_MAX ? find(s, json_scan_captured(&scan, SECRET)) : NULL;
    if (c == NULL)
        return;
    c->of[outcome] += events_of(json_scan_captured(&scan, SUPPRESSED));
    s->counts->changed = true;
}

void
secret_counts_tell(struct sandbox *s)
{
    struct secret_counts *c = s->counts;
    if (c == NULL || !c->changed || s->state != SANDBOX_RUNNING || s->guest == NULL ||
        stream_queued(s->guest) > QUEUE_MAX)
        return;
    cleanup_buf struct buf text;
    buf_init(&text, TEXT_MAX);
    bool whole = buf_append_str(&text, "{") == 0;
    for (size_t i = 0; i < c->count && whole; i++)
        whole = buf_append_fmt(&text,
                               "%s\"%s\":{\"swapped\":%" PRIu64 ",\"seen\":%" PRIu64
                               ",\"refused\":%" PRIu64 "}",
                               i > 0 ? "," : "", c->names[i].name, c->names[i].of[SWAPPED],
                               c->names[i].of[SEEN], c->names[i].of[REFUSED]) == 0;
    if (!whole || buf_append_str(&text, "}\n") < 0)
        return; // cannot be: see TEXT_MAX
    c->changed = false;
    guest_send(s, &(struct frame){
                      .kind = FRAME_COUNTS, .payload = buf_bytes(&text), .size = buf_size(&text)});
}

void
secret_counts_free(struct sandbox *s)
{
    free(TAKE_PTR(s->counts));
}
