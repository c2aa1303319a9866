// SPDX-License-Identifier: Apache-2.0
#include "api/config.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <string.h>

// A name in a message: enough to find it, not enough to fill the message.
#define NAME_FMT "'%.64s'"

struct parse {
    const json_t *document;
    uint32_t memory_min_mib;
    int64_t now_ms;
    struct operator* operator;
    struct sandbox_spec *spec;
};

// JSON null means absent, wherever it stands.
static json_t *
member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static int
decode_latin1(struct buf *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t pair[2] = {(uint8_t)(0xc0 | bytes[i] >> 6), (uint8_t)(0x80 | (bytes[i] & 0x3f))};
        int failed = bytes[i] < 0x80 ? buf_append(out, &bytes[i], 1) : buf_append(out, pair, 2);
        if (failed < 0)
            return -1;
    }
    return 0;
}

int
config_decode(const char *value, size_t size, struct buf *out, struct error *err)
{
    if (size > base64_encoded_size(CONFIG_TEXT_MAX))
        return error_set(err, ERR_HEADER_TOO_LARGE,
                         "x-deno-sandbox-config is too large: at most %d bytes of JSON",
                         CONFIG_TEXT_MAX);
    cleanup_buf struct buf raw;
    buf_init_secret(&raw, base64_decoded_max(base64_encoded_size(CONFIG_TEXT_MAX)));
    uint8_t *room = buf_reserve(&raw, base64_decoded_max(size));
    if (room == NULL)
        return error_set(err, ERR_UNAVAILABLE, "out of memory; try again later");
    ptrdiff_t count = base64_decode(room, value, size);
    if (count < 0) {
        explicit_bzero(room, base64_decoded_max(size));
        return error_set(err, ERR_INVALID_CONFIG,
                         "x-deno-sandbox-config is not base64 (RFC 4648 section 4, with padding)");
    }
    buf_commit(&raw, (size_t)count);
    int failed = utf8_is_valid(room, (size_t)count) ? buf_append(out, room, (size_t)count)
                                                    : decode_latin1(out, room, (size_t)count);
    if (failed < 0)
        return error_set(err, ERR_UNAVAILABLE, "out of memory; try again later");
    return 0;
}

// jansson's own text quotes what stands near the fault, which may be a secret: only the place is
// told.
static json_t *
load_object(const char *what, const void *text, size_t size, enum error_code code,
            struct error *err)
{
    json_error_t fault;
    json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &fault);
    int position = document == NULL ? fault.position : 0;
    enum json_error_code reason = document == NULL ? json_error_code(&fault) : json_error_unknown;
    explicit_bzero(&fault, sizeof fault);
    if (document == NULL) {
        const char *why =
            reason == json_error_duplicate_key ? "has a repeated key"
            : reason == json_error_null_character || reason == json_error_null_byte_in_key
                ? "has a NUL character"
                : "is not valid JSON";
        (void)error_set(err, code, "%s %s, at byte %d", what, why, position);
        return NULL;
    }
    if (!json_is_object(document)) {
        json_decref(document);
        (void)error_set(err, code, "%s must be a JSON object", what);
        return NULL;
    }
    return document;
}

static int
parse_memory(const struct parse *p, const json_t *value, struct error *err)
{
    json_int_t mib = json_is_integer(value) ? json_integer_value(value) : -1;
    if (mib < (json_int_t)p->memory_min_mib || mib > CONFIG_MEMORY_MAX_MIB)
        return error_set(err, ERR_INVALID_CONFIG,
                         "memory_mb must be a whole number from %" PRIu32 " to %d",
                         p->memory_min_mib, CONFIG_MEMORY_MAX_MIB);
    p->spec->memory_mib = (uint32_t)mib;
    return 0;
}

static int64_t
clamp_stop(int64_t stop_at_ms, int64_t now_ms)
{
    return stop_at_ms > now_ms + CONFIG_LIFE_MAX_MS ? now_ms + CONFIG_LIFE_MAX_MS : stop_at_ms;
}

static int
read_stop(const json_t *value, int64_t now_ms, enum error_code code, int64_t *ret,
          struct error *err)
{
    if (!json_is_integer(value))
        return error_set(err, code,
                         "stop_at_ms must be a whole number: a Unix time in milliseconds");
    if (json_integer_value(value) <= now_ms)
        return error_set(err, code,
                         "stop_at_ms is in the past (the server's clock says %" PRId64 ")", now_ms);
    *ret = clamp_stop(json_integer_value(value), now_ms);
    return 0;
}

static int
parse_stop_at(const struct parse *p, const json_t *value, struct error *err)
{
    if (member(p->document, "timeout") != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "give timeout or stop_at_ms, not both");
    return read_stop(value, p->now_ms, ERR_INVALID_CONFIG, &p->spec->stop_at_ms, err);
}

// "<n>s" or "<n>m" in milliseconds, saturating; 0 if it is neither.
static int64_t
duration_ms(const char *text)
{
    int64_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        n = n > CONFIG_LIFE_MAX_MS ? n : n * 10 + (*p - '0');
    if (p == text || p[0] == '\0' || p[1] != '\0')
        return 0;
    return *p == 's' ? n * 1000 : *p == 'm' ? n * 60 * 1000 : 0;
}

static int
parse_timeout(const struct parse *p, const json_t *value, struct error *err)
{
    const char *text = json_string_value(value);
    if (text != NULL && strcmp(text, "session") == 0)
        return 0;
    int64_t life_ms = text != NULL ? duration_ms(text) : 0;
    if (life_ms <= 0)
        return error_set(
            err, ERR_INVALID_CONFIG,
            "timeout must be \"session\", or a number of seconds or minutes like \"30s\" "
            "or \"5m\"");
    p->spec->stop_at_ms = clamp_stop(p->now_ms + life_ms, p->now_ms);
    return 0;
}

static int
parse_labels(const struct parse *p, json_t *value, struct error *err)
{
    if (!json_is_object(value))
        return error_set(err, ERR_INVALID_CONFIG, "labels must be an object of strings");
    if (json_object_size(value) > CONFIG_LABELS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "labels: at most %d are allowed",
                         CONFIG_LABELS_MAX);
    const char *key;
    const json_t *label;
    json_object_foreach(value, key, label)
    {
        if (key[0] == '\0' || strlen(key) > CONFIG_LABEL_KEY_MAX)
            return error_set(err, ERR_INVALID_CONFIG, "labels: a key has 1 to %d bytes",
                             CONFIG_LABEL_KEY_MAX);
        if (!json_is_string(label) || json_string_length(label) > CONFIG_LABEL_VALUE_MAX)
            return error_set(err, ERR_INVALID_CONFIG,
                             "labels: the value of " NAME_FMT
                             " must be a string of at most %d bytes",
                             key, CONFIG_LABEL_VALUE_MAX);
    }
    p->spec->labels = value;
    return 0;
}

static int
parse_env(const struct parse *p, json_t *value, struct error *err)
{
    if (!json_is_object(value))
        return error_set(err, ERR_INVALID_CONFIG, "env must be an object of strings");
    if (json_object_size(value) > CONFIG_ENV_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "env: at most %d variables are allowed",
                         CONFIG_ENV_MAX);
    const char *name;
    const json_t *text;
    json_object_foreach(value, name, text)
    {
        if (name[0] == '\0' || strlen(name) > CONFIG_ENV_NAME_MAX || strchr(name, '=') != NULL)
            return error_set(err, ERR_INVALID_CONFIG, "env: a name has 1 to %d bytes and no '='",
                             CONFIG_ENV_NAME_MAX);
        if (!json_is_string(text) || json_string_length(text) > CONFIG_ENV_VALUE_MAX)
            return error_set(err, ERR_INVALID_CONFIG,
                             "env: the value of " NAME_FMT " must be a string of at most %d bytes",
                             name, CONFIG_ENV_VALUE_MAX);
    }
    p->spec->env = value;
    return 0;
}

static int
parse_root(const struct parse *p, json_t *value, struct error *err)
{
    (void)p;
    if (!json_is_object(value))
        return error_set(err, ERR_INVALID_CONFIG,
                         "root must be an object like {\"volume\": \"id\"}");
    if (member(value, "volume") != NULL)
        return error_set(err, ERR_UNSUPPORTED,
                         "root: volumes and snapshots are not offered by this server; leave it out "
                         "to boot from the default image");
    return 0;
}

static int
parse_volumes(const struct parse *p, json_t *value, struct error *err)
{
    (void)p;
    if (!json_is_object(value) && !json_is_array(value))
        return error_set(err, ERR_INVALID_CONFIG,
                         "volumes must be an object like {\"/mnt\": \"id\"}, or an array");
    if (json_object_size(value) + json_array_size(value) > 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "volumes are not offered by this server; leave the field out");
    return 0;
}

static int
parse_region(const struct parse *p, json_t *value, struct error *err)
{
    (void)p;
    if (!json_is_string(value))
        return error_set(err, ERR_INVALID_CONFIG, "region must be a string");
    return 0; // a node is in one region; any other name means it, too
}

static int
parse_ssh(const struct parse *p, json_t *value, struct error *err)
{
    (void)p;
    if (!json_is_boolean(value))
        return error_set(err, ERR_INVALID_CONFIG, "ssh must be true or false");
    if (json_is_true(value))
        return error_set(err, ERR_UNSUPPORTED, "ssh is not offered by this server; leave it out");
    return 0;
}

static int
parse_port(const struct parse *p, json_t *value, struct error *err)
{
    (void)p;
    (void)value;
    return error_set(err, ERR_UNSUPPORTED,
                     "port: exposing a port is not offered by this server; leave it out");
}

// Also of secrets that the chosen policy gives.
static int
check_env(const struct parse *p, const struct policy *policy, struct error *err)
{
    for (size_t i = 0; i < policy_secret_count(policy); i++) {
        const char *name = policy_secret_name(policy, i);
        if (json_object_get(p->spec->env, name) != NULL)
            return error_set(err, ERR_INVALID_CONFIG,
                             "env and secrets both set " NAME_FMT "; remove one of them", name);
    }
    return 0;
}

static int
parse_policy(const struct parse *p, struct error *err)
{
    const struct policy_request request = {
        .document = p->document,
        .named = json_string_value(json_object_get(p->spec->labels, "policy")),
        .operator= p->operator, };
    struct policy *policy;
    if (policy_load(&request, &policy, err) < 0)
        return -1;
    if (check_env(p, policy, err) < 0) {
        policy_free(policy);
        return -1;
    }
    p->spec->policy = policy;
    return 0;
}

// Fields that are not here are ignored; what policy_load knows is the policy's.
static const struct field {
    const char *name;
    int (*parse)(const struct parse *p, json_t *value, struct error *err);
} fields[] = {
    {"labels", parse_labels}, {"env", parse_env}, {"root", parse_root}, {"volumes", parse_volumes},
    {"region", parse_region}, {"ssh", parse_ssh}, {"port", parse_port},
};

static int
parse_scalars(const struct parse *p, struct error *err)
{
    const json_t *memory = member(p->document, "memory_mb");
    const json_t *stop_at = member(p->document, "stop_at_ms");
    const json_t *timeout = member(p->document, "timeout");
    if (memory != NULL && parse_memory(p, memory, err) < 0)
        return -1;
    if (stop_at != NULL && parse_stop_at(p, stop_at, err) < 0)
        return -1;
    if (timeout != NULL && parse_timeout(p, timeout, err) < 0)
        return -1;
    return 0;
}

static int
parse_fields(const struct parse *p, struct error *err)
{
    if (parse_scalars(p, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        json_t *value = member(p->document, fields[i].name);
        if (value != NULL && fields[i].parse(p, value, err) < 0)
            return -1;
    }
    return parse_policy(p, err);
}

int
config_parse(const void *text, size_t size, uint32_t memory_min_mib, int64_t now_ms,
             struct operator* operator, struct config * ret, struct error *err)
{
    json_t *document = load_object("x-deno-sandbox-config", text, size, ERR_INVALID_CONFIG, err);
    if (document == NULL)
        return -1;
    struct sandbox_spec spec = {
        .memory_mib = CONFIG_MEMORY_DEFAULT_MIB,
        .disk_mib = CONFIG_DISK_MIB,
        .cpu_millis = CONFIG_CPU_MILLIS,
        .pids_max = CONFIG_PIDS_MAX,
    };
    struct parse p = {.document = document,
                      .memory_min_mib = memory_min_mib,
                      .now_ms = now_ms,
                      .operator= operator,
                      .spec = & spec };
    if (parse_fields(&p, err) < 0) {
        json_decref(document);
        return -1;
    }
    *ret = (struct config){.spec = spec, .document = document};
    return 0;
}

void
config_done(struct config *c)
{
    policy_free(c->spec.policy);
    json_decref(c->document);
    *c = (struct config){0};
}

int
config_parse_extension(const void *text, size_t size, int64_t now_ms, int64_t *ret_stop_at_ms,
                       struct error *err)
{
    json_t *document = load_object("the body", text, size, ERR_INVALID_REQUEST, err);
    if (document == NULL)
        return -1;
    const json_t *value = member(document, "stop_at_ms");
    int status = read_stop(value, now_ms, ERR_INVALID_REQUEST, ret_stop_at_ms, err);
    json_decref(document);
    return status;
}
