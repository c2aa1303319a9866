// SPDX-License-Identifier: Apache-2.0
#include "fetch/redirect.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool
redirect_is(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static bool
same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *x = NULL;
    char *y = NULL;
    bool same = curl_url_get(a, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(b, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return same;
}

static bool
same_origin(CURLU *a, CURLU *b)
{
    return same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) &&
           same_part(a, b, CURLUPART_PORT);
}

// What was meant for one origin is not told to another.
static void
drop_credentials(struct fetch_request *r)
{
    static const char *const names[] = {"authorization", "cookie", "proxy-authorization", "host"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        request_drop(r, names[i]);
}

static void
drop_body(struct fetch_request *r, struct body *b)
{
    static const char *const names[] = {"content-encoding", "content-language", "content-location",
                                        "content-type", "content-length"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        request_drop(r, names[i]);
    free(r->method);
    r->method = xstrdup("GET");
    r->has_body = false;
    body_forget(b);
}

static const char *
resolve(struct fetch_request *r, CURLU *from, CURLU *to, const char *location)
{
    char *url = NULL;
    char *scheme = NULL;
    const char *wrong = NULL;
    if (curl_url_set(from, CURLUPART_URL, r->url, 0) != CURLUE_OK ||
        curl_url_set(to, CURLUPART_URL, r->url, 0) != CURLUE_OK ||
        curl_url_set(to, CURLUPART_URL, location, CURLU_URLENCODE) != CURLUE_OK ||
        curl_url_get(to, CURLUPART_URL, &url, 0) != CURLUE_OK ||
        curl_url_get(to, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        wrong = "the redirect's location is no URL";
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        wrong = "the redirect leaves HTTP";
    if (wrong == NULL) {
        free(r->url);
        r->url = xstrdup(url);
    }
    curl_free(url);
    curl_free(scheme);
    return wrong;
}

const char *
redirect_apply(struct fetch_request *r, struct body *b, int status, const char *location)
{
    CURLU *from = curl_url();
    CURLU *to = curl_url();
    const char *wrong = from != NULL && to != NULL ? resolve(r, from, to, location) : "no memory";
    bool foreign = wrong == NULL && !same_origin(from, to);
    curl_url_cleanup(from);
    curl_url_cleanup(to);
    if (wrong != NULL)
        return wrong;
    bool post = strcmp(r->method, "POST") == 0;
    bool safe = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    if (((status == 301 || status == 302) && post) || (status == 303 && !safe))
        drop_body(r, b);
    if (foreign)
        drop_credentials(r);
    if (r->has_body && (!b->whole || body_rewind(b) < 0))
        return "the redirect asks for the body again, which was a stream";
    return NULL;
}
