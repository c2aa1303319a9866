// SPDX-License-Identifier: Apache-2.0
// The scanner must judge a text alike however it is cut, and agree with a real parser on what is
// JSON.
#include "wire/json-scan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
judge(const uint8_t *data, size_t size, size_t step)
{
    struct json_scan s;
    json_scan_init(&s);
    json_scan_watch(&s, NULL, "id");
    json_scan_watch(&s, "params", "streamId");
    for (size_t i = 0; i < size; i += step)
        if (!json_scan_feed(&s, data + i, size - i < step ? size - i : step))
            return false;
    return json_scan_complete(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool whole = judge(data, size, size > 0 ? size : 1);
    if (whole != judge(data, size, 1) || whole != judge(data, size, 7))
        abort();
    // jansson is stricter in a few ways (big numbers, lone surrogates), and more lenient only in
    // that it takes a NUL for the end.
    if (memchr(data, '\0', size) != NULL)
        return 0;
    json_t *parsed = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (parsed != NULL && !whole)
        abort();
    json_decref(parsed);
    return 0;
}
