// SPDX-License-Identifier: Apache-2.0
// What redaction costs on answers that hold no value: milliseconds of processor time a megabyte,
// for the texts that APIs answer with and for those that are made of a form's characters.
//
//   bench-redact [SECRETS [VALUE_SIZE [BLOCK]]]
#include "mask/redact.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TEXT_SIZE = 64 * 1024 * 1024, ROUNDS = 5 };

struct kind {
    const char *name;
    const char *alphabet; // NULL: any byte
    const char *repeated; // instead of random characters
};

static const struct kind kinds[] = {
    {"bytes", NULL, NULL},
    {"base64", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", NULL},
    {"hex", "0123456789abcdef", NULL},
    {"json", NULL,
     "{\"id\":\"cmpl-9x8\",\"created\":1700000000,\"choices\":[{\"delta\":{\"content\":\"a \\u00e9 "
     "b\\n\"}}]}\n"},
    {"percent", NULL, "%61%62%2f%63%20%64%65"},
    {"zeros", "", NULL},
};

static double
processor_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
fill(uint8_t *text, const struct kind *k)
{
    uint32_t seed = 1;
    size_t letters = k->alphabet == NULL ? 0 : strlen(k->alphabet);
    size_t period = k->repeated == NULL ? 0 : strlen(k->repeated);
    for (size_t i = 0; i < TEXT_SIZE; i++) {
        seed = seed * 1103515245 + 12345;
        uint32_t random = seed >> 16;
        if (period > 0)
            text[i] = (uint8_t)k->repeated[i % period];
        else if (k->alphabet == NULL)
            text[i] = (uint8_t)random;
        else
            text[i] = letters == 0 ? 0 : (uint8_t)k->alphabet[random % letters];
    }
}

static struct policy *
make_policy(unsigned secrets, size_t value_size)
{
    static const char letters[] = "4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2";
    struct error why = {0};
    struct policy *policy;
    char value[POLICY_VALUE_MAX + 1];
    json_t *object = json_object();
    for (unsigned i = 0; i < secrets; i++) {
        char name[16];
        for (size_t k = 0; k < value_size; k++)
            value[k] = letters[(k * (i + 1) + i) % (sizeof letters - 1)];
        value[value_size - 2] = (char)('0' + i / 10); // no two are the same
        value[value_size - 1] = (char)('0' + i % 10);
        value[value_size] = '\0';
        (void)snprintf(name, sizeof name, "KEY_%u", i);
        json_object_set_new(object, name,
                            json_pack("{s:[s],s:s}", "hosts", "api.test", "value", value));
    }
    if (policy_from_json(NULL, object, &policy, &why) != 0)
        errx(1, "%s", why.msg);
    json_decref(object);
    return policy;
}

static double
measure(struct redact *r, const uint8_t *text, size_t block)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = processor_seconds();
        redact_reset(r);
        for (size_t at = 0; at < TEXT_SIZE; at += block) {
            struct h1_span clean;
            size_t size = TEXT_SIZE - at < block ? TEXT_SIZE - at : block;
            redact_expect_more(r, true); // as within a body of known length
            (void)redact_release(r, text + at, size);
            if (redact_feed(r, text + at, size, false, &clean) != 0)
                errx(1, "redaction failed");
        }
        double spent = processor_seconds() - begin;
        best = round == 0 || spent < best ? spent : best;
    }
    return best * 1e3 / (TEXT_SIZE / 1e6);
}

int
main(int argc, char **argv)
{
    unsigned secrets = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
    size_t value_size = argc > 2 ? strtoul(argv[2], NULL, 10) : 44;
    size_t block = argc > 3 ? strtoul(argv[3], NULL, 10) : 16384;
    if (secrets == 0 || secrets > POLICY_SECRETS_MAX || value_size < PATTERN_VALUE_MIN ||
        value_size > POLICY_VALUE_MAX || block == 0)
        errx(2, "usage: bench-redact [SECRETS [VALUE_SIZE [BLOCK]]]");
    struct error why = {0};
    struct policy *policy = make_policy(secrets, value_size);
    struct patterns *patterns;
    if (patterns_new(policy, &patterns, &why) != 0)
        errx(1, "%s", why.msg);
    struct redact *r = redact_new(policy, patterns, "api.test", strlen("api.test"));
    uint8_t *text = xcalloc(1, TEXT_SIZE);
    printf("%zu patterns, blocks of %zu bytes\n", patterns_count(patterns), block);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        fill(text, &kinds[i]);
        printf("%-8s %.3f ms/MB\n", kinds[i].name, measure(r, text, block));
    }
    free(text);
    redact_free(r);
    patterns_free(patterns);
    policy_free(policy);
    return 0;
}
