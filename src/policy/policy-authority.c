// SPDX-License-Identifier: Apache-2.0
#include "policy/policy-internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_OVERHEAD = 8 }; // in a certificate: tags and lengths

// The host of a rule: without port, and for "*.x" only x, for a dNSName constraint stands for the
// name and all below it and has no form for "only below". Size 0 for an address, which no
// certificate is made for.
static struct policy_span
name_of(const char *host)
{
    struct in_addr v4;
    char text[INET_ADDRSTRLEN];
    if (strncmp(host, "*.", 2) == 0)
        host += 2;
    struct policy_span name = {host, strcspn(host, ":")};
    if (host[0] == '[')
        name.size = 0;
    if (name.size >= sizeof text)
        return name;
    memcpy(text, host, name.size);
    text[name.size] = '\0';
    if (inet_pton(AF_INET, text, &v4) == 1)
        name.size = 0;
    return name;
}

static int
compare(const void *left, const void *right)
{
    const struct policy_span *a = left;
    const struct policy_span *b = right;
    size_t both = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->data, b->data, both);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

size_t
policy_authority_names(const struct policy *p, struct policy_span ret[POLICY_AUTHORITY_NAMES_MAX])
{
    size_t all = 0;
    size_t count = 0;
    for (size_t i = 0; i < policy_secret_count(p); i++) {
        const struct policy_secret *secret = policy_secret_at(p, i);
        for (size_t h = 0; h < secret->host_count; h++)
            ret[all++] = name_of(policy_secret_host(secret, h));
    }
    for (size_t i = 0; i < policy_inspect_count(p); i++)
        ret[all++] = name_of(policy_inspect_host(p, i));
    qsort(ret, all, sizeof *ret, compare);
    for (size_t i = 0; i < all; i++) {
        if (ret[i].size > 0 && (count == 0 || compare(&ret[count - 1], &ret[i]) != 0))
            ret[count++] = ret[i];
    }
    return count;
}

int
policy_check_authority(const struct policy *p, struct error *err)
{
    struct policy_span names[POLICY_AUTHORITY_NAMES_MAX];
    size_t count = policy_authority_names(p, names);
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += names[i].size + NAME_OVERHEAD;
    if (size <= POLICY_AUTHORITY_SIZE_MAX)
        return 0;
    return error_set(err, ERR_INVALID_CONFIG,
                     "secrets and inspect name %zu hosts, more than the sandbox's certificate "
                     "authority can speak for; name fewer, or write *.example.com for many",
                     count);
}
