# SPDX-License-Identifier: Apache-2.0
"""The numbered cases over HTTP/2: what a client in the sandbox sends arrives as frames at the host, and
comes back so."""

import base64
import concurrent.futures
import io
import json
import pathlib
import subprocess
import sys
import zipfile

import grpc
import hpack
import pytest
from egress_bench import S1, S2, forms_of
from harness import leaks
from harness.instance import Instance
from harness.origin_h2 import H2Origin
from harness.rpc import Sandbox

SECRETS = {
    "S1": {"hosts": ["api.test", "two.test"], "value": S1},
    "S2": {"hosts": ["two.test"], "value": S2},
}


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


def bundle(package) -> bytes:
    """A library of the tests, for the sandbox."""
    out = io.BytesIO()
    root = pathlib.Path(package.__file__).parent
    with zipfile.ZipFile(out, "w") as archive:
        for file in root.rglob("*.py"):
            archive.write(file, f"{package.__name__}/{file.relative_to(root)}")
    return out.getvalue()


@pytest.fixture(scope="module")
def origin(authority):
    made = H2Origin(authority.issue("api.test", "two.test", "evil.test"), alpn=("h2", "http/1.1"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def instance(leaks_before, authority, origin, tmp_path_factory):
    flags = [f"--egress-ca={authority.cert}"]
    flags += [f"--egress-host={name}={origin.address}" for name in ("api.test", "two.test", "evil.test")]
    with Instance(tmp_path_factory.mktemp("state"), *flags) as running:
        yield running
    assert not leaks.since(leaks_before)


@pytest.fixture(scope="module")
def box(instance):
    with Sandbox(instance, allow_net=["api.test", "two.test"], secrets=SECRETS) as made:
        made.write("/home/app/hpack.zip", bundle(hpack))
        code = pathlib.Path(__file__).parent / "h2_client.py"
        made.write("/home/app/h2_client.py", code.read_bytes())
        yield made


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.check_sh("printenv S1").rstrip("\n")


@pytest.fixture(scope="module")
def p2(box) -> str:
    return box.check_sh("printenv S2").rstrip("\n")


@pytest.fixture(autouse=True)
def fresh_records(origin, instance):
    """Instead of the other files' bench, which is not needed here."""
    origin.forget()
    instance.audit.mark()


def curl(box, *args):
    return box.run("curl", "-sS", "-m", "10", "--http2", *args)


def without_value(text: bytes) -> None:
    for form in (*forms_of(S1), *forms_of(S2)):
        assert form not in text


def test_curl_speaks_http2(origin, box, p1):
    out = curl(box, "-w", "%{http_version}", "https://api.test/", "-H", f"x-key: {p1}", "-d", "a=1")
    assert out.code == 0, out.stderr
    assert out.text == "ok2"
    assert origin.last().header("x-key") == S1
    assert origin.last().body == b"a=1"
    assert "x-key" in origin.last().never_indexed


def test_case_64_echo_in_fields_body_and_trailer(origin, box, p1):
    out = curl(box, "-v", "https://api.test/fields", "-H", f"x-key: {p1}")
    assert out.code == 0, out.stderr
    assert out.text == f"body {p1}"
    seen = out.stdout + out.stderr
    without_value(seen)
    for line in (f"link: </{p1}>", f"x-echo: {p1}", f"set-cookie: k={p1}", f"x-trailer: {p1}"):
        assert line.encode() in seen, line


def talk(box, code: str, *args: str, timeout: int = 40) -> dict:
    """Runs a client's script in the sandbox; what it puts into out comes back."""
    done = box.python("import json, sys, time\nfrom h2_client import *\nout = {}\n" + code +
                      "\nprint(json.dumps(out))", *args, timeout=timeout)
    assert done.code == 0, done.stderr.decode()
    without_value(done.stdout)
    return json.loads(done.text)


# --- A. Substitution --------------------------------------------------------------------------------


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


# --- B. Destination ---------------------------------------------------------------------------------


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


# --- C. Response ------------------------------------------------------------------------------------


def test_case_65_cut_at_every_byte_over_data_frames(origin, box, p1):
    sizes = (1, 2, 3, 7, 16, len(S1) - 1, len(S1), len(S1) + 1)
    out = talk(box, """
c = Client()
for n, size in enumerate(json.loads(sys.argv[1])):
    s = c.get(2 * n + 1, "/pieces?size=%d" % size, ("x-key", key()))
    out[size] = s.body.decode()
""", json.dumps(sizes))
    for size in sizes:
        text = out[str(size)]
        assert len(text) == len("before  after") + len(p1), size
        assert S1[20:] not in text, size


def test_case_66_68_narrowed(origin, box, p1):
    out = curl(box, "--compressed", "https://api.test/", "-H", "Range: bytes=0-0", "-H", f"x-key: {p1}")
    assert out.code == 0
    assert origin.last().header("accept-encoding") == "identity"
    assert origin.last().header("range") is None


# --- D. Robustness ----------------------------------------------------------------------------------


def cpu_of_workers(instance) -> float:
    total = 0
    for pid in instance.workers():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / 100


def memory_of_workers(instance) -> int:
    found = 0
    for pid in instance.workers():
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                found = max(found, int(line.split()[1]) * 1024)
    return found


FLOODS = {
    "rapid reset": """
for n in range(1, 40001, 2):
    block = c.encoder.encode(c.fields("/hang"))
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, n, block) + frame(RST, 0, n, struct.pack(">I", 8)))
    if c.closed: break
""",
    "resets that we are made to send": """
for n in range(1, 40001, 2):
    block = c.encoder.encode(c.fields("/hang"))
    c.send(frame(HEADERS, END_HEADERS, n, block) + frame(WINDOW, 0, n, struct.pack(">I", 0)))
    if c.closed: break
""",
    "CONTINUATION": """
c.send(frame(HEADERS, END_STREAM, 1, c.encoder.encode(c.fields("/"))))
for n in range(20000):
    c.send(frame(CONTINUATION, 0, 1, b""))
    if c.closed: break
""",
    "SETTINGS": """
for n in range(20000):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)))
    if c.closed: break
""",
    "PING": """
for n in range(20000):
    c.send(frame(PING, 0, 0, b"12345678"))
    if c.closed: break
""",
    "PRIORITY": """
for n in range(20000):
    c.send(frame(PRIORITY, 0, 2 * n + 1, struct.pack(">IB", 0, n % 256)))
    if c.closed: break
""",
    "empty DATA": """
c.head(1, c.fields("/hang", "POST"), end=False)
for n in range(20000):
    c.send(frame(DATA, 0, 1, b""))
    if c.closed: break
""",
    "WINDOW_UPDATE": """
for n in range(20000):
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 1)))
    if c.closed: break
""",
    "HPACK bomb": """
c.encoder.header_table_size = 4096
for n in range(1, 2001, 2):
    fields = c.fields("/") + [("x-bomb", "b" * 3900)]
    c.head(n, fields)
    block = c.encoder.encode(c.fields("/")) + b"\\xbe" * 16000
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, n + 20000, block))
    if c.closed: break
""",
    "2^31 window": """
c.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)))
c.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)))
""",
    "SETTINGS with many entries": """
c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535) * 2000))
""",
    "no preface": "c.send(b'GET / HTTP/1.1\\r\\n\\r\\n' + b'x' * 100)",
}


@pytest.mark.parametrize("name", FLOODS)
def test_case_77_floods_end_the_session(origin, box, instance, name):
    before = cpu_of_workers(instance)
    preface = "False" if name == "no preface" else "True"
    out = talk(box, f"c = Client(settings={preface})\n" + FLOODS[name] + """
c.until(lambda: c.goaway is not None or c.closed, 8)
out = {"goaway": c.goaway, "closed": c.closed}
d = Client()
out["after"] = d.get(1, "/").status
""")
    assert out["goaway"] not in (None, 0) or out["closed"], out
    assert out["after"] == "200"
    assert cpu_of_workers(instance) - before < 2, name


def test_case_77_unknown_frames_are_skipped(origin, box, instance):
    """They cost no more than the bytes that they are."""
    before = cpu_of_workers(instance)
    out = talk(box, """
c = Client()
for n in range(200):
    c.send(frame(0xbe, 0, 0, b"x") * 1000)
out = {"status": c.get(1, "/").status}
""")
    assert out["status"] == "200"
    assert cpu_of_workers(instance) - before < 1


def test_case_77_zero_window_holds_little(origin, box, instance):
    """A client that asks for much and takes nothing: bounded memory, and others go on."""
    before = memory_of_workers(instance)
    out = talk(box, """
c = Client(window=0, big_window=False)
c.auto_window = False
for n in range(1, 201, 2):
    c.head(n, c.fields("/big?n=3000000", "GET"))
time.sleep(1.5)
d = Client()
out = {"other": d.get(1, "/").status, "closed": c.closed}
c.until(lambda: False, 0.5)
out["got"] = sum(len(s.body) for s in c.streams.values())
""")
    assert out["other"] == "200" and out["got"] == 0
    assert memory_of_workers(instance) - before < 24 << 20


def test_case_76_a_head_that_never_ends(origin, box, instance):
    out = talk(box, """
c = Client()
c.until(lambda: c.settings)
block = c.encoder.encode(c.fields("/"))
c.send(frame(HEADERS, END_STREAM, 1, block))
begin = time.monotonic()
c.until(lambda: c.goaway is not None or c.closed, 20)
out = {"took": time.monotonic() - begin, "goaway": c.goaway}
""")
    assert out["goaway"] == 11 and 8 < out["took"] < 14
    assert not origin.requests


def test_case_76_too_large_a_head(origin, box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/", "GET", *[("x-%d" % n, "y" * 700) for n in range(97)]))
a = c.wait(1).json()
c.head(3, c.fields("/", "GET", *[("x-%d" % n, "y") for n in range(200)]))
b = c.wait(3).json()
out = {"all": [a["status"], b["status"], c.get(5, "/").status]}
""")
    assert out["all"] == ["431", "431", "200"]


def test_case_26_early_answers_and_resets(origin, box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/early", "POST"), end=False)
c.data(1, b"x" * 1000)
c.until(lambda: c.streams[1].reset is not None)
out["early"] = c.streams[1].json()
out["refused"] = c.get(3, "/reset?code=7").json()
out["calm"] = c.get(5, "/reset?code=11").json()
c.head(7, c.fields("/hang", "POST"), end=False)
c.data(7, b"half")
time.sleep(0.2)
c.send(frame(RST, 0, 7, struct.pack(">I", 8)))
out["after"] = c.get(9, "/").status
""")
    assert out["early"]["status"] == "401" and out["early"]["body"] == "early"
    assert out["early"]["reset"] == 0
    assert out["refused"]["reset"] == 7 and out["calm"]["reset"] == 11
    assert out["after"] == "200"
    hung = next(r for r in origin.requests if r.path == "/hang")
    assert hung.reset == 8 and not hung.ended
    assert [r.path for r in origin.requests].count("/reset?code=7") == 1  # never again


def test_goaway_of_the_host_reaches_the_client(origin, box):
    out = talk(box, """
c = Client()
c.get(1, "/")
c.head(3, c.fields("/goaway"))
c.until(lambda: c.goaway is not None)
out = {"goaway": c.goaway, "last": c.goaway_last, "stream": c.streams[3].json()}
d = Client()
out["new"] = d.get(1, "/").status
""")
    assert out["goaway"] == 0 and out["last"] == 3 and out["new"] == "200"
    assert out["stream"]["status"] == "200"


def test_bodies_both_ways_keep_their_bytes(origin, box):
    """More than any window, in both directions at once; and a slow reader stops the sender."""
    out = talk(box, """
import hashlib
c = Client(window=100000)
c.head(1, c.fields("/stream", "POST"), end=False)
body = os.urandom(3 << 20)
sent = 0
room = lambda: min(65535 + c.windows.get(0, 0), 262144 + c.windows.get(1, 0)) - sent
while sent < len(body):
    if not c.until(lambda: room() > 0, 10): break
    part = body[sent:sent + min(room(), 16384)]
    c.data(1, part); sent += len(part)
c.data(1, b"", end=True)
s = c.wait(1, timeout=20)
out = {"same": s.body == body, "sent": sent, "got": len(s.body), "ended": s.ended}
""")
    assert out["same"] and out["ended"], out


def test_alpn_is_mirrored(origin, box, p1):
    out = talk(box, """
for name, offer in (("both", ["h2", "http/1.1"]), ("h2", ["h2"])):
    c = Client(alpn=offer, settings=False)
    out[name] = c.alpn
c = Client(alpn=["http/1.1"], settings=False)
out["h1"] = c.alpn
""")
    assert out == {"both": "h2", "h2": "h2", "h1": "http/1.1"}
    assert [c.alpn for c in origin.connections] == ["h2", "h2", "http/1.1"]


def test_a_host_that_cannot_be_verified_is_told_of_over_h2(authority, box, tmp_path, leaks_before):
    other = H2Origin(authority.issue("wrong.test"))
    try:
        with Instance(tmp_path / "state", f"--egress-ca={authority.cert}",
                      f"--egress-host=api.test={other.address}") as instance, \
                Sandbox(instance, secrets={"S1": {"hosts": ["api.test"], "value": S1}}) as sandbox:
            sandbox.write("/home/app/hpack.zip", bundle(hpack))
            code = pathlib.Path(__file__).parent / "h2_client.py"
            sandbox.write("/home/app/h2_client.py", code.read_bytes())
            out = talk(sandbox, """
c = Client()
s = c.get(1, "/", ("x-key", key()))
out = s.json()
""")
        assert out["status"] == "502"
        assert json.loads(out["body"])["code"] == "UPSTREAM_TLS_ERROR"
        assert not other.requests
    finally:
        other.close()


def test_audit_tells_of_each_request(origin, box, instance, p1):
    curl(box, "https://api.test/a/b?q=1", "-H", f"x-key: {p1}")
    request = instance.audit.wait(ev="request", path="/a/b")
    assert request["status"] in ("200", 200) and request["method"] == "GET"
    assert instance.audit.wait(ev="swap", secret="S1", where="header")
    assert instance.audit.wait(ev="intercept", alpn="h2")


def test_methods_and_digests_as_for_http1(origin, instance):
    """A secret for GET alone goes into no POST; of a filtered body no digest is passed on."""
    secrets = {"K": {"hosts": ["api.test"], "value": S1, "methods": ["GET"]}}
    with Sandbox(instance, allow_net=["api.test"], secrets=secrets) as sandbox:
        key = sandbox.check_sh("printenv K").rstrip("\n")
        out = curl(sandbox, "https://api.test/", "-H", f"x-key: {key}", "-d", "a=1")
        assert json.loads(out.text)["code"] == "SECRET_MISUSE" and not origin.requests
        out = curl(sandbox, "-i", "https://api.test/digest", "-H", f"x-key: {key}")
        assert origin.last().header("x-key") == S1
        assert b"200" in out.stdout and b"digest" not in out.stdout.lower()
        without_value(out.stdout)
        assert instance.audit.wait(ev="redact", secret="K")
