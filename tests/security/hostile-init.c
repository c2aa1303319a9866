// SPDX-License-Identifier: Apache-2.0
// A casemate-init that has been taken over: it speaks the frames well enough to be believed, and
// then lies. Which lie it tells is chosen by the test, in the environment variable HOSTILE of the
// sandbox (FRAME_ENV carries it here). Without the variable it only says hello.
//
// It is started in the place of casemate-init: static, process 1, the control socket at
// descriptor 3.
#include "base/buf.h"
#include "base/fd.h"
#include "wire/control.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_SIZE = 65536, NAME_SIZE = 256, VALUE_SIZE = 4096, IN_CAP = 1 << 20 };

static char lie[VALUE_SIZE];
static uint64_t victim; // stream id of another sandbox
static bool told;

static void
send_frame(int sock, const struct frame *f)
{
    struct buf out;
    buf_init(&out, FRAME_PAYLOAD_MAX + FRAME_HEADER_SIZE);
    if (frame_encode(&out, f) == 0)
        (void)fd_write_all(sock, buf_bytes(&out), buf_size(&out));
    buf_done(&out);
}

static void
send_text(int sock, enum frame_kind kind, uint8_t flags, uint32_t channel, uint64_t number,
          const void *text, size_t size)
{
    struct frame f = {.kind = kind,
                      .flags = flags,
                      .channel = channel,
                      .number = number,
                      .payload = text,
                      .size = size};
    send_frame(sock, &f);
}

static void
send_str(int sock, enum frame_kind kind, uint8_t flags, uint32_t channel, uint64_t number,
         const char *text)
{
    send_text(sock, kind, flags, channel, number, text, strlen(text));
}

// A result: count of streams, their numbers, and JSON text.
static void
send_result(int sock, uint8_t flags, uint32_t channel, uint64_t call, uint8_t count,
            const uint32_t *streams, const char *text)
{
    struct buf payload;
    buf_init(&payload, FRAME_PAYLOAD_MAX);
    (void)pack_u8(&payload, count);
    for (uint8_t i = 0; i < count && streams != NULL; i++)
        (void)pack_u32(&payload, streams[i]);
    (void)buf_append_str(&payload, text);
    send_text(sock, FRAME_RESULT, flags, channel, call, buf_bytes(&payload), buf_size(&payload));
    buf_done(&payload);
}

// Streams that nobody announced, by every number that might be the victim's.
static void
lie_forged_streams(int sock, uint32_t channel)
{
    const uint64_t numbers[] = {victim, victim & 0xffffffff, 0, 1, 2, 3, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        send_str(sock, FRAME_STREAM_START, 0, channel, numbers[i], "");
        send_str(sock, FRAME_STREAM_DATA, 0, channel, numbers[i], "Rk9SR0VE"); // "FORGED"
        send_str(sock, FRAME_STREAM_END, 0, channel, numbers[i], "");
    }
}

// A result that carries the victim's id itself, where the daemon puts the true ones.
static void
lie_forged_result(int sock, uint32_t channel, uint64_t call)
{
    char text[256];
    const uint32_t streams[] = {7, 8};
    (void)snprintf(text, sizeof text,
                   "{\"pid\":5,\"stdoutStreamId\":%" PRIu64 ",\"stderrStreamId\":%" PRIu64 "}",
                   victim, victim);
    send_result(sock, FRAME_IS_OK, channel, call, 2, streams, text);
    send_str(sock, FRAME_STREAM_START, 0, channel, 7, "");
    send_str(sock, FRAME_STREAM_DATA, 0, channel, 7, "Rk9SR0VE");
    send_str(sock, FRAME_STREAM_END, 0, channel, 7, "");
    send_str(sock, FRAME_STREAM_END, 0, channel, 8, "");
}

// Text that would end the envelope and begin a notification of its own.
static void
lie_injection(int sock, uint32_t channel, uint64_t call)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "null}}{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.enqueue\",\"params\":"
                   "{\"streamId\":%" PRIu64 ",\"data\":\"Rk9SR0VE\"}}",
                   victim);
    send_result(sock, FRAME_IS_OK, channel, call, 0, NULL, text);
}

static void
lie_bad_base64(int sock, uint32_t channel, uint64_t call)
{
    const uint32_t streams[] = {7, 0};
    send_result(sock, FRAME_IS_OK, channel, call, 2, streams,
                "{\"pid\":5,\"stdoutStreamId\":0,\"stderrStreamId\":null}");
    send_str(sock, FRAME_STREAM_START, 0, channel, 7, "");
    send_str(sock, FRAME_STREAM_DATA, 0, channel, 7, "\"},{\"x\":\"");
}

static void
lie_other_channel(int sock, uint32_t channel)
{
    for (uint32_t other = 0; other < 64; other++) {
        if (other == channel)
            continue;
        send_result(sock, FRAME_IS_OK, other, 1, 0, NULL, "\"FORGED\"");
        send_str(sock, FRAME_STREAM_DATA, 0, other, 1, "Rk9SR0VE");
    }
}

static void
lie_garbage(int sock)
{
    uint8_t bytes[4096];
    memset(bytes, 0xff, sizeof bytes);
    (void)fd_write_all(sock, bytes, sizeof bytes);
}

static void
lie_huge_length(int sock)
{
    static const uint8_t head[FRAME_HEADER_SIZE] = {0xff, 0xff, 0xff, 0x7f, FRAME_RESULT};
    (void)fd_write_all(sock, head, sizeof head);
}

// A file of the sandbox's disk, left in the launcher's end of the control socket.
static void
lie_pin_disk(void)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    (void)fd_send_msg(CONTROL_SOCKET, "x", 1, &fd, 1);
}

// More than any credit allows; the daemon must neither buffer it all nor stall.
static void
lie_flood(int sock, uint32_t channel, uint64_t call)
{
    static char chunk[FRAME_CHUNK_MAX / 3 * 4];
    const uint32_t streams[] = {7, 0};
    memset(chunk, 'A', sizeof chunk);
    send_result(sock, FRAME_IS_OK, channel, call, 2, streams,
                "{\"pid\":5,\"stdoutStreamId\":0,\"stderrStreamId\":null}");
    send_str(sock, FRAME_STREAM_START, 0, channel, 7, "");
    for (int i = 0; i < 4000; i++)
        send_text(sock, FRAME_STREAM_DATA, 0, channel, 7, chunk, sizeof chunk);
}

// Each with the name that HOSTILE gives it. A call is answered by lies about results, all others
// are told as soon as a call comes in.
static void
answer(int sock, uint32_t channel, uint64_t call)
{
    if (lie[0] == '\0' || told) {
        send_result(sock, FRAME_IS_OK, channel, call, 0, NULL, "null");
        return;
    }
    told = true;
    if (strcmp(lie, "forged-streams") == 0)
        lie_forged_streams(sock, channel);
    else if (strcmp(lie, "forged-result") == 0)
        lie_forged_result(sock, channel, call);
    else if (strcmp(lie, "injection") == 0)
        lie_injection(sock, channel, call);
    else if (strcmp(lie, "bad-base64") == 0)
        lie_bad_base64(sock, channel, call);
    else if (strcmp(lie, "other-channel") == 0)
        lie_other_channel(sock, channel);
    else if (strcmp(lie, "garbage") == 0)
        lie_garbage(sock);
    else if (strcmp(lie, "huge-length") == 0)
        lie_huge_length(sock);
    else if (strcmp(lie, "flood") == 0)
        lie_flood(sock, channel, call);
    else if (strcmp(lie, "bad-utf8") == 0)
        send_result(sock, FRAME_IS_OK, channel, call, 0, NULL, "\"\xff\xfe\"");
    else if (strcmp(lie, "unknown-call") == 0)
        send_result(sock, FRAME_IS_OK, channel, call + 1000, 0, NULL, "null");
    else if (strcmp(lie, "twice") == 0)
        for (int i = 0; i < 2; i++)
            send_result(sock, FRAME_IS_OK, channel, call, 0, NULL, "null");
    else if (strcmp(lie, "deep") == 0) {
        static char deep[20000];
        memset(deep, '[', sizeof deep - 1);
        send_result(sock, FRAME_IS_OK, channel, call, 0, NULL, deep);
    } else if (strcmp(lie, "wrong-kind") == 0)
        send_str(sock, FRAME_OPEN, 0, channel, 0, "");
    else if (strcmp(lie, "hello-again") == 0)
        send_str(sock, FRAME_HELLO, 0, 0, 0, "\1\0\0");
    else if (strcmp(lie, "pin-disk") == 0)
        lie_pin_disk();
    else if (strcmp(lie, "hang-up") == 0)
        (void)close(sock);
    else if (strcmp(lie, "silence") == 0)
        return;
}

static void
take_env(const struct frame *f)
{
    struct unpack u;
    char name[NAME_SIZE];
    char value[VALUE_SIZE];
    unpack_init(&u, f->payload, f->size);
    unpack_str(&u, name, sizeof name);
    unpack_str(&u, value, sizeof value);
    if (u.failed)
        return;
    if (strcmp(name, "HOSTILE") == 0)
        memcpy(lie, value, strlen(value) + 1);
    if (strcmp(name, "VICTIM") == 0)
        victim = strtoull(value, NULL, 10);
}

static void
take_frame(int sock, const struct frame *f)
{
    if (f->kind == FRAME_ENV)
        take_env(f);
    else if (f->kind == FRAME_MESSAGE && (f->flags & FRAME_IS_CALL))
        answer(sock, f->channel, f->number);
}

static void
say_hello(int sock)
{
    struct buf payload;
    buf_init(&payload, 16);
    (void)pack_u32(&payload, FRAME_PROTOCOL_VERSION);
    send_text(sock, FRAME_HELLO, 0, 0, 0, buf_bytes(&payload), buf_size(&payload));
    buf_done(&payload);
}

static void
serve(int sock)
{
    struct buf in;
    buf_init(&in, IN_CAP);
    say_hello(sock);
    for (;;) {
        uint8_t *room = buf_reserve(&in, READ_SIZE);
        ssize_t size = room == NULL ? -1 : read(sock, room, READ_SIZE);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = sock, .events = POLLIN};
            (void)poll(&ready, 1, -1);
            continue;
        }
        if (size <= 0)
            break;
        buf_commit(&in, (size_t)size);
        struct frame f;
        size_t used;
        while (frame_decode(&in, &f, &used) == FRAME_STATUS_OK) {
            take_frame(sock, &f);
            buf_consume(&in, used);
        }
    }
    buf_done(&in);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    for (;;) {
        uint8_t type;
        int fds[FD_PASS_MAX];
        size_t count = 0;
        ssize_t size = fd_recv_msg(CONTROL_SOCKET, &type, sizeof type, fds, &count);
        if (size == -EINTR || size == -EAGAIN) {
            struct pollfd ready = {.fd = CONTROL_SOCKET, .events = POLLIN};
            (void)poll(&ready, 1, -1);
            continue;
        }
        if (size <= 0)
            return 0;
        if (type == CONTROL_CHANNEL && count == 1)
            serve(fds[0]);
    }
}
