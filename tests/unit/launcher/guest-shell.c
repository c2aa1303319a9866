// SPDX-License-Identifier: Apache-2.0
// Stands in for casemate-init in the launcher's tests: for each data channel it reads one line, the
// user ("root" or "app"), and runs the text after it, to the end of input, in a shell whose output
// is the channel.
#include "wire/control.h"

#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRIPT_MAX = 65536, APP_ID = 1000 };

static int
receive_channel(void)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char type;
    struct iovec iov = {.iov_base = &type, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    if (recvmsg(CONTROL_SOCKET, &msg, MSG_CMSG_CLOEXEC) != 1 || type != CONTROL_CHANNEL)
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int fd = -1;
    if (c != NULL)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static void
run(int channel)
{
    static char script[SCRIPT_MAX];
    size_t used = 0;
    ssize_t n;
    while (used < sizeof script - 1 &&
           (n = read(channel, script + used, sizeof script - 1 - used)) > 0)
        used += (size_t)n;
    char *text = strchr(script, '\n');
    if (text == NULL)
        _exit(1);
    *text++ = '\0';
    (void)dup2(channel, STDOUT_FILENO);
    (void)dup2(channel, STDERR_FILENO);
    if (strcmp(script, "app") == 0 &&
        (setgroups(0, NULL) < 0 || setresgid(APP_ID, APP_ID, APP_ID) < 0 ||
         setresuid(APP_ID, APP_ID, APP_ID) < 0 || chdir("/home/app") < 0))
        _exit(1);
    char *const argv[] = {"bash", "-c", text, NULL};
    char *const environment[] = {
        "HOME=/home/app", "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    (void)execve("/bin/bash", argv, environment);
    _exit(127);
}

int
main(void)
{
    (void)signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int channel = receive_channel();
        if (channel < 0)
            return 0;
        if (fork() == 0) {
            (void)signal(SIGCHLD, SIG_DFL);
            run(channel);
        }
        (void)close(channel);
    }
}
