// SPDX-License-Identifier: Apache-2.0
// libcurl sends and receives; what the Fetch standard has of its own stands here and in redirect.c:
// which headers go out, what of a response is shown, and where a transfer ends.
//
// A response goes one of these ways: it is shown (its head as soon as it is whole, its body as it
// comes), it is a redirect to follow (its body is ignored), or it is a refusal of the sandbox's own
// network (its text becomes the failure).
#include "fetch/transfer.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "fetch/body.h"
#include "fetch/output.h"
#include "fetch/redirect.h"
#include "fetch/refused.h"
#include "fetch/target.h"
#include "wire/pack.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define DEFAULT_ROOTS "/etc/ssl/certs/ca-certificates.crt"

enum { POLL_MS = 1000, HOST_SHOWN = 256 };

enum way {
    WAY_HEAD, // the head is not whole
    WAY_SHOWN,
    WAY_REDIRECT,
    WAY_REFUSED,
};

struct transfer {
    struct fetch_request *request;
    struct body body;
    CURL *easy;
    CURLM *multi;
    char target[TARGET_SIZE]; // of a process
    bool pinned;              // only that is asked
    int redirects;
    char host[HOST_SHOWN];
    long port;
    char why[CURL_ERROR_SIZE];
    // Of the response.
    enum way way;
    int status;
    bool too_large;
    bool decoded;
    struct buf reason;
    struct buf headers; // as they go into the frame
    unsigned header_count;
    char *location;
    size_t ignored;
    struct buf refusal;
};

static void
forget_response(struct transfer *t)
{
    t->way = WAY_HEAD;
    t->status = 0;
    t->decoded = false;
    t->header_count = 0;
    buf_clear(&t->reason);
    buf_clear(&t->headers);
    buf_clear(&t->refusal);
    free(t->location);
    t->location = NULL;
    t->ignored = 0;
}

// The head.

static void
status_line(struct transfer *t, const char *line, size_t size)
{
    forget_response(t);
    const char *space = memchr(line, ' ', size);
    if (space == NULL)
        return;
    size_t left = size - (size_t)(space - line);
    char digits[8] = "";
    (void)snprintf(digits, sizeof digits, "%.*s", (int)(left - 1 < 3 ? left - 1 : 3), space + 1);
    t->status = atoi(digits);
    if (left > 5)
        t->too_large |= buf_append(&t->reason, space + 5, left - 5) < 0;
}

static bool
is(const char *name, size_t size, const char *want)
{
    return size == strlen(want) && strncasecmp(name, want, size) == 0;
}

static void
header_line(struct transfer *t, const char *line, size_t size)
{
    const char *colon = memchr(line, ':', size);
    char lower[256];
    if (colon == NULL || colon == line || (size_t)(colon - line) >= sizeof lower)
        return;
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t value_size = size - name - 1;
    while (value_size > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        value_size--;
    }
    while (value_size > 0 && (value[value_size - 1] == ' ' || value[value_size - 1] == '\t'))
        value_size--;
    if (is(line, name, "location") && t->location == NULL)
        t->location = strndup(value, value_size);
    if (is(line, name, "content-encoding") && !is(value, value_size, "identity"))
        t->decoded = true;
    if (is(line, name, "x-casemate-refused"))
        t->way = WAY_REFUSED;
    for (size_t i = 0; i < name; i++)
        lower[i] = (char)tolower((unsigned char)line[i]);
    if (pack_bytes(&t->headers, lower, name) < 0 || pack_bytes(&t->headers, value, value_size) < 0)
        t->too_large = true;
    t->header_count++;
}

// Bodies arrive decoded: what told how they were encoded is not true of them any more.
static void
pack_headers(const struct transfer *t, struct buf *out)
{
    struct unpack u;
    unsigned kept = 0;
    cleanup_buf struct buf list;
    buf_init(&list, FETCH_HEAD_MAX);
    unpack_init(&u, buf_bytes(&t->headers), buf_size(&t->headers));
    for (unsigned i = 0; i < t->header_count; i++) {
        size_t name_size;
        size_t value_size;
        const char *name = (const char *)unpack_bytes(&u, FETCH_HEAD_MAX, &name_size);
        const uint8_t *value = unpack_bytes(&u, FETCH_HEAD_MAX, &value_size);
        if (u.failed || (t->decoded && (is(name, name_size, "content-encoding") ||
                                        is(name, name_size, "content-length"))))
            continue;
        (void)pack_bytes(&list, name, name_size);
        (void)pack_bytes(&list, value, value_size);
        kept++;
    }
    (void)pack_u16(out, (uint16_t)kept);
    (void)buf_append(out, buf_bytes(&list), buf_size(&list));
}

static bool
has_body(const struct transfer *t)
{
    return t->status != 204 && t->status != 205 && t->status != 304 &&
           strcmp(t->request->method, "HEAD") != 0;
}

static void
show_head(struct transfer *t)
{
    cleanup_buf struct buf head;
    buf_init(&head, 2 * FETCH_HEAD_MAX);
    (void)pack_u16(&head, (uint16_t)t->status);
    (void)pack_bytes(&head, buf_bytes(&t->reason), buf_size(&t->reason));
    pack_headers(t, &head);
    (void)pack_u8(&head, has_body(t));
    t->way = WAY_SHOWN;
    output_frame(FETCH_HEAD, buf_bytes(&head), buf_size(&head));
}

static size_t
on_header(char *data, size_t one, size_t size, void *user)
{
    (void)one;
    struct transfer *t = user;
    size_t left = size;
    while (left > 0 && (data[left - 1] == '\n' || data[left - 1] == '\r'))
        left--;
    if (t->way == WAY_SHOWN || t->way == WAY_REDIRECT)
        return size; // a trailer
    if (left > 5 && strncmp(data, "HTTP/", 5) == 0) {
        status_line(t, data, left);
    } else if (left > 0) {
        header_line(t, data, left);
    } else if (t->status >= 200) {
        if (t->too_large || t->header_count > FETCH_HEADERS_MAX ||
            buf_size(&t->headers) + buf_size(&t->reason) > FETCH_HEAD_MAX - 64)
            t->too_large = true;
        else if (t->way == WAY_HEAD && redirect_is(t->status) && t->location != NULL &&
                 t->request->redirect != FETCH_MANUAL)
            t->way = WAY_REDIRECT;
        else if (t->way == WAY_HEAD)
            show_head(t);
    }
    return t->too_large ? 0 : size;
}

static size_t
on_body(char *data, size_t one, size_t size, void *user)
{
    (void)one;
    struct transfer *t = user;
    if (t->way == WAY_SHOWN) {
        if (has_body(t))
            output_data(data, size);
        return size;
    }
    if (t->way == WAY_REFUSED)
        return buf_append(&t->refusal, data, size) < 0 ? 0 : size;
    t->ignored += size;
    return t->ignored > TRANSFER_IGNORED_MAX ? 0 : size;
}

static size_t
on_upload(char *out, size_t one, size_t capacity, void *user)
{
    struct transfer *t = user;
    return body_read(&t->body, out, one * capacity);
}

static int
on_seek(void *user, curl_off_t offset, int origin)
{
    struct transfer *t = user;
    if (offset != 0 || origin != SEEK_SET || body_rewind(&t->body) < 0)
        return CURL_SEEKFUNC_FAIL;
    return CURL_SEEKFUNC_OK;
}

// Options.

// libcurl's or our own to say, and never the caller's.
static bool
is_ours(const char *name)
{
    static const char *const names[] = {
        "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade",
        "expect",         "accept-encoding",   "te",         "trailer",    "proxy-connection",
        "http2-settings"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

static struct curl_slist *
make_headers(const struct fetch_request *r)
{
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < r->header_count; i++) {
        const struct fetch_header *h = &r->headers[i];
        if (is_ours(h->name))
            continue;
        // To libcurl "name:" means none at all, and "name;" an empty one.
        cleanup_free char *line =
            *h->value != '\0' ? xasprintf("%s: %s", h->name, h->value) : xasprintf("%s;", h->name);
        list = curl_slist_append(list, line);
    }
    if (!request_has(r, "user-agent"))
        list = curl_slist_append(list, "user-agent: casemate-fetch/" CASEMATE_VERSION);
    return curl_slist_append(list, "Expect:");
}

static const char *
encodings(const struct fetch_request *r)
{
    if (request_has(r, "range"))
        return "identity"; // a part of something encoded cannot be decoded
    const char *own = request_header(r, "accept-encoding");
    return own != NULL ? own : ""; // all that libcurl knows
}

static void
set_body(struct transfer *t)
{
    const struct fetch_request *r = t->request;
    bool sends = r->has_body || strcmp(r->method, "POST") == 0 || strcmp(r->method, "PUT") == 0;
    if (strcmp(r->method, "HEAD") == 0)
        (void)curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    else if (sends)
        (void)curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, r->method);
    if (sends)
        (void)curl_easy_setopt(t->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)body_size(&t->body));
}

// Only the process is asked, whatever host the URL names, and a redirect's URL just as well.
static void
set_target(struct transfer *t, struct curl_slist **ret_connect)
{
    cleanup_free char *connect = xasprintf("::%s", t->target);
    *ret_connect = curl_slist_append(NULL, connect);
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, *ret_connect);
    (void)curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http");
}

static void
set_common(struct transfer *t)
{
    const char *roots = getenv("SSL_CERT_FILE");
    CURL *e = t->easy;
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->why);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)TRANSFER_CONNECT_MS);
    (void)curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    (void)curl_easy_setopt(e, CURLOPT_CAINFO,
                           roots != NULL && *roots != '\0' ? roots : DEFAULT_ROOTS);
    (void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
    (void)curl_easy_setopt(e, CURLOPT_READDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
    (void)curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, encodings(t->request));
    (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
}

// Remembers host and port for messages, and makes http of a URL for a process. 0 or -1.
static int
set_url(struct transfer *t)
{
    char *host = NULL;
    char *port = NULL;
    char *url = NULL;
    CURLU *u = curl_url();
    int r = -1;
    if (u != NULL && curl_url_set(u, CURLUPART_URL, t->request->url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        (!t->pinned || curl_url_set(u, CURLUPART_SCHEME, "http", 0) == CURLUE_OK) &&
        curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK &&
        curl_easy_setopt(t->easy, CURLOPT_URL, url) == CURLE_OK) {
        (void)snprintf(t->host, sizeof t->host, "%s", host);
        t->port = strtol(port, NULL, 10);
        r = 0;
    }
    curl_free(host);
    curl_free(port);
    curl_free(url);
    curl_url_cleanup(u);
    return r;
}

// Running.

// More of the body came for a transfer that waits for it.
static void
resume(struct transfer *t)
{
    if (!t->body.waiting)
        return;
    t->body.waiting = false;
    (void)curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

static CURLcode
perform(struct transfer *t)
{
    int running = 1;
    CURLcode result = CURLE_FAILED_INIT;
    if (curl_multi_add_handle(t->multi, t->easy) != CURLM_OK)
        return result;
    while (running > 0 && curl_multi_perform(t->multi, &running) == CURLM_OK && running > 0) {
        struct curl_waitfd in = {.fd = STDIN_FILENO, .events = CURL_WAIT_POLLIN};
        bool waits = t->body.waiting;
        if (curl_multi_poll(t->multi, &in, waits ? 1 : 0, POLL_MS, NULL) != CURLM_OK)
            break;
        if (waits && in.revents != 0)
            resume(t);
    }
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(t->multi, &left)) != NULL;)
        if (m->msg == CURLMSG_DONE)
            result = m->data.result;
    (void)curl_multi_remove_handle(t->multi, t->easy);
    return result;
}

static CURLcode
perform_once(struct transfer *t)
{
    struct curl_slist *headers = make_headers(t->request);
    struct curl_slist *connect = NULL;
    CURLcode result = CURLE_URL_MALFORMAT;
    curl_easy_reset(t->easy);
    forget_response(t);
    t->why[0] = '\0';
    set_common(t);
    set_body(t);
    if (t->pinned)
        set_target(t, &connect);
    (void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, headers);
    if (set_url(t) == 0)
        result = perform(t);
    curl_slist_free_all(headers);
    curl_slist_free_all(connect);
    return result;
}

// Ends.

static bool
may_be_refusal(CURLcode result)
{
    return result == CURLE_SSL_CONNECT_ERROR || result == CURLE_RECV_ERROR ||
           result == CURLE_SEND_ERROR || result == CURLE_COULDNT_CONNECT ||
           result == CURLE_GOT_NOTHING || result == CURLE_COULDNT_RESOLVE_HOST ||
           result == CURLE_HTTP2 || result == CURLE_HTTP2_STREAM || result == CURLE_PARTIAL_FILE;
}

static void
fail(struct transfer *t, CURLcode result)
{
    char reason[512];
    const char *why = t->why[0] != '\0' ? t->why : curl_easy_strerror(result);
    bool alert = strstr(why, "access denied") != NULL;
    if (result == CURLE_URL_MALFORMAT)
        output_fail("Invalid URL");
    else if (t->pinned)
        output_fail("error sending the request to process %u: %s", (unsigned)t->request->pid, why);
    else if (may_be_refusal(result) && refused_why(t->host, t->port, alert, reason, sizeof reason))
        output_fail("the sandbox's network refused the connection to %s:%ld: %s", t->host, t->port,
                    reason);
    else if (alert)
        output_fail("the sandbox's network refused the connection to %s:%ld", t->host, t->port);
    else
        output_fail("error sending the request to %s:%ld: %s", t->host, t->port, why);
}

static void
fail_refused(struct transfer *t)
{
    char message[1024];
    bool told = refused_message((const char *)buf_bytes(&t->refusal), buf_size(&t->refusal),
                                message, sizeof message);
    output_fail("the sandbox's network refused the request: %s",
                told ? message : "it gave no reason");
}

// Tells whether there is another request to send.
static bool
go_on(struct transfer *t)
{
    if (t->request->redirect == FETCH_ERROR) {
        output_fail("%s:%ld redirects, which the caller does not allow", t->host, t->port);
        return false;
    }
    if (++t->redirects > REDIRECTS_MAX) {
        output_fail("too many redirects: more than %d", REDIRECTS_MAX);
        return false;
    }
    const char *wrong = redirect_apply(t->request, &t->body, t->status, t->location);
    if (wrong != NULL)
        output_fail("cannot follow the redirect of %s:%ld: %s", t->host, t->port, wrong);
    return wrong == NULL;
}

static bool
step(struct transfer *t)
{
    CURLcode result = perform_once(t);
    if (t->too_large)
        output_fail("the response has headers of more than %d bytes, or more than %d of them",
                    FETCH_HEAD_MAX, FETCH_HEADERS_MAX);
    else if (t->way == WAY_REDIRECT)
        return go_on(t);
    else if (t->way == WAY_REFUSED)
        fail_refused(t);
    else if (result != CURLE_OK)
        fail(t, result);
    else if (t->way == WAY_SHOWN)
        output_frame(FETCH_END, NULL, 0);
    else
        output_fail("%s:%ld sent no response", t->host, t->port);
    return false;
}

static bool
find_target(struct transfer *t)
{
    if (t->request->pid == 0)
        return true;
    t->pinned = true;
    if (target_find(t->request->pid, t->target) == 0)
        return true;
    output_fail("process %u listens on no port", (unsigned)t->request->pid);
    return false;
}

int
transfer_run(struct fetch_request *request)
{
    struct transfer t = {.request = request};
    buf_init(&t.reason, FETCH_HEAD_MAX);
    buf_init(&t.headers, FETCH_HEAD_MAX);
    buf_init(&t.refusal, TRANSFER_REFUSAL_MAX);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return 1;
    t.easy = curl_easy_init();
    t.multi = curl_multi_init();
    if (t.easy == NULL || t.multi == NULL)
        return 1;
    refused_begin();
    body_init(&t.body, request->has_body);
    if (find_target(&t))
        while (step(&t))
            ;
    return 0; // the process ends; so does all that it holds
}
