// SPDX-License-Identifier: Apache-2.0
#include "policy/hostname.h"

#include <string.h>

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z');
}

static const char *
check_label(const char *label, size_t size)
{
    if (size == 0)
        return "has an empty label";
    if (size > HOSTNAME_LABEL_MAX)
        return "has a label of more than 63 characters";
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)label[i] >= 0x80)
            return "is not ASCII: write international names in their \"xn--\" form";
        if (!is_alnum(label[i]) && label[i] != '-')
            return "holds a character that no host name has";
    }
    if (label[0] == '-' || label[size - 1] == '-')
        return "has a label that begins or ends with a hyphen";
    return NULL;
}

// What inet_aton(3) and URL parsers would take for the end of an IPv4 address.
static bool
is_numeric(const char *label, size_t size)
{
    size_t digits = 0;
    while (digits < size && is_digit(label[digits]))
        digits++;
    if (digits == size)
        return true;
    if (size < 2 || label[0] != '0' || label[1] != 'x')
        return false;
    for (size_t i = 2; i < size; i++)
        if (!is_digit(label[i]) && !(label[i] >= 'a' && label[i] <= 'f'))
            return false;
    return true;
}

const char *
hostname_canonical(const char *text, size_t size, char out[HOSTNAME_MAX + 1], size_t *ret_size)
{
    if (size > 0 && text[size - 1] == '.')
        size--;
    if (size == 0)
        return "is empty";
    if (size > HOSTNAME_MAX)
        return "is longer than 253 characters";
    for (size_t i = 0; i < size; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
    out[size] = '\0';

    const char *label = out;
    const char *end = out + size;
    for (;;) {
        const char *dot = memchr(label, '.', (size_t)(end - label));
        size_t length = (size_t)((dot == NULL ? end : dot) - label);
        const char *why = check_label(label, length);
        if (why != NULL)
            return why;
        if (dot == NULL) {
            if (is_numeric(label, length))
                return "ends in a number, as if it were an address";
            *ret_size = size;
            return NULL;
        }
        label = dot + 1;
    }
}

bool
hostname_is_below(const char *name, size_t size, const char *suffix, size_t suffix_size)
{
    return size > suffix_size + 1 && name[size - suffix_size - 1] == '.' &&
           memcmp(name + size - suffix_size, suffix, suffix_size) == 0;
}
