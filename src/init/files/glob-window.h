// SPDX-License-Identifier: Apache-2.0
// The entries of a directory in the order of their paths, whatever their number, in bounded memory.
//
// In that order a directory "a" stands before "a-b", and what is in it behind that: "-" sorts
// before
// "/". So a directory has two places, its own and that of its contents, and the contents' place
// sorts as "a/". A pass over the directory keeps the lowest places above the last one taken; when
// they are used up, another pass follows, until one drops none.
#pragma once

#include "init/files/tree.h"

#include <stdint.h>

struct glob_place {
    char *name;
    char *real; // the path that a followed link leads to, or NULL
    bool contents;
    struct tree_entry kind;   // its flags
    uint64_t reached, within; // see glob.c
    dev_t dev;
    ino_t ino;
};

struct glob_window {
    size_t most;  // places kept of a pass
    size_t grown; // of them, beyond those it began with
    size_t count, at, capacity;
    struct glob_place *places; // twice as many
    bool filling;
    bool dropped;           // in this pass
    bool trimmed;           // places[most - 1] is the highest that may be kept
    struct glob_place last; // taken; name NULL: none
};

struct glob_window *glob_window_new(size_t depth);
void glob_window_free(struct glob_window *w);

// Whether the place is of any use to this pass.
bool glob_window_wants(struct glob_window *w, const char *name, bool contents);
void glob_window_add(struct glob_window *w, const struct glob_place *p); // takes name and real
void glob_window_filled(struct glob_window *w);                          // the pass is over

// The next place: valid until the next call, NULL: another pass is needed if w->filling, else all
// are taken.
struct glob_place *glob_window_take(struct glob_window *w);

int glob_place_compare(const void *a, const void *b);
