// SPDX-License-Identifier: Apache-2.0
// casemate-launcher --state DIR --image FILE --init PATH --fetch PATH --worker PATH
// --worker-user NAME --max-sandboxes N
// [--log-level LEVEL] with a SEQPACKET socket to casemated on descriptor 3.
#include "launcher/launcher.h"
#include "wire/launch.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum option_value {
    OPTION_STATE = 256,
    OPTION_IMAGE,
    OPTION_INIT,
    OPTION_FETCH,
    OPTION_WORKER,
    OPTION_WORKER_USER,
    OPTION_MAX_SANDBOXES,
    OPTION_LOG_LEVEL,
};

static const struct option option_table[] = {
    {"state", required_argument, NULL, OPTION_STATE},
    {"image", required_argument, NULL, OPTION_IMAGE},
    {"init", required_argument, NULL, OPTION_INIT},
    {"fetch", required_argument, NULL, OPTION_FETCH},
    {"worker", required_argument, NULL, OPTION_WORKER},
    {"worker-user", required_argument, NULL, OPTION_WORKER_USER},
    {"max-sandboxes", required_argument, NULL, OPTION_MAX_SANDBOXES},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {NULL, 0, NULL, 0},
};

static int
usage(void)
{
    (void)fputs("usage: casemate-launcher --state DIR --image FILE --init PATH --fetch PATH "
                "--worker PATH --worker-user NAME --max-sandboxes N [--log-level LEVEL]\n"
                "Started by casemated, with its socket on descriptor 3.\n",
                stderr);
    return 2;
}

static int
parse_sandboxes(const char *text, unsigned *ret)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || n == 0 || n > LAUNCH_SANDBOXES_MAX)
        return -1;
    *ret = (unsigned)n;
    return 0;
}

static int
parse(int argc, char **argv, struct launcher_options *o)
{
    int c;
    while ((c = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        switch (c) {
        case OPTION_STATE:
            o->state_dir = optarg;
            break;
        case OPTION_IMAGE:
            o->image = optarg;
            break;
        case OPTION_INIT:
            o->init = optarg;
            break;
        case OPTION_FETCH:
            o->fetch = optarg;
            break;
        case OPTION_WORKER:
            o->worker = optarg;
            break;
        case OPTION_WORKER_USER:
            o->worker_user = optarg;
            break;
        case OPTION_MAX_SANDBOXES:
            if (parse_sandboxes(optarg, &o->sandboxes_max) < 0)
                return -1;
            break;
        case OPTION_LOG_LEVEL:
            if (!log_level_parse(optarg, &o->log_level))
                return -1;
            break;
        default:
            return -1;
        }
    }
    if (optind != argc || o->state_dir == NULL || o->image == NULL || o->init == NULL ||
        o->fetch == NULL || o->worker == NULL || o->worker_user == NULL || o->sandboxes_max == 0)
        return -1;
    return 0;
}

int
main(int argc, char **argv)
{
    struct launcher_options options = {.log_level = LOG_LEVEL_INFO};
    if (parse(argc, argv, &options) < 0)
        return usage();
    if (geteuid() != 0) {
        (void)fputs("casemate-launcher: must be run as root\n", stderr);
        return 1;
    }
    return launcher_run(&options);
}
