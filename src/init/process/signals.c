// SPDX-License-Identifier: Apache-2.0
#include "init/process/signals.h"

#include "base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

// The first name of a number is the one that is reported.
static const struct {
    const char *name;
    int number;
} names[] = {
    {"SIGABRT", SIGABRT},  {"SIGALRM", SIGALRM},     {"SIGBUS", SIGBUS},     {"SIGCHLD", SIGCHLD},
    {"SIGCONT", SIGCONT},  {"SIGFPE", SIGFPE},       {"SIGHUP", SIGHUP},     {"SIGILL", SIGILL},
    {"SIGINT", SIGINT},    {"SIGIO", SIGIO},         {"SIGPOLL", SIGPOLL},   {"SIGKILL", SIGKILL},
    {"SIGPIPE", SIGPIPE},  {"SIGPROF", SIGPROF},     {"SIGPWR", SIGPWR},     {"SIGQUIT", SIGQUIT},
    {"SIGSEGV", SIGSEGV},  {"SIGSTKFLT", SIGSTKFLT}, {"SIGSTOP", SIGSTOP},   {"SIGSYS", SIGSYS},
    {"SIGUNUSED", SIGSYS}, {"SIGTERM", SIGTERM},     {"SIGTRAP", SIGTRAP},   {"SIGTSTP", SIGTSTP},
    {"SIGTTIN", SIGTTIN},  {"SIGTTOU", SIGTTOU},     {"SIGURG", SIGURG},     {"SIGUSR1", SIGUSR1},
    {"SIGUSR2", SIGUSR2},  {"SIGVTALRM", SIGVTALRM}, {"SIGWINCH", SIGWINCH}, {"SIGXCPU", SIGXCPU},
    {"SIGXFSZ", SIGXFSZ},
};

int
signal_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].number;
    return -1;
}

const char *
signal_text(int number, char ret[SIGNAL_NAME_MAX])
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].number == number)
            return names[i].name;
    (void)snprintf(ret, SIGNAL_NAME_MAX, "SIGRT%d", number);
    return ret;
}
