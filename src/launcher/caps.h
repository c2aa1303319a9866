// SPDX-License-Identifier: Apache-2.0
// Capabilities (capabilities(7)) of the launcher, of the sandbox and of the worker.
#pragma once

#include "base/error.h"

// Launcher, at start-up: keeps only what building and destroying take.
int caps_reduce_launcher(struct error *err);
// Puts every permitted capability into effect: after a change of the effective user from root.
int caps_raise(struct error *err);
// Sandbox, before its init is executed: reduces the bounding set to what a package manager, sudo
// and a server need inside their own namespaces, and clears the inheritable and ambient sets. The
// full set within the user namespace stays until execve(2).
int caps_bound_sandbox(struct error *err);
// Worker: nothing is left, in no set. The first while it is root still, the second after it changed
// its user.
int caps_bound_worker(struct error *err);
int caps_clear(struct error *err);
