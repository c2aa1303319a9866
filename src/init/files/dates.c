// SPDX-License-Identifier: Apache-2.0
#include "init/files/dates.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const double SECONDS_MAX = 8.64e12; // what a JavaScript date can hold

static int
from_number(double seconds, struct timespec *ret)
{
    if (!isfinite(seconds) || fabs(seconds) > SECONDS_MAX)
        return -1;
    double whole = floor(seconds);
    *ret = (struct timespec){.tv_sec = (time_t)whole, .tv_nsec = (long)((seconds - whole) * 1e9)};
    return 0;
}

// ".678" as nanoseconds; moves *p behind it. No fraction is 0.
static long
take_fraction(const char **p)
{
    long ns = 0;
    long unit = 100000000;
    if (**p != '.')
        return 0;
    for ((*p)++; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
        ns += (**p - '0') * unit;
    return ns;
}

// Exactly this many digits as a number from low to high; moves *p behind them.
static bool
take_digits(const char **p, int count, int low, int high, int *ret)
{
    int v = 0;
    for (int i = 0; i < count; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        v = v * 10 + (**p - '0');
    }
    *ret = v;
    return v >= low && v <= high;
}

static bool
take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

// Four digits, or a sign and six.
static bool
take_year(const char **p, int *ret)
{
    bool negative = **p == '-';
    if (!negative && **p != '+')
        return take_digits(p, 4, 0, 9999, ret);
    (*p)++;
    bool taken = take_digits(p, 6, 0, 275760, ret);
    if (negative)
        *ret = -*ret;
    return taken;
}

// "Z", "+02:00" or nothing, to the end of the text, as seconds east of UTC.
static bool
take_zone(const char *p, long *ret)
{
    int hours;
    int minutes;
    *ret = 0;
    if (strcmp(p, "Z") == 0 || *p == '\0')
        return true;
    long sign = *p == '-' ? -1 : 1;
    if (*p != '+' && *p != '-')
        return false;
    p++;
    if (!take_digits(&p, 2, 0, 23, &hours) || !take_char(&p, ':') ||
        !take_digits(&p, 2, 0, 59, &minutes))
        return false;
    *ret = sign * (hours * 3600L + minutes * 60L);
    return *p == '\0';
}

static int
from_text(const char *p, struct timespec *ret)
{
    struct tm tm = {0};
    bool date = take_year(&p, &tm.tm_year) && take_char(&p, '-') &&
                take_digits(&p, 2, 1, 12, &tm.tm_mon) && take_char(&p, '-') &&
                take_digits(&p, 2, 1, 31, &tm.tm_mday);
    bool time = date && take_char(&p, 'T') && take_digits(&p, 2, 0, 24, &tm.tm_hour) &&
                take_char(&p, ':') && take_digits(&p, 2, 0, 59, &tm.tm_min) && take_char(&p, ':') &&
                take_digits(&p, 2, 0, 60, &tm.tm_sec);
    if (!time)
        return -1;
    long ns = take_fraction(&p);
    long zone;
    if (!take_zone(p, &zone))
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *ret = (struct timespec){.tv_sec = timegm(&tm) - zone, .tv_nsec = ns};
    return 0;
}

int
date_from_json(const json_t *v, struct timespec *ret)
{
    if (json_is_number(v))
        return from_number(json_number_value(v), ret);
    const char *text = json_string_value(v);
    return text != NULL && strlen(text) == json_string_length(v) ? from_text(text, ret) : -1;
}
