// SPDX-License-Identifier: Apache-2.0
// The first byte says which part of a request the rest is, and whether misuse passes; in the rest,
// a byte of 0xf0 and more stands for a placeholder. Where nothing is misused, no placeholder is
// left; where something is and does not pass, no value comes out; and a body that holds a
// placeholder is seen, wherever it is cut.
#include "mask/substitute.h"
#include "base/base64.h"
#include "base/cleanup.h"

#include <string.h>

enum { TEXT_MAX = 16384, SECRETS = 3 };
enum part { PART_FIELD, PART_AUTHORIZATION, PART_QUERY, PART_PATH, PART_FORBID, PART_BODY, PARTS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secrets[] =
    "{\"A\":{\"hosts\":[\"a.test\"],\"value\":\"sk-VALUE-0123456789abcdefghijklmnopqrstuvwxyz-"
    "0123\","
    "\"prefix\":\"sk-\",\"where\":[\"header\",\"basic\",\"query\",\"path\"]},"
    "\"B\":{\"hosts\":[\"a.test\"],\"value\":\"VALUE-B/with?signs=&%\",\"where\":[\"header\"]},"
    "\"C\":{\"hosts\":[\"b.test\"],\"value\":\"VALUE-C-for-another-host\"}}";

static struct policy *
load(bool pass)
{
    struct error err = {0};
    struct policy *p;
    json_t *document = json_pack("{s:o,s:{s:s}}", "secrets", json_loads(secrets, 0, NULL),
                                 "onMisuse", "head", pass ? "pass" : "block");
    const struct policy_request request = {.document = document, .whole = true};
    if (policy_load(&request, &p, &err) < 0)
        abort();
    json_decref(document);
    return p;
}

static size_t
expand(const struct policy *p, const uint8_t *data, size_t size, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < size && n + 128 < TEXT_MAX; i++) {
        const struct policy_secret *s = policy_secret_at(p, data[i] % SECRETS);
        if (data[i] < 0xf0) {
            out[n++] = (char)data[i];
        } else {
            memcpy(out + n, s->placeholder, s->placeholder_size);
            n += s->placeholder_size;
        }
    }
    return n;
}

static bool
holds(const void *data, size_t size, const char *text)
{
    return size > 0 && memmem(data, size, text, strlen(text)) != NULL;
}

static bool
holds_placeholder(const struct policy *p, const void *data, size_t size)
{
    for (size_t i = 0; i < SECRETS; i++)
        if (holds(data, size, policy_secret_placeholder(p, i)))
            return true;
    return false;
}

static void
check_head(const struct policy *p, enum part part, struct h1_span text)
{
    struct substitute s = {.policy = p, .host = "a.test", .host_size = 6, .port = 443};
    struct h1_field field = {.name = part == PART_FIELD ? (struct h1_span){"x-key", 5}
                                                        : (struct h1_span){"authorization", 13},
                             .value = text};
    cleanup_buf struct buf out;
    buf_init_secret(&out, 8 * TEXT_MAX);
    enum substitute_result r = part == PART_QUERY    ? substitute_query(&s, text, &out)
                               : part == PART_PATH   ? substitute_path(&s, text, &out)
                               : part == PART_FORBID ? substitute_forbid(&s, text, "method")
                                                     : substitute_field(&s, &field, &out);
    bool pass = policy_settings(p)->pass_misused_heads;
    if (r == SUBSTITUTE_FULL || (r == SUBSTITUTE_MISUSE) != (s.reason != NULL && !pass))
        abort();
    // In "%1csec_" there is none, once it is decoded.
    bool is_plain = !holds(text.data, text.size, "%") || part < PART_QUERY;
    if (s.reason == NULL && is_plain && holds_placeholder(p, buf_bytes(&out), buf_size(&out)))
        abort();
    uint64_t swapped = 0;
    for (int i = 0; i < SUBSTITUTE_MAX; i++)
        swapped |= s.swapped[i];
    // The third is never for this host: its value is there only if it stood in the text.
    if ((swapped & 4) != 0 || (holds(buf_bytes(&out), buf_size(&out), "VALUE-C") &&
                               !holds(text.data, text.size, "VALUE-C")))
        abort();
}

static void
check_body(const struct policy *p, struct h1_span text, size_t step)
{
    struct substitute_seen seen = {0};
    const char *name = NULL;
    int found = 0;
    for (size_t at = 0; at < text.size; at += step) {
        size_t part = text.size - at < step ? text.size - at : step;
        found += substitute_watch(&seen, p, (const uint8_t *)text.data + at, part, &name) !=
                 SUBSTITUTE_UNSEEN;
    }
    if (found > 1 || (found == 0 && holds_placeholder(p, text.data, text.size)))
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy *policies[2];
    static char text[TEXT_MAX];
    if (size < 2)
        return 0;
    bool pass = (data[0] & 0x80) != 0;
    if (policies[pass] == NULL)
        policies[pass] = load(pass);
    enum part part = (enum part)((data[0] & 0x7f) % PARTS);
    struct h1_span span = {text, expand(policies[pass], data + 1, size - 1, text)};
    if (part == PART_BODY)
        check_body(policies[pass], span, 1 + data[1] % 64);
    else
        check_head(policies[pass], part, span);
    return 0;
}
