// SPDX-License-Identifier: Apache-2.0
#include "mask/patterns.h"

#include "mask/match.h"
#include "policy/vault.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct set {
    uint64_t secrets;
    struct match *match;
};

struct patterns {
    struct vault vaults[POLICY_SECRETS_MAX]; // of each secret, its forms
    size_t count;
    struct pattern *list;
    struct set sets[PATTERN_SETS_MAX];
    size_t set_count;
    struct match *all; // what hosts with further sets are searched with
    bool wary;
};

static_assert((int)POLICY_SECRETS_MAX <= 64, "a secret's number is a bit");

struct text {
    char *data;
    size_t size;
};

// --- the forms of one secret ---

// First written to scratch, where most turn out to be like others, then what is left to p's.
struct maker {
    struct patterns *p;
    struct vault scratch;
    size_t first; // of the secret's patterns
    size_t number;
    size_t total; // bytes of these patterns
};

static char *
take_room(struct vault *v, size_t size)
{
    if (size > v->capacity - v->used)
        abort(); // scratch_size() has counted
    char *at = v->data + v->used;
    v->used += size;
    return at;
}

// Unless there is the same already: most forms of a plain value are the value. What is too short
// by itself, though the value was not, would be found in ordinary text.
static void
add(struct maker *k, struct text text, struct text replacement, size_t hold)
{
    struct patterns *p = k->p;
    if (text.size < PATTERN_VALUE_MIN)
        return;
    for (size_t i = k->first; i < p->count; i++)
        if (p->list[i].size == text.size && memcmp(p->list[i].text, text.data, text.size) == 0)
            return;
    p->list[p->count++] = (struct pattern){.text = text.data,
                                           .size = text.size,
                                           .replacement = replacement.data,
                                           .replacement_size = replacement.size,
                                           .number = k->number,
                                           .hold = hold};
    k->total += text.size + replacement.size;
}

// Bytes of the value after which a beginning may be held; not within a character.
static size_t
hold_of(const struct policy_secret *s)
{
    size_t n = s->prefix_size + PATTERN_HOLD;
    while (n < s->value_size && ((uint8_t)s->value[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static void
add_base64(struct maker *k, const struct policy_secret *s)
{
    for (size_t i = 0; i < FORMS_BASE64; i++) {
        size_t from;
        struct text a = {take_room(&k->scratch, forms_base64_room(s->value_size)), 0};
        struct text b = {take_room(&k->scratch, forms_base64_room(s->placeholder_size)), 0};
        a.size = forms_write_base64(i, a.data, s->value, s->value_size, &from);
        a.data += from;
        b.size = forms_write_base64(i, b.data, s->placeholder, s->placeholder_size, &from);
        b.data += from;
        add(k, a, b, forms_base64_covers(i, hold_of(s)));
    }
}

static void
add_forms(struct maker *k, const struct policy_secret *s)
{
    size_t begun = hold_of(s) < s->value_size ? hold_of(s) : s->value_size;
    // The policy's own bytes, which nobody writes to.
    add(k, (struct text){(char *)(uintptr_t)s->value, s->value_size},
        (struct text){(char *)(uintptr_t)s->placeholder, s->placeholder_size}, hold_of(s));
    add_base64(k, s);
    for (size_t i = 0; i < forms_count(); i++) {
        struct text a = {take_room(&k->scratch, s->value_size * FORMS_CHARACTER_MAX), 0};
        struct text b = {take_room(&k->scratch, s->placeholder_size * FORMS_CHARACTER_MAX), 0};
        size_t hold = forms_write(i, a.data, s->value, begun);
        a.size = forms_write(i, a.data, s->value, s->value_size);
        b.size = forms_write_sized(i, b.data, s->placeholder, s->placeholder_size, a.size);
        add(k, a, b, hold);
    }
}

static size_t
scratch_size(const struct policy_secret *s)
{
    size_t base64 = forms_base64_room(s->value_size) + forms_base64_room(s->placeholder_size);
    size_t others = FORMS_CHARACTER_MAX * (s->value_size + s->placeholder_size);
    return FORMS_BASE64 * base64 + forms_count() * others;
}

static void
keep(struct vault *v, const char **text, size_t size)
{
    char *copy = take_room(v, size);
    memcpy(copy, *text, size);
    *text = copy;
}

static int
add_secret(struct patterns *p, size_t number, const struct policy_secret *s, struct error *err)
{
    struct maker k = {.p = p, .first = p->count, .number = number};
    struct vault *v = &p->vaults[number];
    if (vault_init(&k.scratch, scratch_size(s), err) != 0)
        return -1;
    add_forms(&k, s);
    int rc = vault_init(v, k.total + 1, err);
    for (size_t i = k.first; rc == 0 && i < p->count; i++) {
        keep(v, &p->list[i].text, p->list[i].size);
        keep(v, &p->list[i].replacement, p->list[i].replacement_size);
    }
    vault_done(&k.scratch);
    return rc;
}

// --- all of them ---

int
patterns_new(const struct policy *policy, struct patterns **ret, struct error *err)
{
    struct patterns *p = xcalloc(1, sizeof *p);
    size_t count = policy_secret_count(policy);
    p->list = xcalloc(count * (1 + FORMS_BASE64 + forms_count()) + 1, sizeof *p->list);
    for (size_t i = 0; i < count; i++) {
        const struct policy_secret *s = policy_secret_at(policy, i);
        if (s->value_size >= PATTERN_VALUE_MIN && s->redact && add_secret(p, i, s, err) != 0) {
            patterns_free(p);
            return -1;
        }
    }
    if (p->count > 0 && match_new(p->list, p->count, &p->all, err) != 0) {
        patterns_free(p);
        return -1;
    }
    *ret = p;
    return 0;
}

void
patterns_free(struct patterns *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->set_count; i++)
        match_free(p->sets[i].match);
    match_free(p->all);
    for (size_t i = 0; i < POLICY_SECRETS_MAX; i++)
        vault_done(&p->vaults[i]);
    free(p->list);
    free(p);
}

size_t
patterns_count(const struct patterns *p)
{
    return p->count;
}

const struct pattern *
patterns_at(const struct patterns *p, size_t i)
{
    return &p->list[i];
}

void
patterns_be_wary(struct patterns *p, bool wary)
{
    p->wary = wary;
}

bool
patterns_are_wary(const struct patterns *p)
{
    return p->wary;
}

// --- those of a host ---

static struct match *
make_match(const struct patterns *p, uint64_t secrets)
{
    struct match *m = NULL;
    size_t count = 0;
    struct pattern *list = xcalloc(p->count, sizeof *list);
    for (size_t i = 0; i < p->count; i++)
        if ((secrets >> p->list[i].number & 1) != 0)
            list[count++] = p->list[i];
    struct error err = {0};
    if (match_new(list, count, &m, &err) != 0)
        m = NULL; // no memory to lock: all are looked for instead
    free(list);
    return m;
}

const struct match *
patterns_match(struct patterns *p, uint64_t secrets)
{
    uint64_t known = 0;
    for (size_t i = 0; i < p->count; i++)
        known |= UINT64_C(1) << p->list[i].number;
    if ((secrets & known) == 0)
        return NULL;
    secrets &= known;
    if (secrets == known)
        return p->all;
    for (size_t i = 0; i < p->set_count; i++)
        if (p->sets[i].secrets == secrets)
            return p->sets[i].match;
    struct match *m = p->set_count < PATTERN_SETS_MAX ? make_match(p, secrets) : NULL;
    if (m == NULL)
        return p->all;
    p->sets[p->set_count++] = (struct set){.secrets = secrets, .match = m};
    return m;
}
