# SPDX-License-Identifier: Apache-2.0
"""The numbered cases over HTTP/2: what a client in the sandbox sends arrives as frames at the host, with values
for its placeholders, or goes nowhere."""

import base64
import concurrent.futures
import json
import subprocess
import sys

import grpc
import pytest
from egress_bench import S1, S2
from harness.instance import Instance
from harness.rpc import Sandbox
from http2_bench import SECRETS, curl, talk, without_value

GRPC_CLIENT = """
import json, queue, sys, time
import grpc
key = (("x-key", sys.argv[1]),)
roots = open(sys.argv[2], "rb").read()
channel = grpc.secure_channel(f"ipv4:{sys.argv[3]}:443", grpc.ssl_channel_credentials(roots),
                              [("grpc.ssl_target_name_override", "api.test")])
answer, call = channel.unary_unary("/test.Echo/Unary").with_call(b"hello", metadata=key, timeout=20)
out = {"unary": answer.decode(), "trailer": dict(call.trailing_metadata())["x-t"]}
asks = queue.Queue()
call = channel.stream_stream("/test.Echo/Both")(iter(asks.get, None), metadata=key, timeout=20)
out["both"], out["slowest"] = [], 0
for n in range(5):
    begin = time.monotonic()
    asks.put(b"%d" % n)
    out["both"].append(next(call).decode())
    if n > 0: out["slowest"] = max(out["slowest"], time.monotonic() - begin)
asks.put(None)
assert list(call) == []
print(json.dumps(out))
"""


def test_curl_speaks_http2(origin, box, p1):
    out = curl(box, "-w", "%{http_version}", "https://api.test/", "-H", f"x-key: {p1}", "-d", "a=1")
    assert out.code == 0, out.stderr
    assert out.text == "ok2"
    assert origin.last().header("x-key") == S1
    assert origin.last().body == b"a=1"
    assert "x-key" in origin.last().never_indexed


def test_case_08_however_the_field_is_coded(origin, box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/1", "GET", ("x-key", key())))                   # Huffman, enters the table
c.head(3, c.fields("/2", "GET", ("x-key", key())))                   # from the table
c.head(5, c.fields("/3", "GET", ("x-key", key())), huffman=False)
block = c.encoder.encode(c.fields("/4", "GET", ("authorization", "Bearer " + key()), ("x-pad", "y" * 300)))
c.send(frame(HEADERS, END_STREAM, 7, block[:1]))
for n in range(1, 7):
    c.send(frame(CONTINUATION, END_HEADERS if n == 6 else 0, 7, block[n:n + 1] if n < 6 else block[6:]))
c.wait(1, 3, 5, 7)
out["status"] = [c.streams[n].status for n in (1, 3, 5, 7)]
""")
    assert out["status"] == ["200"] * 4
    got = {r.path: r for r in origin.requests}
    for path in ("/1", "/2", "/3"):
        assert got[path].header("x-key") == S1
        assert "x-key" in got[path].never_indexed
    assert got["/4"].header("authorization") == f"Bearer {S1}"
    assert "authorization" in got["/4"].never_indexed


def test_case_08_padded_and_cut_bodies_pass(origin, box, instance, p1):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/echo", "POST"), end=False)
body = ("a" + key() + "b").encode()
for n in range(len(body)):
    c.data(1, body[n:n + 1], pad=n % 7)
c.data(1, b"", end=True)
out["body"] = json.loads(c.wait(1).body)["body"]
""")
    assert out["body"] == f"a{p1}b"
    assert S1.encode() not in origin.last().body
    assert instance.audit.wait(ev="placeholder_seen", secret="S1", where="body")


def test_case_03_04_basic_and_query(origin, box, p1):
    out = curl(box, f"https://api.test/?k={p1}", "-u", f"user:{p1}")
    assert out.text == "ok"
    assert origin.last().path == f"/?k={S1}"
    assert ":path" in origin.last().never_indexed
    assert origin.last().header("authorization") == \
        "Basic " + base64.b64encode(f"user:{S1}".encode()).decode()


@pytest.mark.parametrize("fields", [
    '[(":method", "GET"), (":scheme", "https"), (":authority", key() + ".test"), (":path", "/")]',
    '[(":method", key()), (":scheme", "https"), (":authority", "api.test"), (":path", "/")]',
    'c.fields("/a/" + key())',
    'c.fields("/", "GET", ("host", key()))',
])
def test_case_13_where_no_placeholder_may_stand(origin, box, instance, fields):
    out = talk(box, f"c = Client()\nc.head(1, {fields})\nout = c.wait(1).json()")
    assert out["status"] == "403", out
    answer = json.loads(out["body"])
    assert answer["code"] == "SECRET_MISUSE" and answer["secret"] == "S1"
    assert not origin.requests
    assert instance.audit.wait(ev="misuse", secret="S1")


def test_case_13_in_a_field_name(origin, box):
    """A name is lower case in HTTP/2, which no placeholder is: a stream error."""
    out = talk(box, 'c = Client()\nc.raw_head(1, c.fields("/", "GET", (key(), "v")))\n'
                    "out = c.wait(1).json()")
    assert out["reset"] == 1 and not origin.requests


def test_case_13_in_a_trailer(origin, box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/echo", "POST"), end=False)
c.data(1, b"abc")
c.head(1, [("x-t", key())])
out = c.wait(1).json()
""")
    assert out["status"] == "403"
    assert not any(r.ended or r.trailers for r in origin.requests)


def test_case_12_unknown_and_unbound(origin, box):
    out = talk(box, """
c = Client()
a = c.get(1, "/", ("x-key", key("S2"))).json()
b = c.get(3, "/").json()
out = {"a": a, "b": b}
""")
    assert out["a"]["status"] == "403" and out["b"]["status"] == "200"
    assert [r.path for r in origin.requests] == ["/"]


def test_case_23_both_ways_at_once(origin, box, p1):
    """What gRPC does, by hand: each message comes back before the next is sent, then trailers."""
    out = talk(box, """
c = Client()
c.head(1, c.fields("/stream", "POST", ("te", "trailers"), ("content-type", "application/grpc"),
                   ("x-key", key())), end=False)
c.until(lambda: c.streams[1].heads)
seen = []
for n in range(5):
    begin = time.monotonic()
    c.data(1, struct.pack(">BI", 0, 1) + bytes([n]))
    ok = c.until(lambda: len(c.streams[1].body) == 6 * (n + 1), 2)
    seen.append([ok, time.monotonic() - begin])
c.data(1, b"", end=True)
out = {"seen": seen, **c.wait(1).json()}
""")
    assert all(ok and took < 0.2 for ok, took in out["seen"])
    trailers = dict(out["heads"][-1])
    assert trailers["grpc-status"] == "0" and trailers["x-trailer"] == p1
    assert origin.last().header("x-key") == S1 and origin.last().header("te") == "trailers"


@pytest.mark.seconds(120)
def test_case_23_grpc(authority, leaks_before, tmp_path):
    """The real library on both ends: unary and both ways, with metadata and trailing metadata."""
    cert, private = authority.issue("api.test")
    seen = []

    def unary(request, context):
        seen.append(dict(context.invocation_metadata())["x-key"])
        context.set_trailing_metadata((("x-t", seen[-1]),))
        return b"re:" + request

    def both(requests, context):
        seen.append(dict(context.invocation_metadata())["x-key"])
        for request in requests:
            yield b"re:" + request

    handler = grpc.method_handlers_generic_handler("test.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Both": grpc.stream_stream_rpc_method_handler(both)})
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=(handler,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(
        [(private.read_bytes(), cert.read_bytes())]))
    server.start()
    try:
        with Instance(tmp_path / "state", f"--egress-ca={authority.cert}",
                      f"--egress-host=api.test=127.0.0.1:{port}") as instance, \
                Sandbox(instance, secrets={"S1": SECRETS["S1"]}) as sandbox:
            p1 = sandbox.check_sh("printenv S1").rstrip("\n")
            roots = tmp_path / "roots.pem"
            roots.write_text(sandbox.check_sh("cat $SSL_CERT_FILE"))
            address = sandbox.python("import socket; print(socket.gethostbyname('api.test'))").text.strip()
            # The tests' own Python, for the library is compiled; the network is the sandbox's.
            done = subprocess.run(
                ["nsenter", f"--net=/proc/{instance.inits()[0]}/ns/net", sys.executable, "-c",
                 GRPC_CLIENT, p1, str(roots), address], capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr.decode()
            without_value(done.stdout)
            out = json.loads(done.stdout)
    finally:
        server.stop(0).wait()
    assert out["unary"] == "re:hello" and out["trailer"] == p1
    assert out["both"] == [f"re:{n}" for n in range(5)] and out["slowest"] < 0.2
    assert seen == [S1, S1]


def test_case_24_events_come_as_they_are_sent(origin, box):
    out = talk(box, 'c = Client()\ns = c.get(1, "/sse?n=8&ms=100")\n'
                    'out = {"times": s.times, "body": s.body.decode()}')
    sent = [float(line[6:]) for line in out["body"].split("\n\n") if line]
    late = [got - at for got, at in zip(out["times"], sent)]
    assert len(sent) == 8
    assert sorted(late)[len(late) // 2] < 0.01, late


def test_case_25_two_secrets_on_200_streams(origin, box):
    out = talk(box, """
c = Client("two.test")
c.until(lambda: c.settings)
wanted = {}
for batch in range(2):
    ids = range(1 + 200 * batch, 201 + 200 * batch, 2)
    for n in ids:
        wanted[n] = key("S1") if n % 4 == 1 else key("S2")
        c.head(n, c.fields("/echo?%d" % n, "GET", ("x-key", wanted[n]), ("x-number", str(n))))
    c.wait(*ids)
good = 0
for n, value in wanted.items():
    fields = dict(json.loads(c.streams[n].body)["fields"])
    good += fields["x-key"] == value and fields["x-number"] == str(n)
out = {"good": good, "limit": c.settings.get(3)}
""")
    assert out["good"] == 200 and out["limit"] == 100
    assert len(origin.requests) == 200
    for request in origin.requests:
        n = int(request.header("x-number"))
        assert request.header("x-key") == (S1 if n % 4 == 1 else S2), n
    assert len(origin.connections) == 1


def test_case_33_another_authority_on_stream_3_only(origin, box):
    out = talk(box, """
c = Client()
a = c.get(1, "/1", ("x-key", key())).json()
b = c.get(3, "/2", ("x-key", key()), authority="evil.test").json()
d = c.get(5, "/3", ("x-key", key())).json()
out = {"all": [a["status"], b["status"], d["status"]], "code": json.loads(b["body"])["code"]}
""")
    assert out["all"] == ["200", "421", "200"] and out["code"] == "MISDIRECTED_REQUEST"
    assert [r.path for r in origin.requests] == ["/1", "/3"]


@pytest.mark.parametrize("spelling, status", [
    ("API.test", "200"), ("api.test.", "200"), ("api.test:443", "200"), ("api.test:444", "421"),
    ("user@api.test", "421"), ("two.test", "421"), ("api.test.evil.test", "421"), ("", "400")])
def test_case_33_spellings(origin, box, spelling, status):
    out = talk(box, "c = Client()\nfields = [(n, sys.argv[1] if n == ':authority' else v) for n, v in"
                    " c.fields('/')]\nc.head(1, fields)\nout = c.wait(1).json()", spelling)
    if status == "200":
        assert out["status"] == "200", out
    else:
        assert out["status"] == status or out["reset"] == 1, out
        assert not origin.requests


def test_case_33_host_beside_authority(origin, box):
    out = talk(box, """
c = Client()
a = c.get(1, "/", ("host", "evil.test")).json()
b = c.get(3, "/", ("host", "api.test")).json()
c.head(5, [(":method", "GET"), (":scheme", "https"), (":path", "/only-host"), ("host", "api.test")])
d = c.wait(5).json()
out = {"all": [a["status"], b["status"], d["status"]]}
""")
    assert out["all"] == ["421", "200", "200"]
    assert all(r.header(":authority") == "api.test" and r.header("host") is None
               for r in origin.requests)


def test_case_45_no_other_protocol_is_advertised_or_taken(origin, box):
    out = talk(box, """
c = Client()
a = c.get(1, "/alt").json()
b = c.get(3, "/", ("http2-settings", "AAMAAABk")).json()
c.head(5, c.fields("/", "GET", ("upgrade", "h2c")))
d = c.wait(5).json()
out = {"a": a, "b": b, "d": d}
""")
    assert "alt-svc" not in dict(out["a"]["heads"][0]) and out["a"]["body"] == "alt"
    assert out["b"]["status"] == "200" and origin.last().header("http2-settings") is None
    assert out["d"]["reset"] == 1
    assert len(origin.requests) == 2


def test_case_46_no_tunnels(origin, box):
    out = talk(box, """
c = Client()
c.head(1, [(":method", "CONNECT"), (":authority", "evil.test:443")], end=False)
a = c.wait(1, timeout=3).json()
c.head(3, [(":method", "CONNECT"), (":authority", "api.test:443")], end=False)
b = c.wait(3, timeout=3).json()
c.head(5, c.fields("/", "CONNECT", authority="api.test") + [])
d = c.wait(5, timeout=3).json()
c.head(7, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"),
           (":authority", "evil.test")], end=False)
e = c.wait(7, timeout=3).json()
out = {"all": [a, b, d, e], "settings": c.settings, "next": c.get(9, "/").status}
""")
    for one in out["all"]:
        assert one["status"] == "403" or one["reset"] == 1, one
    assert "8" not in out["settings"]
    assert out["next"] == "200"
    assert [r.path for r in origin.requests] == ["/"]


BAD = {
    "CRLF in a value": 'c.fields("/", "GET", ("x-a", "b\\r\\nevil: 1"))',
    "LF in a value": 'c.fields("/", "GET", ("x-a", "b\\nc"))',
    "NUL in a value": 'c.fields("/", "GET", ("x-a", "b\\0c"))',
    "CR in a name": 'c.fields("/", "GET", ("x\\ra", "b"))',
    "colon in a name": 'c.fields("/", "GET", ("x:a", "b"))',
    "space in a name": 'c.fields("/", "GET", ("x a", "b"))',
    "empty name": 'c.fields("/", "GET", ("", "b"))',
    "upper case": 'c.fields("/", "GET", ("X-A", "b"))',
    "two methods": '[(":method", "GET")] + c.fields("/")',
    "two paths": '[(":path", "/b")] + c.fields("/")',
    "late pseudo-header": 'c.fields("/", "GET", ("x-a", "b"), (":path", "/b"))',
    "late authority": 'c.fields("/", "GET", ("x-a", "b"), (":authority", "api.test"))',
    "unknown pseudo-header": '[(":foo", "b")] + c.fields("/")',
    "a response's": '[(":status", "200")] + c.fields("/")',
    "transfer-encoding": 'c.fields("/", "GET", ("transfer-encoding", "chunked"))',
    "connection": 'c.fields("/", "GET", ("connection", "close"))',
    "keep-alive": 'c.fields("/", "GET", ("keep-alive", "x"))',
    "proxy-connection": 'c.fields("/", "GET", ("proxy-connection", "x"))',
    "te": 'c.fields("/", "GET", ("te", "gzip"))',
    "space in the path": 'c.fields("/a b")',
    "absolute path": 'c.fields("https://evil.test/")',
    "no path": 'c.fields("")',
    "fragment": 'c.fields("/a#b")',
    "backslash authority": 'c.fields("/", authority="api.test\\\\@evil.test")',
    "no method": 'c.fields("/")[1:]',
    "no scheme": '[f for f in c.fields("/") if f[0] != ":scheme"]',
    "two content-lengths": 'c.fields("/", "POST", ("content-length", "0"), ("content-length", "0"))',
    "negative length": 'c.fields("/", "POST", ("content-length", "-1"))',
    "two hosts": 'c.fields("/", "GET", ("host", "api.test"), ("host", "api.test"))',
}


def test_case_52_malformed_requests_go_nowhere(origin, box):
    out = talk(box, """
for name, text in json.loads(sys.argv[1]).items():
    c = Client()
    c.raw_head(1, eval(text))
    bad = c.wait(1, timeout=5).json()
    c.raw_head(3, c.fields("/after"))
    out[name] = [bad["reset"], bad["status"], c.wait(3, timeout=5).status]
""", json.dumps(BAD))
    for name, (reset, status, after) in out.items():
        assert reset == 1 or status in ("400", "421"), (name, reset, status)
        assert after == "200", name
    assert {r.path for r in origin.requests} == {"/after"}


def test_case_52_other_schemes_and_lengths(origin, box):
    out = talk(box, """
c = Client()
c.head(1, [(n, "http" if n == ":scheme" else v) for n, v in c.fields("/")])
a = c.wait(1).json()
c.head(3, c.fields("/", "POST", ("content-length", "3")), end=False)
c.data(3, b"abcd", end=True)
b = c.wait(3).json()
c.head(5, c.fields("/", "POST", ("content-length", "5")), end=False)
c.data(5, b"abcd", end=True)
d = c.wait(5).json()
out = {"a": a, "b": b, "d": d}
""")
    assert out["a"]["status"] == "400"
    assert out["b"]["reset"] == 1 and out["d"]["reset"] == 1
    assert not any(r.ended for r in origin.requests)


def test_alpn_is_mirrored(origin, box, p1):
    out = talk(box, """
for name, offer in (("both", ["h2", "http/1.1"]), ("h2", ["h2"])):
    c = Client(alpn=offer, settings=False)
    out[name] = c.alpn
c = Client(alpn=["http/1.1"], settings=False)
out["h1"] = c.alpn
""")
    assert out == {"both": "h2", "h2": "h2", "h1": "http/1.1"}
    assert origin.connections[-1].alpn == "http/1.1"  # sessions of HTTP/2 may have been there
