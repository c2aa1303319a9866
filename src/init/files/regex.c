// SPDX-License-Identifier: Apache-2.0
#include "init/files/regex.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "init/errors.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    PATTERN_MAX = REGEX_SOURCE_MAX * 32, // a dot becomes this much
    REGEX_TEXT_MAX = 3 * PATH_MAX,       // of a path that is not UTF-8
};

struct regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    bool sticky;
};

void
regex_free(struct regex *r)
{
    if (r == NULL)
        return;
    pcre2_match_context_free(r->context);
    pcre2_match_data_free(r->data);
    pcre2_code_free(r->code);
    free(r);
}

// NULL: *ret_code tells why.
static struct regex *
compile(const struct buf *pattern, uint32_t options, int *ret_code)
{
    size_t offset;
    pcre2_code *code = pcre2_compile(buf_size(pattern) > 0 ? buf_bytes(pattern) : (PCRE2_SPTR) "",
                                     buf_size(pattern),
                                     options | PCRE2_UTF | PCRE2_MATCH_UNSET_BACKREF |
                                         PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOTALL,
                                     ret_code, &offset, NULL);
    if (code == NULL)
        return NULL;
    struct regex *r = xcalloc(1, sizeof *r);
    r->code = code;
    r->data = pcre2_match_data_create(1, NULL);
    r->context = pcre2_match_context_create(NULL);
    if (r->data == NULL || r->context == NULL)
        abort();
    (void)pcre2_set_match_limit(r->context, REGEX_STEPS_MAX);
    (void)pcre2_set_heap_limit(r->context, REGEX_HEAP_MAX);
    return r;
}

struct regex *
regex_new_raw(const struct buf *pattern, bool ignore_case)
{
    int code;
    return compile(pattern, ignore_case ? PCRE2_CASELESS : 0, &code);
}

static bool
parse_flags(const char *text, struct regex_flags *ret)
{
    static const char known[] = "dgimsuvy";
    *ret = (struct regex_flags){0};
    for (const char *c = text; *c != '\0'; c++)
        if (strchr(known, *c) == NULL || strchr(c + 1, *c) != NULL)
            return false;
    ret->ignore_case = strchr(text, 'i') != NULL;
    ret->multiline = strchr(text, 'm') != NULL;
    ret->dot_all = strchr(text, 's') != NULL;
    ret->unicode = strchr(text, 'u') != NULL;
    ret->sticky = strchr(text, 'y') != NULL;
    return true;
}

static json_t *
syntax_error(const char *what)
{
    cleanup_free char *message = *what == '!' ? xasprintf("Not supported: %s", what + 1)
                                              : xasprintf("Invalid regular expression: %s", what);
    return *what == '!' ? error_object("NotSupported", "ENOTSUP", message)
                        : error_object("SyntaxError", NULL, message);
}

struct regex *
regex_new(const char *source, size_t size, const char *flags, json_t **ret_error)
{
    struct regex_flags f;
    struct buf pattern cleanup_buf;
    buf_init(&pattern, PATTERN_MAX);
    const char *wrong = !parse_flags(flags, &f)      ? "Invalid flags"
                        : strchr(flags, 'v') != NULL ? "!the flag v of a regular expression"
                                                     : NULL;
    if (wrong == NULL)
        wrong = regex_translate(&pattern, source, size, &f);
    if (wrong != NULL) {
        *ret_error = syntax_error(wrong);
        return NULL;
    }
    int code = 0;
    struct regex *r = compile(&pattern, f.ignore_case ? PCRE2_CASELESS : 0, &code);
    if (r == NULL) {
        char text[256] = "!";
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)text + 1, sizeof text - 1);
        *ret_error = syntax_error(text);
        return NULL;
    }
    r->sticky = f.sticky;
    return r;
}

// As clients see it: what is not UTF-8 as U+FFFD. Cut off behind REGEX_TEXT_MAX.
static size_t
repair(char ret[REGEX_TEXT_MAX], const char *text, size_t size)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t done = 0;
    for (size_t at = 0; at < size;) {
        size_t n = utf8_sequence((const uint8_t *)text + at, size - at);
        const char *from = n > 0 ? text + at : replacement;
        size_t width = n > 0 ? n : sizeof replacement - 1;
        if (width > REGEX_TEXT_MAX - done)
            break;
        memcpy(ret + done, from, width);
        done += width;
        at += n > 0 ? n : 1;
    }
    return done;
}

int
regex_matches(const struct regex *r, const char *text, size_t size)
{
    static char repaired[REGEX_TEXT_MAX];
    if (!utf8_is_valid(text, size)) {
        size = repair(repaired, text, size);
        text = repaired;
    }
    int n = pcre2_match(r->code, (PCRE2_SPTR)text, size, 0, r->sticky ? PCRE2_ANCHORED : 0, r->data,
                        r->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return 0;
    return n >= 0 ? 1 : -1;
}
