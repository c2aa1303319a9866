// SPDX-License-Identifier: Apache-2.0
// A request's head on its way upstream: what is written reads back as exactly one request, to the
// same host, with the same body, and holds no value of a secret that is bound elsewhere. In the
// input the bytes 1 and 2 stand for placeholders, which are other ones in each process, and 3 for
// credentials that hold the first.
#include "egress/head.h"
#include "base/base64.h"
#include "base/cleanup.h"

#include <err.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    EXPANDED_MAX = 1024 * 1024,
    FIELDS_MAX = H1_FIELDS_MAX - 4, // what is written has a few more
};

static const char here[] = "api.test";
static const char value_here[] = "here-0123456789abcdefghijklmnop";
static const char value_elsewhere[] = "else-0123456789abcdefghijklmnop";

static struct policy *
make_policy(void)
{
    struct policy *p;
    struct error why;
    json_t *secrets =
        json_pack("{s:{s:[s],s:s},s:{s:[s],s:s}}", "HERE", "hosts", here, "value", value_here,
                  "ELSEWHERE", "hosts", "else.test", "value", value_elsewhere);
    if (secrets == NULL || policy_from_json(NULL, secrets, &p, &why) < 0)
        errx(1, "no policy");
    json_decref(secrets);
    return p;
}

static void
append_credentials(struct buf *out, const char *placeholder)
{
    cleanup_buf struct buf pair;
    buf_init(&pair, EXPANDED_MAX);
    if (buf_append_str(&pair, "u:") < 0 || buf_append_str(&pair, placeholder) < 0)
        abort();
    char *room = (char *)buf_reserve(out, base64_encoded_size(buf_size(&pair)) + 1);
    if (room == NULL)
        return;
    base64_encode(room, buf_bytes(&pair), buf_size(&pair));
    buf_commit(out, base64_encoded_size(buf_size(&pair)));
}

static void
expand(const struct policy *p, const uint8_t *data, size_t size, struct buf *out)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 1 || data[i] == 2)
            (void)buf_append_str(out, policy_secret_placeholder(p, data[i] - 1U));
        else if (data[i] == 3)
            append_credentials(out, policy_secret_placeholder(p, 0));
        else
            (void)buf_append(out, &data[i], 1);
    }
}

static bool
holds(const struct buf *b, const char *text)
{
    return memmem(buf_bytes(b), buf_size(b), text, strlen(text)) != NULL;
}

static void
check_written(const struct h1_head *read, const struct buf *in, const struct buf *written)
{
    struct h1_head again;
    struct h1_problem problem = {0};
    size_t used;
    size_t hosts;
    if (holds(written, value_elsewhere) && !holds(in, value_elsewhere))
        abort();
    if (h1_parse_request(buf_bytes(written), buf_size(written), &again, &used, &problem) != H1_OK ||
        used != buf_size(written))
        abort();
    if (again.method.size != read->method.size || again.framing != read->framing ||
        again.content_length != read->content_length)
        abort();
    const struct h1_field *host = h1_find(&again, "host", &hosts);
    if (host == NULL || hosts != 1 || host->value.size < strlen(here) ||
        strncasecmp(host->value.data, here, strlen(here)) != 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy *policy;
    if (size == 0)
        return 0;
    if (policy == NULL)
        policy = make_policy();
    cleanup_buf struct buf in;
    buf_init(&in, EXPANDED_MAX);
    expand(policy, data, size, &in);
    struct h1_head head;
    struct h1_problem problem = {0};
    size_t used;
    if (h1_parse_request(buf_bytes(&in), buf_size(&in), &head, &used, &problem) != H1_OK ||
        head.field_count > FIELDS_MAX)
        return 0;
    struct destination to = {.port = 443, .name_size = strlen(here)};
    memcpy(to.name, here, sizeof here);
    struct substitute s = {
        .policy = policy, .host = to.name, .host_size = to.name_size, .port = to.port};
    struct h1_span target;
    struct refusal refusal = {0};
    cleanup_buf struct buf out;
    buf_init_secret(&out, HEAD_WRITTEN_MAX);
    if (head_check_request(&head, &to, &s, &target, &refusal) < 0 ||
        head_write_request(&head, target, true, &s, &out, &refusal) < 0) {
        if (refusal.status < 400 || refusal.message == NULL)
            abort();
        return 0;
    }
    check_written(&head, &in, &out);
    return 0;
}
