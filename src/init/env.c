// SPDX-License-Identifier: Apache-2.0
#include "init/env.h"

#include "base/mem.h"
#include "init/errors.h"
#include "init/identity.h"
#include "init/setup.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *name;
    const char *value;
} defaults[] = {
    {"HOME", APP_HOME},
    {"USER", "app"},
    {"LOGNAME", "app"},
    {"SHELL", "/bin/bash"},
    {"LANG", "C.UTF-8"},
    {"PATH", "/home/app/.local/bin:/home/app/.deno/bin:/usr/local/sbin:/usr/local/bin:"
             "/usr/sbin:/usr/bin:/sbin:/bin"},
    // Programs that look for roots in a place of their own, or bring their own. Those that replace
    // theirs get the whole bundle, those that add to theirs the one certificate. sudo and login
    // shells have the same names in image/files/etc: change all of them.
    {"SSL_CERT_FILE", SETUP_BUNDLE_PATH},
    {"SSL_CERT_DIR", "/etc/ssl/certs"},
    {"CURL_CA_BUNDLE", SETUP_BUNDLE_PATH},
    {"GIT_SSL_CAINFO", SETUP_BUNDLE_PATH},
    {"REQUESTS_CA_BUNDLE", SETUP_BUNDLE_PATH},
    {"PIP_CERT", SETUP_BUNDLE_PATH},
    {"HTTPLIB2_CA_CERTS", SETUP_BUNDLE_PATH},
    {"AWS_CA_BUNDLE", SETUP_BUNDLE_PATH},
    {"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", SETUP_BUNDLE_PATH},
    {"CARGO_HTTP_CAINFO", SETUP_BUNDLE_PATH},
    {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", SETUP_BUNDLE_PATH},
    {"npm_config_cafile", SETUP_BUNDLE_PATH},
    {"YARN_HTTPS_CA_FILE_PATH", SETUP_BUNDLE_PATH},
    {"NODE_EXTRA_CA_CERTS", SETUP_CA_PATH},
    {"NODE_USE_SYSTEM_CA", "1"},
    {"DENO_CERT", SETUP_CA_PATH},
    {"DENO_TLS_CA_STORE", "system,mozilla"},
};

void
env_init(struct env *e)
{
    *e = (struct env){.capacity = 16};
    e->entries = xcalloc(e->capacity, sizeof *e->entries);
}

void
env_copy(struct env *e, const struct env *from)
{
    *e = (struct env){.capacity = from->capacity, .count = from->count, .size = from->size};
    e->entries = xcalloc(e->capacity, sizeof *e->entries);
    for (size_t i = 0; i < from->count; i++)
        e->entries[i] = xstrdup(from->entries[i]);
}

void
env_done(struct env *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->entries[i]);
    free(e->entries);
    *e = (struct env){0};
}

void
env_set_defaults(struct env *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        (void)env_set(e, defaults[i].name, defaults[i].value);
}

bool
env_name_is_valid(const char *name)
{
    return *name != '\0' && strchr(name, '=') == NULL;
}

// Index of the entry, or count.
static size_t
find(const struct env *e, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < e->count; i++)
        if (strncmp(e->entries[i], name, size) == 0 && e->entries[i][size] == '=')
            return i;
    return e->count;
}

int
env_set(struct env *e, const char *name, const char *value)
{
    size_t i = find(e, name);
    size_t old = i < e->count ? strlen(e->entries[i]) + 1 : 0;
    size_t size = strlen(name) + strlen(value) + 2;
    if (size > ENV_SIZE_MAX || e->size - old > ENV_SIZE_MAX - size)
        return -E2BIG;
    if (e->count + 2 > e->capacity) {
        e->capacity *= 2;
        char **entries = xcalloc(e->capacity, sizeof *entries);
        memcpy(entries, e->entries, e->count * sizeof *entries);
        free(e->entries);
        e->entries = entries;
    }
    free(i < e->count ? e->entries[i] : NULL);
    e->entries[i] = xasprintf("%s=%s", name, value);
    if (i == e->count)
        e->entries[++e->count] = NULL;
    e->size += size - old;
    return 0;
}

void
env_unset(struct env *e, const char *name)
{
    size_t i = find(e, name);
    if (i == e->count)
        return;
    e->size -= strlen(e->entries[i]) + 1;
    free(e->entries[i]);
    e->count--;
    memmove(&e->entries[i], &e->entries[i + 1], (e->count - i + 1) * sizeof *e->entries);
}

const char *
env_get(const struct env *e, const char *name)
{
    size_t i = find(e, name);
    return i < e->count ? e->entries[i] + strlen(name) + 1 : NULL;
}

json_t *
env_to_json(const struct env *e)
{
    json_t *object = json_object();
    for (size_t i = 0; i < e->count; i++) {
        const char *value = strchr(e->entries[i], '=');
        cleanup_free char *name = strndup(e->entries[i], (size_t)(value - e->entries[i]));
        if (name != NULL)
            (void)json_object_set_new(object, name, error_json_text(value + 1, strlen(value + 1)));
    }
    return object;
}
