// SPDX-License-Identifier: Apache-2.0
#include "api/sandboxes.h"

#include "api/config.h"
#include "api/labels.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct sandbox *
find(struct request *r)
{
    struct sandbox *s = manager_find(r->api->manager, r->id.data, r->id.size);
    if (s == NULL)
        request_fail(r, ERR_SANDBOX_NOT_FOUND, "there is no running sandbox with this id");
    return s;
}

void
sandboxes_handle_kill(struct request *r)
{
    struct sandbox *s = find(r);
    if (s == NULL)
        return;
    sandbox_end(s, SANDBOX_END_KILLED);
    request_answer(r, 204, NULL, 0);
}

void
sandboxes_handle_extend(struct request *r)
{
    struct error err = {0};
    int64_t stop_at_ms = 0;
    struct sandbox *s = find(r);
    if (s == NULL)
        return;
    if (config_parse_extension(r->body.data, r->body.size, clock_wall_ms(), &stop_at_ms, &err) <
        0) {
        request_answer_error(r, &err);
        return;
    }
    char text[64];
    int size =
        snprintf(text, sizeof text, "{\"stop_at_ms\":%" PRId64 "}", sandbox_extend(s, stop_at_ms));
    request_answer(r, 200, text, (size_t)size);
}

static json_t *
json_time(int64_t ms)
{
    char date[32];
    char text[48];
    struct tm utc;
    time_t seconds = (time_t)(ms / 1000);
    (void)gmtime_r(&seconds, &utc);
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text, sizeof text, "%s.%03dZ", date, (int)(ms % 1000));
    return json_string(text);
}

// What is stopping has processes yet, so it still runs; nothing is reachable of it any more,
// though.
static json_t *
describe(const struct sandbox *s)
{
    bool stopped = sandbox_state(s) == SANDBOX_STOPPED;
    enum sandbox_end why = sandbox_end_reason(s);
    struct sandbox_usage usage = sandbox_usage((struct sandbox *)(uintptr_t)s);
    json_t *labels = json_deep_copy(sandbox_labels(s));
    return json_pack("{s:s, s:o, s:o, s:s, s:s, s:o, s:s, s:{s:f, s:f, s:I}, s:o}", "id",
                     sandbox_id(s), "createdAt", json_time(sandbox_created_ms(s)), "stoppedAt",
                     stopped ? json_time(sandbox_stopped_ms(s)) : json_null(), "region",
                     sandbox_region(s), "status", stopped ? "stopped" : "running", "labels", labels,
                     "driver", "ns", "usage", "cpuSeconds", usage.cpu_seconds, "memoryGibSeconds",
                     usage.memory_gib_seconds, "memoryBytes", (json_int_t)usage.memory_bytes,
                     "endReason",
                     why == SANDBOX_END_NONE ? json_null() : json_string(sandbox_end_name(why)));
}

struct listing {
    json_t *array;
    const json_t *filter;
};

static void
visit(void *user, const struct sandbox *s)
{
    struct listing *l = user;
    if (sandbox_state(s) != SANDBOX_CREATING && labels_match(sandbox_labels(s), l->filter))
        (void)json_array_append_new(l->array, describe(s));
}

void
sandboxes_handle_list(struct request *r)
{
    struct error err = {0};
    json_t *filter = NULL;
    if (labels_parse_query(r->query.data, r->query.size, &filter, &err) < 0) {
        request_answer_error(r, &err);
        return;
    }
    struct listing l = {.array = json_array(), .filter = filter};
    manager_each(r->api->manager, visit, &l);
    char *text = json_dumps(l.array, JSON_COMPACT | JSON_REAL_PRECISION(12));
    if (text != NULL)
        request_answer(r, 200, text, strlen(text));
    else
        request_fail(r, ERR_UNAVAILABLE, "out of memory; try again later");
    free(text);
    json_decref(l.array);
    json_decref(filter);
}
