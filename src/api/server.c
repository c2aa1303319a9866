// SPDX-License-Identifier: Apache-2.0
#include "api/server-internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BACKLOG = 512,
    ACCEPTS_AT_ONCE = 32,  // then the loop turns to the others
    ACCEPT_RETRY_MS = 500, // after running out of descriptors
};

// ADDR:PORT to a socket address.
static int
parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_size)
{
    char host[INET6_ADDRSTRLEN + 2];
    char *end = NULL;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] < '0' || colon[1] > '9')
        return -1;
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t size = (size_t)(colon - text);
    if (*end != '\0' || port > UINT16_MAX || size == 0 || size >= sizeof host)
        return -1;
    memcpy(host, text, size);
    host[size] = '\0';
    *ret = (struct sockaddr_storage){0};
    if (host[0] == '[' && host[size - 1] == ']') {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
        host[size - 1] = '\0';
        *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        *ret_size = sizeof *in6;
        return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1 ? 0 : -1;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    *ret_size = sizeof *in;
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? 0 : -1;
}

static bool
is_loopback(const struct sockaddr_storage *addr)
{
    if (addr->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)addr)->sin6_addr);
    return ntohl(((const struct sockaddr_in *)addr)->sin_addr.s_addr) >> 24 == 127;
}

static int
check_address(const char *address, bool insecure, struct sockaddr_storage *ret, socklen_t *ret_size,
              struct error *err)
{
    if (parse_address(address, ret, ret_size) < 0)
        return error_set(err, ERR_INVALID_CONFIG,
                         "--listen %.64s: give a numeric ADDR:PORT, like 127.0.0.1:8080 or [::1]:0",
                         address);
    if (!is_loopback(ret) && !insecure)
        return error_set(err, ERR_INVALID_CONFIG,
                         "--listen %.64s is not loopback, and tokens would travel unencrypted: "
                         "listen on 127.0.0.1 behind a TLS proxy, or add --insecure-listen",
                         address);
    return 0;
}

int
server_check_address(const char *address, bool insecure, struct error *err)
{
    struct sockaddr_storage addr = {0};
    socklen_t size = 0;
    return check_address(address, insecure, &addr, &size, err);
}

int
server_bind(const char *address, bool insecure, struct error *err)
{
    struct sockaddr_storage addr = {0};
    socklen_t size = 0;
    int one = 1;
    if (check_address(address, insecure, &addr, &size, err) < 0)
        return -1;
    cleanup_fd int sock = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0)
        return error_set_errno(err, errno, "make a socket for --listen %s", address);
    (void)setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(sock, (const struct sockaddr *)&addr, size) < 0) {
        if (errno == EADDRINUSE)
            return error_set(err, ERR_CONFLICT,
                             "--listen %s: the port is in use; choose another one, or 0 for a free "
                             "one",
                             address);
        return error_set_errno(err, errno, "--listen %s", address);
    }
    return TAKE_FD(sock);
}

int
server_url(int sock, char ret_url[SERVER_URL_MAX], struct error *err)
{
    struct sockaddr_storage addr = {0};
    socklen_t size = sizeof addr;
    char host[INET6_ADDRSTRLEN];
    char port[8];
    if (getsockname(sock, (struct sockaddr *)&addr, &size) < 0)
        return error_set_errno(err, errno, "ask for the socket's address");
    int r = getnameinfo((struct sockaddr *)&addr, size, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV);
    if (r != 0)
        return error_set(err, ERR_SYSTEM, "write the socket's address: %s", gai_strerror(r));
    (void)snprintf(ret_url, SERVER_URL_MAX,
                   addr.ss_family == AF_INET6 ? "http://[%s]:%s" : "http://%s:%s", host, port);
    return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events);

// Accepts when there is room. Otherwise the kernel's queue holds who comes.
static void
update_polling(struct server *s)
{
    bool wanted = !s->stopping && s->connection_count < CONNECTIONS_MAX &&
                  !uv_is_active((const uv_handle_t *)&s->retry);
    if (wanted && !s->polling)
        (void)uv_poll_start(&s->poll, UV_READABLE, on_readable);
    else if (!wanted && s->polling)
        (void)uv_poll_stop(&s->poll);
    s->polling = wanted;
}

static void
on_retry(uv_timer_t *timer)
{
    update_polling(timer->data);
}

// Full: the oldest of those who have yet to show a token goes, so that strangers who only hold on
// to their connections keep nobody out. Without one who comes waits in the kernel's queue.
static void
make_room(struct server *s)
{
    struct connection *oldest = NULL;
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        if (connection_is_stranger(c))
            oldest = c;
    if (oldest != NULL)
        connection_end(oldest);
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
    struct server *s = poll->data;
    (void)events;
    for (int i = 0; status == 0 && i < ACCEPTS_AT_ONCE && s->connection_count < CONNECTIONS_MAX;
         i++) {
        int fd = accept4(s->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            connection_new(s, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("no descriptor or memory for another connection", "error", strerror(errno));
            (void)uv_timer_start(&s->retry, on_retry, ACCEPT_RETRY_MS, 0);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            break;
    }
    if (s->connection_count == CONNECTIONS_MAX)
        make_room(s);
    update_polling(s);
}

int
server_new(struct api *api, int sock, struct server **ret, struct error *err)
{
    cleanup_fd int owned = sock;
    if (listen(owned, BACKLOG) < 0)
        return error_set_errno(err, errno, "listen");
    struct server *s = xcalloc(1, sizeof *s);
    s->api = api;
    s->sock = TAKE_FD(owned);
    (void)uv_timer_init(api->loop, &s->retry);
    s->retry.data = s;
    (void)uv_poll_init(api->loop, &s->poll, s->sock);
    s->poll.data = s;
    s->handles = 2;
    update_polling(s);
    *ret = s;
    return 0;
}

static void
check_stopped(struct server *s)
{
    if (s->stopping && s->handles == 0 && s->connection_count == 0)
        s->on_stopped(s->stopped_user);
}

void
server_forget(struct server *s, struct connection *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    s->connection_count--;
    if (s->stopping)
        check_stopped(s);
    else
        update_polling(s);
}

static void
on_handle_closed(uv_handle_t *handle)
{
    struct server *s = handle->data;
    s->handles--;
    if (s->handles == 0) {
        (void)close(s->sock);
        s->sock = -1;
    }
    check_stopped(s);
}

void
server_stop(struct server *s, void (*done)(void *user), void *user)
{
    if (s->stopping)
        return;
    s->on_stopped = done;
    s->stopped_user = user;
    s->stopping = true;
    update_polling(s);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->retry, on_handle_closed);
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        connection_end(c);
}

void
server_free(struct server *s)
{
    free(s);
}
