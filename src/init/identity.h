// SPDX-License-Identifier: Apache-2.0
// Who casemate-init is while it does something for a client: root of the user namespace for its own
// work, the user app for all that the client could do itself.
#pragma once

#include <limits.h>
#include <stdbool.h>

enum { APP_UID = 1000, APP_GID = 1000, APP_GROUPS_MAX = 64 };

#define APP_HOME "/home/app"

// Reads the groups of app from /etc/group and takes them on; they only count where the user is app.
void identity_init(void);

struct as_app {
    bool active;
};

struct as_app as_app_begin(void);
void as_app_end(struct as_app *a);
// Acts as app, without capabilities, to the end of the scope. Ends the process if the kernel
// refuses to switch either way: nothing may go on as the wrong user.
#define AS_APP_SCOPE()                                                                             \
    struct as_app as_app_ __attribute__((cleanup(as_app_end), unused)) = as_app_begin()

// For good, in a child after fork.
void identity_become_app(void);

// A client's path, made absolute beneath app's home. "" stays: it names nothing.
struct app_path {
    char text[PATH_MAX + sizeof APP_HOME + 1];
};
// 0 or -ENAMETOOLONG.
int app_path_set(struct app_path *ret, const char *path);
