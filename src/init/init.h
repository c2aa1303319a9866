// SPDX-License-Identifier: Apache-2.0
// PID 1 of a sandbox. It is started with the descriptors of wire/control.h and runs until the
// launcher is gone; what it must not trust is everything it sees, and what must not trust it is
// everything outside.
#pragma once

int init_main(void); // exit status
