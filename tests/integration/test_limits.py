# SPDX-License-Identifier: Apache-2.0
"""What clients, known or not, can make the daemon hold: its memory stays flat whatever they send and do
not read, and strangers keep nobody out."""

import pathlib
import socket

import pytest
from harness.instance import build_dir
from harness.rpc import PING, TEXT, RawSocket, Sandbox, frame

# The queue of one client, half as much again of what malloc keeps, and the read buffers; AddressSanitizer
# keeps what was freed.
SANITIZED = b"__asan_init" in (build_dir() / "casemated").read_bytes()
ROOM_KB = (512 if SANITIZED else 32) * 1024
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def resident_kb(instance) -> int:
    return int(pathlib.Path(f"/proc/{instance.pid}/statm").read_text().split()[1]) * 4


def push(raw: RawSocket, data: bytes, size: int) -> int:
    """Sends data over and over and reads nothing, up to size bytes or until the peer takes no more."""
    raw.sock.settimeout(2)
    sent = 0
    try:
        while sent < size:
            sent += raw.sock.send(data)
    except OSError:
        pass
    return sent


def connected(sandbox) -> RawSocket:
    raw = RawSocket(sandbox.instance)
    assert raw.upgrade(f"/api/v3/sandbox/{sandbox.id}/connect", config=None)[0] == 101
    return raw


def test_pipelined_requests_wait_until_their_answers_are_read(instance):
    with RawSocket(instance) as raw:
        before = resident_kb(instance)
        sent = push(raw, HEALTH * 1000, 16 << 20)
        assert resident_kb(instance) - before < ROOM_KB
        assert sent < 16 << 20, "it never stopped reading"
        raw.sock.settimeout(10)
        for _ in range(sent // len(HEALTH)):
            assert raw.response()[0] == 200


def test_a_token_changes_nothing_about_that(instance):
    request = (f"GET /api/v2/sandboxes HTTP/1.1\r\nHost: x\r\n"
               f"Authorization: Bearer {instance.token}\r\n\r\n").encode()
    with RawSocket(instance) as raw:
        before = resident_kb(instance)
        push(raw, request * 500, 16 << 20)
        assert resident_kb(instance) - before < ROOM_KB


def test_large_heads_are_not_kept_for_idle_connections(instance):
    head = (b"GET /api/v3/sandboxes/create HTTP/1.1\r\nHost: x\r\nx-deno-sandbox-config: "
            + b"A" * 500_000 + b"\r\n\r\n")
    before = resident_kb(instance)
    held = []
    for _ in range(150):
        raw = RawSocket(instance)
        held.append(raw)
        raw.send(head + HEALTH[:3])
        assert raw.response()[0] == 401
    grown = resident_kb(instance) - before
    for raw in held:
        raw.sock.close()
    assert grown < ROOM_KB


@pytest.mark.parametrize("piece", [
    frame(PING, b"") * 5000,
    frame(TEXT, b"ping") * 5000,
    b"".join(frame(TEXT, b'{"jsonrpc":"2.0","id":%d,"method":"nope"}' % n) for n in range(1000)),
], ids=["pings", "text pings", "calls"])
def test_answers_that_a_client_does_not_read_are_bounded(shared, piece):
    raw = connected(shared)
    before = resident_kb(shared.instance)
    push(raw, piece, 48 << 20)
    assert resident_kb(shared.instance) - before < ROOM_KB
    raw.sock.close()
    assert shared.check_sh("echo on") == "on\n"


def test_one_connection_too_many_is_refused(shared):
    held = [connected(shared) for _ in range(63)]
    with RawSocket(shared.instance) as raw:
        status, _, _ = raw.upgrade(f"/api/v3/sandbox/{shared.id}/connect", config=None)
        assert status == 503
    for raw in held:
        raw.sock.close()
    assert shared.check_sh("echo on") == "on\n"


@pytest.mark.parametrize("begin", [b"", b"GET /healthz HTTP/1.1\r\nHo", HEALTH])
def test_strangers_that_hold_on_keep_nobody_out(instance, begin):
    held = []
    try:
        for _ in range(1100):
            sock = socket.create_connection(instance.address, timeout=10)
            held.append(sock)
            sock.sendall(begin)
        assert instance.request("GET", "/healthz", timeout=3)[0] == 200
        with Sandbox(instance) as sandbox:
            assert sandbox.call("envGet", key="X") is None
    finally:
        for sock in held:
            sock.close()


def test_chunks_of_one_byte_do_not_hold_up_others(shared):
    body = b'{"stop_at_ms": 1}' + b" " * 200_000
    chunks = b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n"
    with RawSocket(shared.instance) as raw:
        raw.send((f"PATCH /api/v3/sandbox/{shared.id} HTTP/1.1\r\nHost: x\r\n"
                  f"Authorization: Bearer {shared.instance.token}\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n").encode() + chunks)
        assert raw.response()[0] == 400
