// SPDX-License-Identifier: Apache-2.0
#include "egress/h2-head.h"

void
h2_fields_init(struct h2_fields *f, size_t cap)
{
    buf_init_secret(&f->bytes, cap);
    f->count = 0;
    f->size = 0;
}

void
h2_fields_clear(struct h2_fields *f)
{
    buf_done(&f->bytes);
    f->count = 0;
    f->size = 0;
}

int
h2_fields_add(struct h2_fields *f, const void *name, size_t name_size, const void *value,
              size_t value_size, bool sensitive)
{
    size_t at = buf_size(&f->bytes);
    if (f->count == H2_FIELDS_MAX || buf_reserve(&f->bytes, name_size + value_size) == NULL ||
        buf_append(&f->bytes, name, name_size) != 0 ||
        buf_append(&f->bytes, value, value_size) != 0)
        return -1;
    f->items[f->count].name_at = (uint32_t)at;
    f->items[f->count].name_size = (uint32_t)name_size;
    f->items[f->count].value_at = (uint32_t)(at + name_size);
    f->items[f->count].value_size = (uint32_t)value_size;
    f->items[f->count].sensitive = sensitive;
    f->count++;
    f->size += name_size + value_size + H2_FIELD_OVERHEAD;
    return 0;
}

struct h1_field
h2_fields_at(const struct h2_fields *f, size_t i)
{
    const char *bytes = (const char *)buf_bytes(&f->bytes);
    return (struct h1_field){
        .name = {bytes + f->items[i].name_at, f->items[i].name_size},
        .value = {bytes + f->items[i].value_at, f->items[i].value_size},
    };
}

size_t
h2_fields_list(const struct h2_fields *f, nghttp2_nv *ret)
{
    uint8_t *bytes = buf_bytes(&f->bytes);
    for (size_t i = 0; i < f->count; i++) {
        ret[i] = (nghttp2_nv){
            .name = bytes + f->items[i].name_at,
            .namelen = f->items[i].name_size,
            .value = bytes + f->items[i].value_at,
            .valuelen = f->items[i].value_size,
            .flags = f->items[i].sensitive ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
        };
    }
    return f->count;
}
