// SPDX-License-Identifier: Apache-2.0
#include "api/routes.h"

#include "api/create.h"
#include "api/sandboxes.h"
#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static void
handle_health(struct request *r)
{
    static const char body[] = "{\"status\":\"ok\"}";
    request_answer(r, 200, body, sizeof body - 1);
}

static void
handle_old_client(struct request *r)
{
    request_fail(r, ERR_UNSUPPORTED_CLIENT,
                 "this SDK is too old for this server; upgrade @deno/sandbox to 0.10 or later");
}

static void
handle_unbuilt(struct request *r)
{
    request_fail(r, ERR_UNSUPPORTED, "%s: not offered by this server", r->route->feature);
}

// The first match counts.
static const struct route routes[] = {
    {"GET", "/healthz", ROUTE_OPEN, handle_health, NULL},
    {"GET", "/api/v3/sandboxes/create", 0, create_handle, NULL},
    {"GET", "/api/v3/sandbox/:id/connect", 0, connect_handle, NULL},
    {"DELETE", "/api/v3/sandbox/:id", 0, sandboxes_handle_kill, NULL},
    {"PATCH", "/api/v3/sandbox/:id", 0, sandboxes_handle_extend, NULL},
    {"DELETE", "/api/v3/sandboxes/:id", 0, sandboxes_handle_kill, NULL},
    {"GET", "/api/v3/sandboxes", 0, sandboxes_handle_list, NULL},
    {"GET", "/api/v2/sandboxes", 0, sandboxes_handle_list, NULL},
    {NULL, "/api/v2/sandbox/ws", ROUTE_OPEN, handle_old_client, NULL},
    {"POST", "/api/v3/sandbox/:id/expose/http", 0, handle_unbuilt, "exposing HTTP"},
    {"POST", "/api/v3/sandbox/:id/expose/ssh", 0, handle_unbuilt, "exposing SSH"},
    {"POST", "/api/v3/sandbox/:id/expose/vscode", 0, handle_unbuilt, "exposing VS Code"},
    {"POST", "/api/v2/sandboxes/:id/deploy", 0, handle_unbuilt, "deploying"},
    {NULL, "/api/v2/volumes", 0, handle_unbuilt, "volumes"},
    {NULL, "/api/v2/volumes/*", 0, handle_unbuilt, "volumes"},
    {NULL, "/api/v2/snapshots", 0, handle_unbuilt, "snapshots"},
    {NULL, "/api/v2/snapshots/*", 0, handle_unbuilt, "snapshots"},
    {NULL, "/api/v2/apps", 0, handle_unbuilt, "apps"},
    {NULL, "/api/v2/apps/*", 0, handle_unbuilt, "apps"},
    {NULL, "/api/v2/revisions/*", 0, handle_unbuilt, "revisions"},
    {NULL, "/api/v2/timelines", 0, handle_unbuilt, "timelines"},
    {NULL, "/api/v2/timelines/*", 0, handle_unbuilt, "timelines"},
    {NULL, "/api/v2/layers", 0, handle_unbuilt, "layers"},
    {NULL, "/api/v2/layers/*", 0, handle_unbuilt, "layers"},
};

static bool
pattern_matches(const char *pattern, struct h1_span path, struct h1_span *ret_id)
{
    static const char id[] = ":id";
    const char *p = path.data;
    const char *end = path.data + path.size;
    while (*pattern != '\0') {
        if (*pattern == '*')
            return p < end;
        if (strncmp(pattern, id, sizeof id - 1) == 0) {
            const char *start = p;
            while (p < end && *p != '/')
                p++;
            if (p == start)
                return false;
            *ret_id = (struct h1_span){start, (size_t)(p - start)};
            pattern += sizeof id - 1;
            continue;
        }
        if (p == end || *p++ != *pattern++)
            return false;
    }
    return p == end;
}

enum route_match
routes_find(struct h1_span method, struct h1_span path, const struct route **ret,
            struct h1_span *ret_id, char allow[ROUTES_ALLOW_MAX])
{
    bool known = false;
    allow[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        struct h1_span id = {"", 0};
        if (!pattern_matches(routes[i].pattern, path, &id))
            continue;
        if (routes[i].method == NULL || h1_span_is(method, routes[i].method)) {
            allow[0] = '\0'; // of rows before this one
            *ret = &routes[i];
            *ret_id = id;
            return ROUTE_FOUND;
        }
        known = true;
        size_t used = strlen(allow);
        (void)snprintf(allow + used, ROUTES_ALLOW_MAX - used, "%s%s", used > 0 ? ", " : "",
                       routes[i].method);
    }
    return known ? ROUTE_NO_METHOD : ROUTE_NO_PATH;
}
