// SPDX-License-Identifier: Apache-2.0
// What the daemon says before the first client comes, and the files in /etc that differ from
// sandbox to sandbox.
#pragma once

#include "init/env.h"
#include "wire/frame.h"

#define SETUP_BUNDLE_PATH "/etc/ssl/certs/ca-certificates.crt"
#define SETUP_CA_PATH     "/etc/casemate/ca.pem"

enum {
    SETUP_BUNDLE_MAX = 8 * 1024 * 1024, // PEM; Debian's is 200 kB
    SETUP_CA_MAX = 64 * 1024,
};

struct setup {
    struct env *env;
    bool done;
    struct buf bundle;
    struct buf ca;
};

void setup_init(struct setup *s, struct env *env);
// A frame of channel 0. 0, or -1 for one that is not in place. Sets *ret_done once all is prepared;
// ends the process when the sandbox cannot be prepared. After that, set-up frames change nothing.
int setup_frame(void *setup, const struct frame *f, bool *ret_done);
