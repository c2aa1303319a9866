// SPDX-License-Identifier: Apache-2.0
// Time from "create a sandbox" to the first byte of output of a program in it, and the round trip
// of a spawn in a running one, by a client that adds next to nothing of its own; interleaved with
// what bubblewrap needs to start the same program in fresh namespaces. Prints medians, and the
// ratio pair by pair.
//
// usage: latency ENDPOINT-PORT TOKEN ROUNDS
#include "client.h"

#include <err.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS_MAX = 1000, SPAWNS = 20 };

static unsigned
spawn_and_wait(struct client *c, const char *command, const char *stdout_choice)
{
    size_t size;
    unsigned id = client_call(
        c, "spawn", "{\"command\":\"%s\",\"args\":[\"hi\"],\"stdout\":\"%s\",\"stderr\":\"null\"}",
        command, stdout_choice);
    const char *text = client_answer(c, id, &size);
    return client_call(c, "processWait", "{\"pid\":%lu}", client_number(text, size, "pid"));
}

static double
create_to_first_output(struct client *c, uint16_t port, const char *token)
{
    size_t size;
    double start = client_now_ms();
    client_create(c, port, token);
    unsigned id = spawn_and_wait(c, "echo", "piped");
    (void)client_await(c, "aGkK", &size); // "hi\n"
    double took = client_now_ms() - start;
    (void)client_answer(c, id, &size);
    return took;
}

static double
spawn_round_trip(struct client *c)
{
    size_t size;
    double start = client_now_ms();
    (void)client_answer(c, spawn_and_wait(c, "true", "null"), &size);
    return client_now_ms() - start;
}

static double
bubblewrap(void)
{
    extern char **environ;
    char *argv[] = {"bwrap", "--unshare-all", "--ro-bind", "/",    "/",  "--dev",
                    "/dev",  "--proc",        "/proc",     "echo", "hi", NULL};
    posix_spawn_file_actions_t actions;
    int pair[2];
    pid_t pid;
    char byte;
    double start = client_now_ms();
    if (pipe(pair) < 0)
        err(1, "pipe");
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pair[1], 1);
    if (posix_spawnp(&pid, "bwrap", &actions, NULL, argv, environ) != 0)
        errx(1, "cannot start bwrap");
    (void)close(pair[1]);
    if (read(pair[0], &byte, 1) != 1)
        errx(1, "bwrap said nothing");
    double took = client_now_ms() - start;
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    return took;
}

static void
report(const char *what, double *v, size_t n)
{
    printf("%-34s median %8.3f ms   p95 %8.3f ms   min %8.3f ms   (n=%zu)\n", what,
           client_quantile(v, n, 0.5), client_quantile(v, n, 0.95), client_quantile(v, n, 0), n);
}

int
main(int argc, char **argv)
{
    static double create[ROUNDS_MAX];
    static double spawn[ROUNDS_MAX * SPAWNS];
    static double peer[ROUNDS_MAX];
    static double ratio[ROUNDS_MAX];
    if (argc != 4)
        errx(2, "usage: latency PORT TOKEN ROUNDS");
    size_t rounds = strtoul(argv[3], NULL, 10);
    if (rounds < 1 || rounds > ROUNDS_MAX)
        errx(2, "ROUNDS is 1 to %d", ROUNDS_MAX);
    for (size_t i = 0; i < rounds; i++) {
        struct client c;
        peer[i] = bubblewrap();
        create[i] = create_to_first_output(&c, (uint16_t)atoi(argv[1]), argv[2]);
        ratio[i] = create[i] / peer[i];
        for (size_t k = 0; k < SPAWNS; k++)
            spawn[i * SPAWNS + k] = spawn_round_trip(&c);
        client_done(&c);
        (void)usleep(200000); // let it be taken down
    }
    report("create to first output", create, rounds);
    report("spawn to exit status", spawn, rounds * SPAWNS);
    report("bwrap --unshare-all to output", peer, rounds);
    printf("create / bwrap, pair by pair: median %.1f\n", client_quantile(ratio, rounds, 0.5));
    return 0;
}
