# SPDX-License-Identifier: Apache-2.0
"""WebSocket frames and JSON-RPC messages by hand (RFC 6455, protocol 3)."""

import json
import time

import pytest
from harness import rpc
from harness.rpc import RawSocket, RpcFailure, frame

CALL = b'{"jsonrpc":"2.0","id":%d,"method":"envGet","params":{"key":"HOME"}}'


@pytest.fixture
def raw(shared):
    """A second connection to the shared sandbox, as bytes."""
    with RawSocket(shared.instance) as sock:
        status, headers, body = sock.upgrade(f"/api/v3/sandbox/{shared.id}/connect", config=None)
        assert status == 101, body
        assert headers["x-deno-sandbox-id"] == shared.id
        yield sock


def next_text(raw) -> str:
    while True:
        opcode, fin, payload = raw.frame()
        if opcode == rpc.PING:
            raw.send(frame(rpc.PONG, payload))
            continue
        assert opcode in (rpc.TEXT, rpc.CLOSE), opcode
        assert opcode == rpc.TEXT, f"closed: {payload!r}"
        while not fin:
            opcode, fin, more = raw.frame()
            assert opcode == rpc.CONTINUATION
            payload += more
        return payload.decode()


def works(raw) -> None:
    raw.send(frame(rpc.TEXT, CALL % 77))
    answer = json.loads(next_text(raw))
    assert answer == {"jsonrpc": "2.0", "id": 77, "result": {"ok": "/home/app"}}


def test_one_message(raw):
    works(raw)


def test_text_ping(raw):
    raw.send(frame(rpc.TEXT, b"ping") * 3)
    assert [next_text(raw) for _ in range(3)] == ["pong"] * 3


def test_ping_frame(raw):
    raw.send(frame(rpc.PING, b"payload"))
    assert raw.frame() == (rpc.PONG, True, b"payload")


def test_unasked_pong_is_ignored(raw):
    raw.send(frame(rpc.PONG, b"x") + frame(rpc.PONG, b""))
    works(raw)


def test_fragments_with_a_ping_between(raw):
    text = CALL % 5
    raw.send(frame(rpc.TEXT, text[:7], fin=False) + frame(rpc.CONTINUATION, text[7:20], fin=False)
             + frame(rpc.PING, b"p") + frame(rpc.CONTINUATION, text[20:]))
    assert raw.frame() == (rpc.PONG, True, b"p")
    assert json.loads(next_text(raw))["id"] == 5


def test_one_byte_at_a_time(raw):
    for byte in frame(rpc.TEXT, CALL % 6):
        raw.send(bytes([byte]))
    assert json.loads(next_text(raw))["id"] == 6


def test_many_messages_in_one_segment(raw):
    raw.send(b"".join(frame(rpc.TEXT, CALL % n) for n in range(200)))
    assert sorted(json.loads(next_text(raw))["id"] for _ in range(200)) == list(range(200))


def test_close_is_answered_and_tcp_ends_at_once(raw):
    raw.send(frame(rpc.CLOSE, b"\x03\xe8bye"))
    begin = time.monotonic()
    assert raw.close_code() in (1000, 1005)
    assert not raw.recv_more()
    assert time.monotonic() - begin < 2


def test_close_without_code(raw):
    raw.send(frame(rpc.CLOSE, b""))
    assert raw.close_code() in (1000, 1005)
    assert not raw.recv_more()


@pytest.mark.parametrize("data, codes", [
    (frame(rpc.TEXT, b"x", mask=False), (1002,)),
    (frame(rpc.TEXT, b"x", rsv=4), (1002,)),
    (frame(3, b"x"), (1002,)),
    (frame(rpc.PING, b"x", fin=False), (1002,)),
    (frame(rpc.PING, b"x" * 126), (1002,)),
    (frame(rpc.CONTINUATION, b"x"), (1002,)),
    (frame(rpc.TEXT, b'{"', fin=False) + frame(rpc.TEXT, b"b"), (1002,)),
    (frame(rpc.BINARY, CALL % 1), (1003,)),
    (frame(rpc.CLOSE, b"x"), (1002,)),
    (frame(rpc.TEXT, b'{"\xff":1}'), (1007, 4000)),
    (frame(rpc.TEXT, b'"\xed\xa0\x80"'), (1007, 4000)),
    (frame(rpc.TEXT, b"", length=1 << 63), (1002, 1009)),
    (frame(rpc.TEXT, b"{", length=200 << 20), (1009,)),
    (frame(rpc.TEXT, b"not json"), (4000,)),
    (frame(rpc.TEXT, b""), (4000,)),
    (frame(rpc.TEXT, b"{}{}"), (4000,)),
    (frame(rpc.TEXT, b"[" * 100000), (4000,)),
    (frame(rpc.TEXT, b"{}"), (4001,)),
    (frame(rpc.TEXT, b"[]"), (4001,)),
    (frame(rpc.TEXT, b"1"), (4001,)),
    (frame(rpc.TEXT, b'{"jsonrpc":"2.0","id":{},"method":"x"}'), (4001,)),
    (frame(rpc.TEXT, b'{"jsonrpc":"2.0","id":1,"method":5}'), (4001,)),
], ids=["unmasked", "reserved-bit", "opcode", "fragmented-ping", "long-ping", "stray-continuation",
        "interleaved", "binary", "one-byte-close", "bad-utf8", "surrogate", "length-2^63", "length-200MiB",
        "text", "empty", "two-values", "deep", "object", "array", "number", "object-id",
        "number-method"])
def test_bad_frames_close_only_their_connection(shared, raw, data, codes):
    raw.send(data)
    assert raw.close_code() in codes
    assert shared.check_sh("echo on") == "on\n"


def test_half_a_frame_then_gone(shared):
    with RawSocket(shared.instance) as sock:
        assert sock.upgrade(f"/api/v3/sandbox/{shared.id}/connect", config=None)[0] == 101
        sock.send(frame(rpc.TEXT, CALL % 1)[:9])
    assert shared.check_sh("echo on") == "on\n"


def test_half_a_message_holds_up_nobody(shared, raw):
    raw.send(frame(rpc.TEXT, b'{"jsonrpc":"2.0","id":1,"method":"readFi', fin=False))
    assert shared.check_sh("echo on") == "on\n"
    raw.send(frame(rpc.CONTINUATION, b'le","params":{"path":"/etc/hostname"}}'))
    assert "ok" in json.loads(next_text(raw))["result"]


@pytest.mark.parametrize("number", ["0", "1", "-7", "1.5", "9007199254740991", '"text"', '""',
                                    '"\\u00e9\\n"', "1e3"])
def test_the_id_comes_back_as_it_was_sent(raw, number):
    raw.send(frame(rpc.TEXT, b'{"params":{"key":"HOME"},"id":%s,"method":"envGet","jsonrpc":"2.0"}'
                   % number.encode()))
    text = next_text(raw)
    assert json.loads(text)["id"] == json.loads(number)
    assert type(json.loads(text)["id"]) is type(json.loads(number))


def test_an_unknown_method(shared):
    with pytest.raises(RpcFailure) as caught:
        shared.call("noSuchMethod")
    assert caught.value.error["code"] == -32601
    assert caught.value.error["message"] == "Method not found"


def test_an_unknown_notification_is_ignored(shared):
    shared.notify("$whatever", a=1)
    shared.notify("$sandbox.stream.end", streamId=123456)
    shared.notify("$sandbox.stream.cancel", streamId=987654321, reason=None)
    assert shared.check_sh("echo on") == "on\n"


@pytest.mark.parametrize("method, params", [
    ("readTextFile", {}), ("readTextFile", {"path": 5}), ("readTextFile", {"path": None}),
    ("spawn", {"stdout": "piped", "stderr": "piped"}), ("processWait", {"pid": "x"}),
    ("envSet", {"key": "A"}), ("writeFile", {"path": "x"}), ("mkdir", {"path": []}),
])
def test_wrong_params(shared, method, params):
    with pytest.raises(RpcFailure) as caught:
        shared.call(method, **params)
    error = caught.value.error
    assert (error["code"], error["message"]) == (-32602, "Invalid params")
    assert error["data"]["constructorName"] == "ZodError"
    issues = json.loads(error["data"]["message"])
    assert issues
    for issue in issues:
        assert all(isinstance(issue[k], str) for k in ("expected", "code", "message"))
        assert all(isinstance(part, str) for part in issue["path"])


def test_unknown_params_are_ignored(shared):
    assert shared.call("envGet", key="HOME", stdin="piped", extra={"deep": [1]}) == "/home/app"


def test_lone_surrogates_become_the_replacement_character(raw, shared):
    raw.send(frame(rpc.TEXT, b'{"jsonrpc":"2.0","id":1,"method":"envSet",'
                   b'"params":{"key":"LONE","value":"a\\ud800b"}}'))
    assert json.loads(next_text(raw))["result"] == {"ok": None}
    assert shared.call("envGet", key="LONE") == "a\ufffdb"


@pytest.mark.seconds(180)
def test_a_message_of_100_mib(shared):
    data = bytes(range(256)) * (75 * 4096)  # 75 MiB, 100 MiB as base64
    shared.write("large.bin", data)
    assert shared.check_sh("stat -c %s large.bin").strip() == str(len(data))
    import hashlib
    assert shared.check_sh("sha256sum large.bin").split()[0] == hashlib.sha256(data).hexdigest()
    shared.call("remove", path="large.bin")


def test_not_utf8_in_results(shared):
    shared.check_sh("mkdir -p odd && cd odd && touch $'bad\\xff\\xfename'; printf '\\xff\\xfe' > t")
    names = [e["name"] for e in shared.call("readDir", path="odd")]
    assert "bad\ufffd\ufffdname" in names
    assert shared.call("readTextFile", path="odd/t") == "\ufffd\ufffd"
