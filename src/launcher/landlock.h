// SPDX-License-Identifier: Apache-2.0
// Landlock (landlock(7)): every file right is handled and granted for everything beneath the root,
// so that no file access changes. What it takes away for good is every change of the mount tree.
#pragma once

#include "base/error.h"

// The kernel's ABI version, at least 2 (renames between folders must stay possible), or -1.
int landlock_probe(struct error *err);
int landlock_restrict_self(int abi, struct error *err);
