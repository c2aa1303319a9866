// SPDX-License-Identifier: Apache-2.0
#include "cmd/casemated-options.h"

#include "api/config.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "policy/operator-file.h"
#include "policy/policy.h"
#include "wire/launch.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct row {
    const char *name;
    const char *argument; // NULL: takes none
    const char *help;
    int (*apply)(struct options *o, const char *value, struct error *err);
};

static int apply_help(struct options *o, const char *value, struct error *err);

static int
apply_dev(struct options *o, const char *value, struct error *err)
{
    (void)value;
    (void)err;
    o->dev = true;
    return 0;
}

static int
apply_listen(struct options *o, const char *value, struct error *err)
{
    (void)err;
    o->listen = value;
    return 0;
}

static int
apply_insecure(struct options *o, const char *value, struct error *err)
{
    (void)value;
    (void)err;
    o->insecure_listen = true;
    return 0;
}

static int
apply_state(struct options *o, const char *value, struct error *err)
{
    (void)err;
    o->state = value;
    return 0;
}

static int
apply_image(struct options *o, const char *value, struct error *err)
{
    if (snprintf(o->image, sizeof o->image, "%s", value) >= (int)sizeof o->image)
        return error_set(err, ERR_INVALID_CONFIG, "--image: the path is too long");
    return 0;
}

static int
apply_driver(struct options *o, const char *value, struct error *err)
{
    (void)o;
    if (strcmp(value, "ns") == 0 || strcmp(value, "auto") == 0)
        return 0;
    if (strcmp(value, "vm") == 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "--driver vm: microVMs are not offered by this build; use ns or auto");
    return error_set(err, ERR_INVALID_CONFIG, "--driver %.32s: give ns, vm or auto", value);
}

static int
parse_number(const char *name, const char *value, unsigned long min, unsigned long max,
             unsigned long *ret, struct error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
        return error_set(err, ERR_INVALID_CONFIG, "--%s %.32s: give a number from %lu to %lu", name,
                         value, min, max);
    *ret = n;
    return 0;
}

static int
apply_min_memory(struct options *o, const char *value, struct error *err)
{
    unsigned long n = 0;
    if (parse_number("min-memory", value, 64, CONFIG_MEMORY_MAX_MIB, &n, err) < 0)
        return -1;
    o->memory_min_mib = (uint32_t)n;
    return 0;
}

static int
apply_max_sandboxes(struct options *o, const char *value, struct error *err)
{
    unsigned long n = 0;
    if (parse_number("max-sandboxes", value, 1, LAUNCH_SANDBOXES_MAX, &n, err) < 0)
        return -1;
    o->sandboxes_max = (unsigned)n;
    return 0;
}

static int
apply_egress_host(struct options *o, const char *value, struct error *err)
{
    size_t n = 0;
    while (o->egress_hosts[n] != NULL)
        n++;
    if (n == OPTIONS_EGRESS_HOSTS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "--egress-host may be given %d times",
                         OPTIONS_EGRESS_HOSTS_MAX);
    struct policy *trial = NULL;
    if (policy_from_json(NULL, NULL, &trial, err) < 0)
        return -1;
    int status = policy_add_dial_override(trial, value, err);
    policy_free(trial);
    if (status < 0)
        return error_wrap(err, "--egress-host");
    o->egress_hosts[n] = value;
    return 0;
}

static int
apply_egress_ca(struct options *o, const char *value, struct error *err)
{
    (void)err;
    o->egress_ca = value;
    return 0;
}

static int
apply_egress_config(struct options *o, const char *value, struct error *err)
{
    struct operator trial;
    if (strcmp(value, "-") == 0)
        return error_set(err, ERR_INVALID_CONFIG, "--egress-config: give a file");
    if (operator_load_file(value, &trial, err) < 0)
        return error_wrap(err, "--egress-config");
    operator_done(&trial);
    o->egress_config = value;
    return 0;
}

static int
apply_user(struct options *o, const char *value, struct error *err)
{
    (void)err;
    o->user = value;
    return 0;
}

static int
apply_worker_user(struct options *o, const char *value, struct error *err)
{
    (void)err;
    o->worker_user = value;
    return 0;
}

static int
apply_region(struct options *o, const char *value, struct error *err)
{
    if (strspn(value, "abcdefghijklmnopqrstuvwxyz") != 3 || value[3] != '\0')
        return error_set(err, ERR_INVALID_CONFIG, "--region %.32s: give three letters a-z", value);
    o->region = value;
    return 0;
}

static int
apply_log_level(struct options *o, const char *value, struct error *err)
{
    if (log_level_parse(value, &o->log_level))
        return 0;
    return error_set(err, ERR_INVALID_CONFIG, "--log-level %.32s: give debug, info, warn or error",
                     value);
}

static int
apply_check(struct options *o, const char *value, struct error *err)
{
    (void)value;
    (void)err;
    o->action = OPTIONS_CHECK;
    return 0;
}

static int
apply_version(struct options *o, const char *value, struct error *err)
{
    (void)value;
    (void)err;
    (void)puts("casemated " CASEMATE_VERSION);
    o->action = OPTIONS_EXIT;
    return 0;
}

static const struct row rows[] = {
    {"dev", NULL, "a private instance: makes a token, writes DIR/dev.env", apply_dev},
    {"listen", "ADDR:PORT", "where to listen (127.0.0.1:8080); port 0 picks a free one",
     apply_listen},
    {"insecure-listen", NULL, "allow an address that is not loopback, without TLS", apply_insecure},
    {"state", "DIR", "what the service keeps", apply_state},
    {"image", "FILE", "base image (image/base.erofs beside this program)", apply_image},
    {"driver", "ns|vm|auto", "how sandboxes are made (auto)", apply_driver},
    {"min-memory", "MIB", "least memory that a sandbox may ask for (768)", apply_min_memory},
    {"max-sandboxes", "N", "sandboxes at once (64)", apply_max_sandboxes},
    {"egress-host", "NAME=ADDR:PORT", "where sandboxes' connections to NAME go; repeatable",
     apply_egress_host},
    {"egress-ca", "FILE", "PEM roots besides the system's, for upstreams and sandboxes",
     apply_egress_ca},
    {"egress-config", "FILE", "what the operator says of egress, JSON", apply_egress_config},
    {"user", "NAME", "user to run as (casemate)", apply_user},
    {"worker-user", "NAME", "user of the egress proxies (casemate-proxy)", apply_worker_user},
    {"region", "XXX", "three letters that stand in every id (ord)", apply_region},
    {"log-level", "LEVEL", "debug, info, warn or error (info)", apply_log_level},
    {"check-config", NULL, "check the options and exit", apply_check},
    {"version", NULL, "print the version and exit", apply_version},
    {"help", NULL, "print this and exit", apply_help},
};

static int
apply_help(struct options *o, const char *value, struct error *err)
{
    (void)value;
    (void)err;
    (void)puts("Usage: casemated --dev --state DIR [OPTION...]\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char left[48];
        (void)snprintf(left, sizeof left, "--%s%s%s", rows[i].name,
                       rows[i].argument != NULL ? " " : "",
                       rows[i].argument != NULL ? rows[i].argument : "");
        (void)printf("  %-29s %s\n", left, rows[i].help);
    }
    o->action = OPTIONS_EXIT;
    return 0;
}

static int
find_binaries(struct options *o, struct error *err)
{
    ssize_t n = readlink("/proc/self/exe", o->binaries, sizeof o->binaries - 1);
    if (n < 0)
        return error_set_errno(err, errno, "read /proc/self/exe (is /proc mounted?)");
    o->binaries[n] = '\0';
    *strrchr(o->binaries, '/') = '\0';
    static const char tail[] = "/image/base.erofs";
    if (strlen(o->binaries) + sizeof tail > sizeof o->image)
        return error_set(err, ERR_INVALID_CONFIG, "the path of this program is too long");
    memcpy(o->image, o->binaries, strlen(o->binaries));
    memcpy(o->image + strlen(o->binaries), tail, sizeof tail);
    return 0;
}

static int
check(const struct options *o, struct error *err)
{
    if (!o->dev)
        return error_set(err, ERR_UNSUPPORTED,
                         "this build only offers private instances: add --dev");
    if (o->state == NULL)
        return error_set(err, ERR_INVALID_CONFIG, "--state DIR is missing");
    if (strcmp(o->user, o->worker_user) == 0)
        return error_set(err, ERR_INVALID_CONFIG, "--user and --worker-user must be two users");
    return server_check_address(o->listen, o->insecure_listen, err);
}

static int
apply_all(struct options *o, int argc, char **argv, struct error *err)
{
    struct option table[ARRAY_SIZE(rows) + 1] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        table[i] = (struct option){
            .name = rows[i].name,
            .has_arg = rows[i].argument != NULL ? required_argument : no_argument,
        };
    opterr = 0;
    for (;;) {
        int at = -1;
        int last = optind;
        int c = getopt_long(argc, argv, ":", table, &at);
        if (c < 0)
            break;
        if (c == ':')
            return error_set(err, ERR_INVALID_CONFIG, "%.64s needs a value; see --help",
                             argv[last]);
        if (c == '?')
            return error_set(err, ERR_INVALID_CONFIG, "unknown option %.64s; see --help",
                             argv[last]);
        if (rows[at].apply(o, optarg, err) < 0)
            return -1;
        if (o->action == OPTIONS_EXIT)
            return 0;
    }
    if (optind < argc)
        return error_set(err, ERR_INVALID_CONFIG, "unexpected argument %.64s; see --help",
                         argv[optind]);
    return 0;
}

int
options_parse(struct options *ret, int argc, char **argv, struct error *err)
{
    *ret = (struct options){
        .listen = "127.0.0.1:8080",
        .memory_min_mib = CONFIG_MEMORY_MIN_MIB,
        .user = "casemate",
        .worker_user = "casemate-proxy",
        .region = "ord",
        .sandboxes_max = OPTIONS_SANDBOXES_DEFAULT,
        .log_level = LOG_LEVEL_INFO,
    };
    if (find_binaries(ret, err) < 0 || apply_all(ret, argc, argv, err) < 0)
        return -1;
    return ret->action == OPTIONS_EXIT ? 0 : check(ret, err);
}
