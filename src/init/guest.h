// SPDX-License-Identifier: Apache-2.0
// What the methods work on: the parts of the sandbox that all clients share.
#pragma once

struct guest {
    struct loop *loop;
    struct env *env;
    struct processes *processes;
    struct fetches *fetches;
    struct deno *deno;
};
