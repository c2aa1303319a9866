// SPDX-License-Identifier: Apache-2.0
#include "init/init.h"

int
main(void)
{
    return init_main();
}
