// SPDX-License-Identifier: Apache-2.0
#include "init/files/glob-window.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    // Places kept of a pass, at the top and deep down: a tree of large directories in one another
    // costs passes, not memory.
    WINDOW_BEGIN = 8192,
    WINDOW_MIN = 64,
    WINDOW_HALVED_EVERY = 2, // levels
    // A window that is too small for its directory grows up to this, as far as all windows have not
    // grown by more than that: passes over a directory of a million entries take long. Twice as
    // many places as are kept are held before they are sorted.
    WINDOW_MAX = 65536,
    WINDOWS_GROWTH_MAX = WINDOW_MAX,
};

static size_t grown; // all windows, beyond what they began with

static int
compare(const char *a, bool a_contents, const char *b, bool b_contents)
{
    const unsigned char *x = (const unsigned char *)a;
    const unsigned char *y = (const unsigned char *)b;
    while (*x != '\0' && *x == *y) {
        x++;
        y++;
    }
    int cx = *x != '\0' ? *x : a_contents ? '/' : -1;
    int cy = *y != '\0' ? *y : b_contents ? '/' : -1;
    return cx - cy;
}

int
glob_place_compare(const void *a, const void *b)
{
    const struct glob_place *x = a;
    const struct glob_place *y = b;
    return compare(x->name, x->contents, y->name, y->contents);
}

static void
place_free(struct glob_place *p)
{
    free(p->name);
    free(p->real);
    *p = (struct glob_place){0};
}

struct glob_window *
glob_window_new(size_t depth)
{
    struct glob_window *w = xcalloc(1, sizeof *w);
    size_t halvings = depth / WINDOW_HALVED_EVERY;
    w->most = halvings < 8 ? (size_t)WINDOW_BEGIN >> halvings : WINDOW_MIN;
    if (w->most < WINDOW_MIN)
        w->most = WINDOW_MIN;
    w->filling = true;
    return w;
}

void
glob_window_free(struct glob_window *w)
{
    for (size_t i = w->at; i < w->count; i++)
        place_free(&w->places[i]);
    place_free(&w->last);
    grown -= w->grown;
    free(w->places);
    free(w);
}

bool
glob_window_wants(struct glob_window *w, const char *name, bool contents)
{
    if (w->last.name != NULL && compare(name, contents, w->last.name, w->last.contents) <= 0)
        return false;
    if (!w->trimmed)
        return true;
    const struct glob_place *highest = &w->places[w->most - 1];
    bool wanted = compare(name, contents, highest->name, highest->contents) < 0;
    w->dropped = w->dropped || !wanted;
    return wanted;
}

// Keeps more of this pass. Not once it has dropped some: what is kept are the lowest.
static bool
grow(struct glob_window *w)
{
    if (w->trimmed || w->most == WINDOW_MAX || grown + w->most > WINDOWS_GROWTH_MAX)
        return false;
    grown += w->most;
    w->grown += w->most;
    w->most *= 2;
    return true;
}

static void
trim(struct glob_window *w)
{
    if (w->count > 1)
        qsort(w->places, w->count, sizeof *w->places, glob_place_compare);
    if (w->count <= w->most)
        return;
    for (size_t i = w->most; i < w->count; i++)
        place_free(&w->places[i]);
    w->count = w->most;
    w->dropped = w->trimmed = true;
}

void
glob_window_add(struct glob_window *w, const struct glob_place *p)
{
    if (w->count == w->capacity) {
        w->capacity = w->capacity == 0 ? 16 : w->capacity * 2;
        w->places = realloc(w->places, w->capacity * sizeof *w->places);
        if (w->places == NULL)
            abort();
    }
    w->places[w->count++] = *p;
    if (w->count == 2 * w->most && !grow(w))
        trim(w);
}

void
glob_window_filled(struct glob_window *w)
{
    trim(w);
    w->filling = false;
    w->at = 0;
}

struct glob_place *
glob_window_take(struct glob_window *w)
{
    if (w->at < w->count) {
        place_free(&w->last);
        w->last = w->places[w->at++];
        return &w->last;
    }
    w->filling = w->dropped;
    w->dropped = w->trimmed = false;
    w->count = w->at = 0;
    return NULL;
}
