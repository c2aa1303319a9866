# SPDX-License-Identifier: Apache-2.0
"""HTTP by hand: what is refused, and how it is told."""

import base64
import json
import os

import pytest
from harness.instance import wait_until
from harness.rpc import RawSocket, encode_config

CREATE = "/api/v3/sandboxes/create"


def refused(instance, *, status: int, code: str, **upgrade) -> dict:
    with RawSocket(instance) as raw:
        got, headers, body = raw.upgrade(**upgrade)
    assert got == status, body
    assert headers["content-type"] == "application/json"
    answer = json.loads(body)
    assert answer["code"] == code, answer
    assert answer["message"]
    return answer


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize("token", ["ddo_wrong", "x", "ddo_" + "a" * 40, "a" * 4000])
def test_wrong_token(instance, token):
    refused(instance, status=401, code="INVALID_TOKEN", token=token)
    status, headers, body = instance.request("GET", "/api/v2/sandboxes", token=token)
    assert status == 401 and body["code"] == "INVALID_TOKEN"


def test_no_token(instance):
    with RawSocket(instance) as raw:
        raw.send(b"GET /api/v2/sandboxes HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = raw.response()
    assert status == 401 and json.loads(body)["code"] == "INVALID_TOKEN"


def test_health_needs_no_token(instance):
    with RawSocket(instance) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.response()[0] == 200


@pytest.mark.parametrize("config", [
    "not base64!", "e30", "====", encoded(b"{"), encoded(b"[]"), encoded(b"null"),
    encoded(b'{"memory_mb":1024,"memory_mb":2048}'), encoded(b"{}x"), encoded(b"[" * 3000),
], ids=["text", "no-padding", "only-padding", "half", "array", "null", "repeated-key",
        "trailing", "deep"])
def test_config_that_is_not_json(instance, config):
    refused(instance, status=400, code="INVALID_CONFIG", config=config)


@pytest.mark.parametrize("config", [
    {"memory_mb": 767}, {"memory_mb": 4097}, {"memory_mb": -1}, {"memory_mb": "1024"},
    {"memory_mb": 1e300}, {"memory_mb": 1024.5},
    {"timeout": "1h"}, {"timeout": "0s"}, {"timeout": 30}, {"stop_at_ms": 1},
    {"labels": {str(n): "" for n in range(6)}}, {"labels": {"k" * 65: ""}},
    {"labels": {"k": "v" * 129}}, {"labels": {"k": 1}}, {"labels": []},
    {"env": {"A=B": ""}}, {"env": {"": ""}}, {"env": {"A": 1}}, {"env": {"A": "x\0y"}},
    {"allow_net": "example.com"}, {"allow_net": [1]}, {"allow_net": ["*x"]},
    {"allow_net": ["a..b"]}, {"allow_net": ["api.*.x"]}, {"allow_net": ["h:99999"]},
    {"allow_net": [""]}, {"allow_net": ["0x7f.1"]}, {"allow_net": ["2130706433"]},
    {"secrets": {"K": {"hosts": [], "value": "v"}}}, {"secrets": {"K": {"value": "v"}}},
    {"secrets": {"K": {"hosts": ["h.test"], "value": ""}}},
    {"secrets": {"K": {"hosts": ["h.test"], "value": "a\r\nb"}}},
    {"secrets": {"K": {"hosts": ["h.test"], "value": 5}}},
    {"secrets": {"K=": {"hosts": ["h.test"], "value": "long enough value"}}},
    {"secrets": {"K": {"hosts": ["h.test"], "value": "v" * 20000}}},
    {"secrets": {"K": {"hosts": ["h.test"], "value": "long enough value"}}, "allow_net": ["o.test"]},
    {"secrets": {"K": {"hosts": ["h.test"], "value": "long enough value"}}, "env": {"K": "x"}},
], ids=lambda c: json.dumps(c)[:50])
def test_config_out_of_bounds(instance, config):
    answer = refused(instance, status=400, code="INVALID_CONFIG", config=encode_config(config))
    assert "long enough value" not in json.dumps(answer)
    assert instance.list() == [] or all(s["status"] == "stopped" for s in instance.list())


@pytest.mark.parametrize("config", [
    {"root": {"volume": "r"}}, {"volumes": {"/data": "v"}},
    {"volumes": [{"volume": "v", "path": "/data"}]}, {"ssh": True}, {"port": 80},
], ids=lambda c: next(iter(c)))
def test_config_that_this_build_does_not_offer(instance, config):
    refused(instance, status=501, code="NOT_IMPLEMENTED", config=encode_config(config))


@pytest.mark.parametrize("config", [
    {"volumes": []}, {"volumes": {}}, {"labels": None, "env": None, "timeout": None},
    {"debug": True, "region": "us-east-1", "unknown": {"x": 1}, "memory_mb": 768},
    {"timeout": "session"}, {"labels": {"k" * 64: "v" * 128}},
], ids=["array", "object", "nulls", "extras", "session", "labels"])
def test_config_that_is_fine(instance, config):
    with RawSocket(instance) as raw:
        status, headers, body = raw.upgrade(config=encode_config(config))
        assert status == 101, body
        assert headers["x-deno-sandbox-id"].startswith("sbx_")
        assert headers["x-deno-trace-id"]
        assert "sec-websocket-extensions" not in headers


def test_latin1_config(instance):
    raw_text = '{"memory_mb":1024,"labels":{"k":"é"}}'.encode("latin-1")
    with RawSocket(instance) as raw:
        status, headers, _ = raw.upgrade(config=encoded(raw_text))
        assert status == 101
        assert instance.listed(headers["x-deno-sandbox-id"])["labels"] == {"k": "é"}


def test_large_config(instance):
    env = {f"V{n}": "x" * 1000 for n in range(60)}
    with RawSocket(instance) as raw:
        assert raw.upgrade(config=encode_config({"memory_mb": 1024, "env": env}))[0] == 101


def test_header_too_large(instance):
    with RawSocket(instance) as raw:
        try:
            status = raw.upgrade(config="A" * 2_000_000)[0]
        except (ConnectionError, EOFError):
            status = 431  # refused before all of it was read
    assert status in (400, 431)
    refused(instance, status=401, code="INVALID_TOKEN", token="x")  # it lives on


def test_too_many_headers(instance):
    with RawSocket(instance) as raw:
        fields = "".join(f"x-{n}: y\r\n" for n in range(500))
        assert raw.upgrade(extra=fields)[0] in (400, 431)


@pytest.mark.parametrize("head, status", [
    (b"GET /nowhere HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\n\r\n", (404,)),
    (b"POST /api/v2/sandboxes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\n"
     b"Content-Length: 0\r\n\r\n", (405,)),
    (b"GET /healthz HTTP/1.1\r\n\r\n", (400,)),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400,)),
    (b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n", (400, 505)),
    (b"GET /healthz HTTP/1.1\nHost: a\n\n", (400,)),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", (400,)),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     (400,)),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", (400,)),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX\x00: y\r\n\r\n", (400,)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,)),
], ids=["path", "method", "no-host", "two-hosts", "version", "bare-lf", "folded", "smuggle",
        "negative-length", "nul", "tls"])
def test_bad_requests(instance, head, status):
    with RawSocket(instance) as raw:
        raw.send(head.replace(b"TOKEN", instance.token.encode()))
        assert raw.response()[0] in status


def test_create_without_upgrade(instance):
    status, _, body = instance.request("GET", CREATE)
    assert status in (400, 426), body


@pytest.mark.parametrize("line", ["Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: short"])
def test_bad_handshake(instance, line):
    name = line.split(":")[0]
    with RawSocket(instance) as raw:
        lines = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                 name: line.split(": ")[1]}
        head = "".join(f"{n}: {v}\r\n" for n, v in lines.items())
        raw.send((f"GET {CREATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {instance.token}\r\n"
                  f"{head}\r\n").encode())
        assert raw.response()[0] in (400, 426)


def test_old_client_is_told(instance):
    with RawSocket(instance) as raw:
        status, _, body = raw.upgrade("/api/v2/sandbox/ws")
    assert status == 400 and json.loads(body)["code"] == "UNSUPPORTED_CLIENT"


def test_connect_to_an_unknown_sandbox(instance):
    for name in ("sbx_ord_00000000000000000000", "x", "sbx_ord_%00", "..%2f..", "a" * 3000):
        refused(instance, status=404, code="SANDBOX_NOT_FOUND", config=None,
                path=f"/api/v3/sandbox/{name}/connect")


@pytest.mark.parametrize("method, path", [
    ("DELETE", "/api/v3/sandbox/sbx_ord_00000000000000000000"),
    ("DELETE", "/api/v3/sandboxes/sbx_ord_00000000000000000000"),
    ("PATCH", "/api/v3/sandbox/sbx_ord_00000000000000000000"),
])
def test_rest_on_an_unknown_sandbox(instance, method, path):
    body = {"stop_at_ms": 9999999999999} if method == "PATCH" else None
    status, _, answer = instance.request(method, path, body)
    assert status == 404 and answer["code"] == "SANDBOX_NOT_FOUND"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"stop_at_ms":"x"}', b'{"stop_at_ms":1}',
                                 b'{"stop_at_ms":1e400}'])
def test_bad_extension(shared, raw):
    status, _, answer = shared.instance.request("PATCH", f"/api/v3/sandbox/{shared.id}", raw=raw)
    assert 400 <= status < 500 and answer["code"]
    assert shared.check_sh("echo on") == "on\n"


def test_platform_extras_say_that_they_are_not_offered(instance):
    for path in ("/api/v2/volumes", "/api/v2/snapshots", "/api/v2/apps", "/api/v2/layers"):
        status, headers, answer = instance.request("GET", path)
        assert (status, answer["code"]) == (501, "NOT_IMPLEMENTED")
        assert headers["x-deno-trace-id"]


def test_pipelined_requests_are_answered_in_order(instance):
    with RawSocket(instance) as raw:
        one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        raw.send(one * 3)
        assert [raw.response()[0] for _ in range(3)] == [200, 200, 200]


def test_half_a_request_holds_up_nobody(instance):
    with RawSocket(instance) as half:
        half.send(b"GET /healthz HTTP/1.1\r\nHo")
        with RawSocket(instance) as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.response()[0] == 200


def test_client_that_leaves_while_its_sandbox_is_made(instance):
    before = set(instance.inits())
    for _ in range(3):
        with RawSocket(instance) as raw:
            raw.send((f"GET {CREATE} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                      f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                      f"Authorization: Bearer {instance.token}\r\n"
                      f"x-deno-sandbox-config: {encode_config({'memory_mb': 1024})}\r\n\r\n").encode())
    wait_until(lambda: set(instance.inits()) <= before, what="the end of sandboxes that nobody wants")
