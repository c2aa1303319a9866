// SPDX-License-Identifier: Apache-2.0
// Stands in for libFuzzer where it is not linked: gives each file of the corpus folders named on
// the command line to the target, whole, then every prefix of it, then with each byte changed.
#include <dirent.h>
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED_MAX = 65536, MUTATED_MAX = 2048 };

static void
try_copy(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1); // its end is the sanitizer's to watch
    if (exact == NULL)
        err(1, "malloc");
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void
try_seed(uint8_t *data, size_t size)
{
    try_copy(data, size);
    for (size_t i = 0; i < size && size <= MUTATED_MAX; i++) {
        static const uint8_t changes[] = {0x01, 0x80, 0xff};
        try_copy(data, i);
        for (size_t k = 0; k < sizeof changes; k++) {
            data[i] ^= changes[k];
            try_copy(data, size);
            data[i] ^= changes[k];
        }
    }
}

static size_t
try_folder(const char *path)
{
    static uint8_t data[SEED_MAX];
    size_t count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        err(1, "%s", path);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        char name[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        FILE *f = fopen(name, "re");
        if (f == NULL)
            err(1, "%s", name);
        try_seed(data, fread(data, 1, sizeof data, f));
        (void)fclose(f);
        count++;
    }
    (void)closedir(dir);
    return count;
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (try_folder(argv[i]) == 0)
            errx(1, "%s: no seeds", argv[i]);
    return argc > 1 ? 0 : 1;
}
