// SPDX-License-Identifier: Apache-2.0
// The client of bench/egress: HTTP/1.1 over TLS on some connections at once, one request after the
// other on each, and the processor time that other processes (a proxy) spent meanwhile. Each
// response must be a 200 with a Content-Length, and whole.
//
// usage: egress-client [OPTION]... PATH
//   -a ADDR   to connect to (IPv4), or a name to ask the sandbox's resolver for
//   -p PORT
//   -n NAME   of the host, verified and sent as SNI and Host
//   -x HOST   NAME:PORT for CONNECT: ADDR is an explicit proxy, and Host has the port
//   -C FILE   certificates to verify with
//   -c COUNT  of connections
//   -s SEC    how long; the connections are set up and used once before the clock starts
//   -f COUNT  instead COUNT requests one after the other, each on a new connection
//   -k TEXT   token for "Authorization: Bearer"
//   -P PIDS   processes whose time is read, separated by commas
// Prints one JSON object.
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 256,
    HEAD_MAX = 16384,
    READ_SIZE = 65536,
    REQUEST_MAX = 2048,
    PIDS_MAX = 64,
    SETTLE_NS = 5 * 1000 * 1000, // the kernel adds up a process's time when it goes to sleep
    FAILED = 1,
};

struct options {
    const char *address;
    const char *port;
    const char *name;
    const char *connect;
    const char *roots;
    const char *token;
    const char *path;
    const char *pids;
    int connections;
    double seconds;
    int fresh; // requests on new connections; 0: connections are kept
};

struct connection {
    int fd;
    SSL *ssl;
    bool connected; // false: to be opened anew
    int64_t began_ns;
    char head[HEAD_MAX];
    size_t head_size;
    uint64_t left; // of the body
    bool in_body;
    bool closes;
};

struct result {
    uint64_t requests;
    uint64_t bytes;
    int64_t elapsed_ns;
    int64_t cpu_ns;
    uint32_t *latency; // tenths of a microsecond
    size_t latency_room;
};

static struct options o = {.connections = 1, .seconds = 1, .token = "none"};
static struct sockaddr_in target = {.sin_family = AF_INET};
static SSL_CTX *context;
static char request[REQUEST_MAX];
static size_t request_size;

static int64_t
now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
sleep_ns(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    if (ns > 0)
        (void)nanosleep(&t, NULL);
}

// --- time of other processes ---

static int64_t
thread_time(const char *pid, const char *thread)
{
    char path[320];
    long long ns = 0;
    (void)snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, thread);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0; // it has ended
    if (fscanf(f, "%lld", &ns) != 1)
        errx(FAILED, "%s: not readable", path);
    (void)fclose(f);
    return ns;
}

static int64_t
processor_time(void)
{
    int64_t total = 0;
    char *list = strdup(o.pids != NULL ? o.pids : "");
    char *rest = list;
    const char *pid;
    sleep_ns(SETTLE_NS);
    while ((pid = strsep(&rest, ",")) != NULL && *pid != '\0') {
        char path[64];
        (void)snprintf(path, sizeof path, "/proc/%s/task", pid);
        DIR *dir = opendir(path);
        if (dir == NULL)
            errx(FAILED, "process %s has ended", pid);
        for (const struct dirent *e; (e = readdir(dir)) != NULL;)
            if (e->d_name[0] != '.')
                total += thread_time(pid, e->d_name);
        (void)closedir(dir);
    }
    free(list);
    return total;
}

// --- names ---

// Asks for the A record as a program in a sandbox would; the answer's address ends the reply.
static void
resolve(const char *name)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
    uint8_t message[512] = {0, 1, 1, 0, 0, 1};
    size_t at = 12;
    for (const char *label = name; *label != '\0';) {
        size_t size = strcspn(label, ".");
        if (size > 63 || at + size > 300)
            errx(FAILED, "%s: no host name", name);
        message[at++] = (uint8_t)size;
        memcpy(message + at, label, size);
        at += size;
        label += size + (label[size] == '.');
    }
    memcpy(message + at, "\0\0\1\0\1", 5);
    at += 5;
    (void)inet_pton(AF_INET, "198.18.0.1", &server.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = 2};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0 || send(fd, message, at, 0) < 0)
        err(FAILED, "resolver");
    ssize_t n = recv(fd, message, sizeof message, 0);
    if (n < (ssize_t)at + 16 || message[7] != 1)
        errx(FAILED, "%s: not resolved", name);
    memcpy(&target.sin_addr, message + n - 4, 4);
    (void)close(fd);
}

// --- connections ---

static void
tunnel(int fd)
{
    char text[REQUEST_MAX];
    int size = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", o.connect,
                        o.connect);
    if (write(fd, text, (size_t)size) != size)
        err(FAILED, "CONNECT");
    size_t got = 0;
    while (memmem(text, got, "\r\n\r\n", 4) == NULL) {
        ssize_t n = read(fd, text + got, 1); // not a byte of what follows
        if (n <= 0 || ++got == sizeof text)
            errx(FAILED, "CONNECT: no answer");
    }
    if (strncmp(text + 8, " 200", 4) != 0)
        errx(FAILED, "CONNECT: %.*s", (int)got, text);
}

static void
fail_tls(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    errx(FAILED, "%s: %s", what, reason != NULL ? reason : "connection lost");
}

static void
open_connection(struct connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&target, sizeof target) < 0)
        err(FAILED, "connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (o.connect != NULL)
        tunnel(c->fd);
    c->ssl = SSL_new(context);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_set1_host(c->ssl, o.name) != 1 ||
        SSL_ctrl(c->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                 (void *)(uintptr_t)o.name) != 1)
        fail_tls("TLS");
    if (SSL_connect(c->ssl) != 1)
        fail_tls("handshake");
    (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->connected = true;
}

static void
close_connection(struct connection *c)
{
    (void)SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    (void)close(c->fd);
    c->connected = false;
}

static void
send_request(struct connection *c)
{
    c->head_size = 0;
    c->in_body = false;
    c->began_ns = now_ns();
    if (SSL_write(c->ssl, request, (int)request_size) != (int)request_size)
        fail_tls("request");
}

// The value of a field of the head, which is terminated.
static const char *
field(const char *head, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, size) == 0)
            return line + 2 + size + strspn(line + 2 + size, " ");
    return NULL;
}

static void
begin_body(struct connection *c, size_t there)
{
    const char *length = field(c->head, "Content-Length:");
    const char *connection = field(c->head, "Connection:");
    if (strncmp(c->head + 8, " 200 ", 5) != 0 || length == NULL)
        errx(FAILED, "unexpected response:\n%s", c->head);
    c->closes = connection != NULL && strncasecmp(connection, "close", 5) == 0;
    c->left = strtoull(length, NULL, 10);
    if (there > c->left)
        errx(FAILED, "more than the response");
    c->left -= there;
    c->in_body = true;
}

static void
take(struct connection *c, const char *data, size_t size)
{
    if (c->in_body) {
        if (size > c->left)
            errx(FAILED, "more than the response");
        c->left -= size;
        return;
    }
    size_t part = size < HEAD_MAX - 1 - c->head_size ? size : HEAD_MAX - 1 - c->head_size;
    memcpy(c->head + c->head_size, data, part);
    const char *end = memmem(c->head, c->head_size + part, "\r\n\r\n", 4);
    if (end == NULL && part < size)
        errx(FAILED, "response head too large");
    if (end == NULL) {
        c->head_size += part;
        return;
    }
    size_t used = (size_t)(end - c->head) + 4 - c->head_size;
    c->head[c->head_size + used - 2] = '\0';
    begin_body(c, size - used);
}

// True: the response is whole.
static bool
receive(struct connection *c, struct result *r)
{
    static char data[READ_SIZE];
    for (;;) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_read_ex(c->ssl, data, sizeof data, &n);
        if (rc != 1 && SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ)
            return false;
        if (rc != 1)
            fail_tls("response");
        take(c, data, n);
        r->bytes += n;
        if (c->in_body && c->left == 0)
            return true;
    }
}

static void
count(struct connection *c, struct result *r)
{
    if (r->requests == r->latency_room) {
        r->latency_room = r->latency_room == 0 ? 4096 : 2 * r->latency_room;
        r->latency = realloc(r->latency, r->latency_room * sizeof *r->latency);
        if (r->latency == NULL)
            err(FAILED, "memory");
    }
    r->latency[r->requests++] = (uint32_t)((now_ns() - c->began_ns) / 100);
}

// --- the two ways to go ---

// All connections at once until the time is over; every response that was asked for is awaited.
static void
run_kept(int epoll, struct connection *all, int64_t until, struct result *r)
{
    int busy = o.connections;
    for (int i = 0; i < o.connections; i++) {
        if (!all[i].connected) {
            open_connection(&all[i]);
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
            (void)epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &e);
        }
        send_request(&all[i]);
    }
    while (busy > 0) {
        struct epoll_event events[CONNECTIONS_MAX];
        int n = epoll_wait(epoll, events, CONNECTIONS_MAX, 30000);
        if (n == 0)
            errx(FAILED, "no response in time");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!receive(c, r))
                continue;
            count(c, r);
            if (c->closes)
                close_connection(c);
            if (now_ns() >= until) {
                busy--;
                continue;
            }
            if (!c->connected) {
                open_connection(c);
                struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
                (void)epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
            }
            send_request(c);
        }
    }
}

static void
measure_kept(struct result *r)
{
    static struct connection all[CONNECTIONS_MAX];
    struct result warm = {0};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    run_kept(epoll, all, 0, &warm);
    free(warm.latency);
    int64_t cpu = processor_time();
    int64_t began = now_ns();
    run_kept(epoll, all, began + (int64_t)(o.seconds * 1e9), r);
    r->elapsed_ns = now_ns() - began;
    r->cpu_ns = processor_time() - cpu;
}

static void
use_once(struct connection *c, struct result *r)
{
    int64_t start = now_ns();
    open_connection(c);
    (void)fcntl(c->fd, F_SETFL, 0); // waits
    send_request(c);
    c->began_ns = start;
    while (!receive(c, r))
        ;
    count(c, r);
    close_connection(c);
}

static void
measure_fresh(struct result *r)
{
    static struct connection c;
    struct result warm = {0};
    use_once(&c, &warm);
    free(warm.latency);
    sleep_ns(4LL * SETTLE_NS); // for the proxy to see the end, here and below
    int64_t cpu = processor_time();
    int64_t began = now_ns();
    for (int i = 0; i < o.fresh; i++)
        use_once(&c, r);
    r->elapsed_ns = now_ns() - began;
    sleep_ns(4LL * SETTLE_NS);
    r->cpu_ns = processor_time() - cpu;
}

static int
compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void
print(const struct result *r)
{
    if (r->requests == 0 || r->latency == NULL)
        errx(FAILED, "no request was made");
    qsort(r->latency, r->requests, sizeof *r->latency, compare);
    size_t median = r->requests / 2;
    size_t late = r->requests - 1 - r->requests / 100;
    (void)printf("{\"requests\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"cpu_us\":%.1f,"
                 "\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
                 (unsigned long long)r->requests, (unsigned long long)r->bytes,
                 (double)r->elapsed_ns / 1e9, (double)r->cpu_ns / 1e3,
                 (double)r->latency[median] / 10.0, (double)r->latency[late] / 10.0);
}

static void
parse(int argc, char **argv)
{
    int c;
    while ((c = getopt(argc, argv, "a:p:n:x:C:c:s:f:k:P:")) != -1) {
        switch (c) {
        case 'a':
            o.address = optarg;
            break;
        case 'p':
            o.port = optarg;
            break;
        case 'n':
            o.name = optarg;
            break;
        case 'x':
            o.connect = optarg;
            break;
        case 'C':
            o.roots = optarg;
            break;
        case 'c':
            o.connections = atoi(optarg);
            break;
        case 's':
            o.seconds = atof(optarg);
            break;
        case 'f':
            o.fresh = atoi(optarg);
            break;
        case 'k':
            o.token = optarg;
            break;
        case 'P':
            o.pids = optarg;
            break;
        default:
            exit(FAILED);
        }
    }
    if (optind + 1 != argc || o.address == NULL || o.port == NULL || o.name == NULL ||
        o.roots == NULL || o.connections < 1 || o.connections > CONNECTIONS_MAX)
        errx(FAILED, "the options stand at the top of the source");
    o.path = argv[optind];
}

int
main(int argc, char **argv)
{
    static const unsigned char http11[] = "\x08http/1.1";
    struct result r = {0};
    parse(argc, argv);
    target.sin_port = htons((uint16_t)atoi(o.port));
    if (inet_pton(AF_INET, o.address, &target.sin_addr) != 1)
        resolve(o.address);
    request_size = (size_t)snprintf(request, sizeof request,
                                    "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n"
                                    "Accept: */*\r\nAuthorization: Bearer %s\r\n\r\n",
                                    o.path, o.connect != NULL ? o.connect : o.name, o.token);
    if (request_size >= sizeof request)
        errx(FAILED, "the request is too long");
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_load_verify_file(context, o.roots) != 1 ||
        SSL_CTX_set_alpn_protos(context, http11, sizeof http11 - 1) != 0)
        fail_tls("TLS");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (o.fresh > 0)
        measure_fresh(&r);
    else
        measure_kept(&r);
    print(&r);
    return 0;
}
