// SPDX-License-Identifier: Apache-2.0
// casemate: the command line.
#include "base/cleanup.h"
#include "base/ident.h"
#include "cmd/casemate-audit.h"
#include "cmd/casemate-client.h"
#include "cmd/casemate-policy.h"
#include "cmd/doctor.h"

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct command {
    const char *name;
    const char *arguments;
    const char *help;
    int (*run)(int argc, char **argv, struct error *err); // exit status, or -1 with err
};

static int
usage_error(struct error *err)
{
    return error_set(err, ERR_INVALID_REQUEST, "see casemate help");
}

// Text of a sandbox's creator: control characters must not reach the terminal.
static void
print_plain(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool c1 = *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        (void)putchar(*p < 0x20 || *p == 0x7f || c1 ? '?' : *p);
        p += c1;
    }
}

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "-";
}

static void
print_sandbox(const json_t *s)
{
    const json_t *usage = json_object_get(s, "usage");
    const char *key;
    const json_t *value;
    bool first = true;
    (void)printf("%-29s %-8s %-25s %10.3f %10.3f  ", text_of(s, "id"), text_of(s, "status"),
                 text_of(s, "createdAt"), json_number_value(json_object_get(usage, "cpuSeconds")),
                 json_number_value(json_object_get(usage, "memoryGibSeconds")));
    print_plain(text_of(s, "endReason"));
    (void)printf("%*s", (int)(14 - strlen(text_of(s, "endReason")) % 14), "");
    json_object_foreach(json_object_get(s, "labels"), key, value)
    {
        (void)fputs(first ? "" : ",", stdout);
        first = false;
        print_plain(key);
        (void)putchar('=');
        print_plain(json_string_value(value) != NULL ? json_string_value(value) : "");
    }
    (void)putchar('\n');
}

static int
print_list(const struct buf *body, struct error *err)
{
    json_t *list = json_loadb((const char *)buf_bytes(body), buf_size(body), 0, NULL);
    size_t i;
    const json_t *s;
    if (!json_is_array(list)) {
        json_decref(list);
        return error_set(err, ERR_PROTOCOL, "the server's answer is not a list");
    }
    (void)printf("%-29s %-8s %-25s %10s %10s  %-13s %s\n", "ID", "STATUS", "CREATED", "CPU-S",
                 "GIB-S", "END", "LABELS");
    json_array_foreach(list, i, s) print_sandbox(s);
    json_decref(list);
    return 0;
}

struct remote {
    struct client client;
    bool json;
};

// Options that talk to a service; optind is then at the first operand.
static int
parse_remote(int argc, char **argv, struct remote *ret, struct error *err)
{
    static const struct option table[] = {
        {"env-file", required_argument, NULL, 'e'}, {"json", no_argument, NULL, 'j'}, {0}};
    const char *env_file = NULL;
    *ret = (struct remote){0};
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) >= 0;) {
        if (c == 'e')
            env_file = optarg;
        else if (c == 'j')
            ret->json = true;
        else
            return usage_error(err);
    }
    return client_configure(&ret->client, env_file, err);
}

static int
run_list(int argc, char **argv, struct error *err)
{
    struct remote remote;
    cleanup_buf struct buf body;
    buf_init(&body, CLIENT_BODY_MAX);
    if (parse_remote(argc, argv, &remote, err) < 0 ||
        client_request(&remote.client, "GET", "/api/v2/sandboxes", &body, err) < 0)
        return -1;
    if (!remote.json)
        return print_list(&body, err);
    (void)fwrite(buf_bytes(&body), 1, buf_size(&body), stdout);
    (void)putchar('\n');
    return 0;
}

static int
run_kill(int argc, char **argv, struct error *err)
{
    struct remote remote;
    char path[64];
    cleanup_buf struct buf body;
    buf_init(&body, CLIENT_BODY_MAX);
    if (parse_remote(argc, argv, &remote, err) < 0)
        return -1;
    if (optind + 1 != argc)
        return usage_error(err);
    if (!ident_is_sandbox(argv[optind], strlen(argv[optind])))
        return error_set(err, ERR_INVALID_REQUEST, "%.64s is not a sandbox's id", argv[optind]);
    (void)snprintf(path, sizeof path, "/api/v3/sandbox/%s", argv[optind]);
    return client_request(&remote.client, "DELETE", path, &body, err);
}

static int
run_doctor(int argc, char **argv, struct error *err)
{
    static const struct option table[] = {
        {"image", required_argument, NULL, 'i'}, {"state", required_argument, NULL, 's'}, {0}};
    struct doctor_options options = {0};
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) >= 0;) {
        if (c == 'i')
            options.image = optarg;
        else if (c == 's')
            options.state = optarg;
        else
            return usage_error(err);
    }
    return doctor_run(&options) > 0;
}

static int
run_audit(int argc, char **argv, struct error *err)
{
    static const struct option table[] = {{"state", required_argument, NULL, 's'},
                                          {"sandbox", required_argument, NULL, 'i'},
                                          {"event", required_argument, NULL, 'e'},
                                          {"secrets", no_argument, NULL, 'c'},
                                          {"follow", no_argument, NULL, 'f'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    struct audit_options options = {.state = "/var/lib/casemate"};
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) >= 0;) {
        if (c == 's')
            options.state = optarg;
        else if (c == 'i')
            options.sandbox = optarg;
        else if (c == 'e')
            options.event = optarg;
        else if (c == 'c')
            options.secrets = true;
        else if (c == 'f')
            options.follow = true;
        else if (c == 'j')
            options.json = true;
        else
            return usage_error(err);
    }
    if (optind != argc || (options.secrets && (options.follow || options.json)))
        return usage_error(err);
    return audit_run(&options, err);
}

static int
run_version(int argc, char **argv, struct error *err)
{
    (void)argc;
    (void)argv;
    (void)err;
    (void)puts("casemate " CASEMATE_VERSION);
    return 0;
}

static int run_help(int argc, char **argv, struct error *err);

static const struct command commands[] = {
    {"list", "[--json] [--env-file FILE]", "sandboxes and what they use", run_list},
    {"kill", "[--env-file FILE] ID", "end a sandbox", run_kill},
    {"audit", "[OPTION]...", "what sandboxes did on the network, and with which secrets",
     run_audit},
    {"doctor", "[--image FILE] [--state DIR]", "check this host for what Casemate needs",
     run_doctor},
    {"policy", "check [OPTION...] FILE [HOST[:PORT]]", "what an egress policy would do",
     policy_command},
    {"version", "", "print the version", run_version},
    {"help", "", "print this", run_help},
};

static int
run_help(int argc, char **argv, struct error *err)
{
    (void)argc;
    (void)argv;
    (void)err;
    (void)puts("Usage: casemate COMMAND\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        (void)printf("  %-8s %-30s %s\n", commands[i].name, commands[i].arguments,
                     commands[i].help);
    (void)puts(
        "\naudit [--sandbox ID] [--event EVENT] [--secrets | --follow] [--json] [--state DIR]\n"
        "reads the audit trail of the state directory; --secrets counts what became of each.\n"
        "\nlist and kill find the service by DENO_DEPLOY_ENDPOINT and DENO_DEPLOY_TOKEN.\n"
        "policy check takes --egress-config FILE, the operator's, and --policy NAME, one of "
        "its\npolicies; it ends with 0 where HOST is allowed, 1 where it is refused, 2 where it\n"
        "cannot tell.");
    return 0;
}

int
main(int argc, char **argv)
{
    struct error err = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        int skip = argc > 1 ? 1 : 0;
        int status = commands[i].run(argc - skip, argv + skip, &err);
        if (status < 0)
            (void)fprintf(stderr, "casemate: %s\n", err.msg);
        return status < 0 ? 1 : status;
    }
    (void)fprintf(stderr, "casemate: unknown command %.64s; see casemate help\n", name);
    return 2;
}
