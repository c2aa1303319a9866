// SPDX-License-Identifier: Apache-2.0
#include "fetch/request.h"

#include "base/fd.h"
#include "base/mem.h"
#include "wire/pack.h"

#include <stdlib.h>
#include <strings.h>

static char *
take_text(struct unpack *u)
{
    size_t size;
    const uint8_t *text = unpack_bytes(u, FETCH_REQUEST_MAX, &size);
    char *copy = xcalloc(size + 1, 1);
    for (size_t i = 0; i < size; i++)
        copy[i] = (char)text[i];
    return copy;
}

static int
decode(struct fetch_request *ret, const uint8_t *data, size_t size)
{
    struct unpack u;
    unpack_init(&u, data, size);
    *ret = (struct fetch_request){0};
    ret->method = take_text(&u);
    ret->url = take_text(&u);
    ret->has_body = (unpack_u8(&u) & FETCH_HAS_BODY) != 0;
    uint8_t redirect = unpack_u8(&u);
    ret->pid = unpack_u32(&u);
    ret->header_count = unpack_u16(&u);
    if (u.failed || redirect >= FETCH_REDIRECT_MAX || ret->header_count > FETCH_HEADERS_MAX)
        return -1;
    ret->redirect = (enum fetch_redirect)redirect;
    ret->headers = xcalloc(ret->header_count + 1, sizeof *ret->headers);
    for (size_t i = 0; i < ret->header_count; i++) {
        ret->headers[i].name = take_text(&u);
        ret->headers[i].value = take_text(&u);
    }
    return unpack_complete(&u) ? 0 : -1;
}

int
request_read(struct fetch_request *ret, int fd)
{
    uint8_t head[sizeof(uint32_t)];
    struct unpack u;
    if (fd_read_all(fd, head, sizeof head) < 0)
        return -1;
    unpack_init(&u, head, sizeof head);
    uint32_t size = unpack_u32(&u);
    if (size > FETCH_REQUEST_MAX)
        return -1;
    uint8_t *data = xcalloc(size, 1);
    int r = fd_read_all(fd, data, size) < 0 ? -1 : decode(ret, data, size);
    free(data);
    return r;
}

const char *
request_header(const struct fetch_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

bool
request_has(const struct fetch_request *r, const char *name)
{
    return request_header(r, name) != NULL;
}

void
request_drop(struct fetch_request *r, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, name) != 0) {
            r->headers[kept++] = r->headers[i];
            continue;
        }
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    r->header_count = kept;
}
