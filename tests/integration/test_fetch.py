# SPDX-License-Identifier: Apache-2.0
"""The method fetch on the wire: requests, responses, redirects, bodies both ways, abort, bounds."""

import json
import pathlib
import time

import pytest
from harness.fetching import fetch, finish, refused, script, start
from harness.instance import build_dir, wait_until
from harness.rpc import STREAM, TEXT, AppError, RawSocket, Sandbox, frame

API = "http://api.test"
SANITIZED = b"__asan_init" in (build_dir() / "casemated").read_bytes()
PENDING_MAX = 128  # FETCHES_MAX
OUTQUEUE_BARRIERS_MAX = 128


def answer(text: str) -> list[list[str]]:
    return [script(["send", text])]


def seen(bench, target: str):
    return [r for r in bench.origin.requests if r.target == target]


# Responses

def test_a_response(shared, bench):
    r = fetch(shared, "https://api.test/echo?a=b%20c", headers=[["X-Given", "one"], ["x-empty", ""]])
    assert (r.status, r.reason) == (200, "OK")
    assert r.values("content-type") == ["application/json"]
    told = r.json()
    assert (told["method"], told["target"]) == ("GET", "/echo?a=b%20c")
    sent = {n.lower(): v for n, v in told["headers"]}
    assert (sent["x-given"], sent["x-empty"], sent["host"]) == ("one", "", "api.test")
    assert sent["user-agent"].startswith("casemate-fetch/")


def test_processes_start_after_it(shared):
    """The first fetch gives descriptors of init back, which a process' own must not be mixed up with."""
    assert fetch(shared, "https://api.test/echo").status == 200
    for _ in range(8):
        out = shared.sh("echo one; echo two >&2")
        assert (out.code, out.text, out.stderr) == (0, "one\n", b"two\n")


def test_headers_are_pairs_of_lower_case_names_and_repeat(shared):
    r = fetch(shared, f"{API}/script", headers=answer(
        "HTTP/1.1 200 Fine by me\r\nSet-Cookie: a=1; Path=/\r\nX-Latin: caf\xe9\r\nSet-Cookie: b=2\r\n"
        "X-Empty:\r\nContent-Length: 2\r\n\r\nhi"))
    assert r.reason == "Fine by me"
    assert r.values("set-cookie") == ["a=1; Path=/", "b=2"]
    assert r.values("x-latin") == ["caf\xe9"] and r.values("x-empty") == [""]
    assert r.body == b"hi"


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body(shared, status):
    r = fetch(shared, f"{API}/status/{status}")
    assert (r.status, r.stream) == (status, None)


def test_interim_answers_are_not_the_answer(shared):
    r = fetch(shared, f"{API}/script", headers=answer(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
    assert (r.status, r.body, r.values("link")) == (200, b"x", [])


@pytest.mark.parametrize("head", ["101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade",
                                  "600 Odd\r\nContent-Length: 0", "999 Odd\r\nContent-Length: 0"])
def test_a_status_that_no_response_can_have(shared, head):
    assert refused(shared, f"{API}/script", headers=answer(f"HTTP/1.1 {head}\r\n\r\n"))


def test_head_and_an_empty_body(shared):
    r = fetch(shared, f"{API}/big?n=100", method="HEAD")
    assert (r.status, r.values("content-length"), r.stream) == (200, ["100"], None)
    r = fetch(shared, f"{API}/status/200")
    assert r.body == b"" and r.stream.chunks == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_coded_body_arrives_decoded(shared, coding):
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
    r = fetch(shared, f"{API}/script",
              headers=[script(["send", head], ["coded", coding, "packed ", 5000], ["send", "0\r\n\r\n"])])
    assert r.body == b"packed " * 5000
    assert r.values("content-encoding") == [] and r.values("content-length") == []


def test_a_body_that_ends_too_soon(shared):
    r = fetch(shared, f"{API}/script", headers=answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"))
    assert r.body == b"short" and r.stream.error["constructorName"] == "TypeError"


def test_a_large_body_is_whole(shared):
    size = 20_000_000
    assert fetch(shared, f"https://api.test/big?n={size}").body == b"x" * size


def test_a_body_comes_as_it_is_sent(shared):
    call = start(shared, f"{API}/sse?n=5&ms=200")
    number = shared.finish(call)["bodyStreamId"]
    shared.wait(lambda: number in shared.streams and shared.streams[number].data)
    assert not shared.streams[number].ended
    shared.wait(lambda: shared.streams[number].ended)
    assert shared.streams[number].data.count(b"data: ") == 5


# Requests

def test_a_short_body_has_a_length(shared):
    r = fetch(shared, f"{API}/echo", [b"a=1", b"&b=2"], method="post", headers=[["content-type", "x/y"]])
    told = r.json()
    sent = {n.lower(): v for n, v in told["headers"]}
    assert (told["method"], told["body"]) == ("POST", "a=1&b=2")
    assert (sent["content-length"], sent["content-type"]) == ("7", "x/y")
    assert "expect" not in sent and "transfer-encoding" not in sent


def test_a_body_that_takes_its_time(shared):
    number = shared.open_stream()
    call = start(shared, f"{API}/echo", method="PATCH", bodyStreamId=number)
    for _ in range(3):
        shared.enqueue(number, b"piece ")
        time.sleep(0.1)
    shared.end_stream(number)
    told = finish(shared, call).json()
    assert (told["method"], told["body"]) == ("PATCH", "piece " * 3)


def test_a_body_that_drips(shared, bench):
    """It is passed on before it is whole, however short the pauses."""
    number = shared.open_stream()
    call = start(shared, f"{API}/script", method="POST", bodyStreamId=number,
                 headers=[["content-type", "x/y"], script(["send", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])])
    since = time.monotonic()
    while time.monotonic() - since < 1:
        shared.enqueue(number, b".")
        time.sleep(0.01)
    shared.end_stream(number)
    assert finish(shared, call).body == b"ok"
    assert bench.origin.last().header("transfer-encoding") == "chunked"
    assert set(bench.origin.last().body) == set(b".")


def test_a_large_request_body(shared):
    r = fetch(shared, f"{API}/sha256", [b"y" * 65536] * 200, method="PUT")
    want = shared.check_sh("head -c %d /dev/zero | tr '\\0' y | sha256sum" % (65536 * 200)).split()[0]
    assert r.body.decode() == want


def test_a_request_body_that_fails_ends_the_request(shared, bench):
    bench.origin.forget()
    number = shared.open_stream()
    call = start(shared, f"{API}/failing", method="POST", bodyStreamId=number)
    shared.enqueue(number, b"half")
    time.sleep(0.1)
    shared.notify(STREAM + "error", streamId=number, error="it broke")
    with pytest.raises(AppError, match="it broke"):
        shared.finish(call)
    assert not seen(bench, "/failing")


def test_an_answer_before_the_body_was_sent(shared):
    number = shared.open_stream()
    call = start(shared, f"{API}/early", method="POST", bodyStreamId=number)
    shared.enqueue(number, b"z" * 65536)
    assert finish(shared, call).body == b"early"
    shared.wait(lambda: number in shared.cancelled)


@pytest.mark.parametrize("params, what", [
    ({"url": "file:///etc/passwd"}, "Invalid URL"), ({"url": "http://a b/"}, "Invalid URL"),
    ({"url": "/relative"}, "Invalid URL"), ({"url": "http://"}, "Invalid URL"),
    ({"method": "TRACE"}, "method"), ({"method": "connect"}, "method"), ({"method": "A B"}, "method"),
    ({"headers": [["x", "a\r\nb: c"]]}, "header value"), ({"headers": [["x y", "a"]]}, "header name"),
    ({"headers": [["", "a"]]}, "header name"), ({"headers": [["x", "\u20ac"]]}, "header value"),
    ({"headers": [["x"]]}, "headers"), ({"headers": {"x": "y"}}, "headers"),
    ({"headers": [["x", "y"]] * 1001}, "headers"), ({"headers": [["x", "y" * 300_000]]}, "too large"),
    ({"bodyStreamId": 424242}, "stream"), ({"pid": 0}, "process"), ({"pid": 1}, "process"),
])
def test_a_request_that_cannot_be(shared, params, what):
    assert what in refused(shared, **{"url": f"{API}/x", **params})


def test_get_takes_no_body(shared):
    assert "body" in refused(shared, f"{API}/x", [b"x"])


def test_headers_of_the_connection_are_not_the_callers(shared):
    given = [["content-length", "3"], ["Transfer-Encoding", "chunked"], ["expect", "100-continue"],
             ["connection", "upgrade"], ["upgrade", "websocket"]]
    told = fetch(shared, f"{API}/echo", [b"12345"], method="POST", headers=given).json()
    sent = {n.lower(): v for n, v in told["headers"]}
    assert told["body"] == "12345" and sent["content-length"] == "5"
    assert not {"transfer-encoding", "expect", "upgrade"} & set(sent)


# Redirects

def moved(status: int, to: str) -> list[list[str]]:
    return answer(f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 4\r\n\r\ngone")


@pytest.mark.parametrize("status, method, becomes", [
    (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"),
    (307, "POST", "POST"), (308, "POST", "POST"), (301, "PUT", "PUT"), (302, "DELETE", "DELETE")])
def test_methods_and_bodies_of_redirects(shared, status, method, becomes):
    told = fetch(shared, f"{API}/script", [b"kept"], method=method,
                 headers=[*moved(status, "/echo"), ["content-type", "x/y"], ["x-own", "1"]]).json()
    sent = {n.lower(): v for n, v in told["headers"]}
    assert (told["method"], told["target"], sent["x-own"]) == (becomes, "/echo", "1")
    assert told["body"] == ("" if becomes == "GET" else "kept")
    assert ("content-type" in sent) == (becomes != "GET")


def test_credentials_do_not_follow_to_another_origin(shared, bench):
    given = [["authorization", "Bearer x"], ["cookie", "a=b"], ["x-own", "1"]]
    same = fetch(shared, f"{API}/redirect?to=/echo", headers=given).json()
    other = fetch(shared, f"{API}/redirect?to=http://two.test/echo", headers=given).json()
    scheme = fetch(shared, "https://api.test/redirect?to=http://api.test/echo", headers=given).json()
    names = [{n.lower() for n, _ in told["headers"]} for told in (same, other, scheme)]
    assert {"authorization", "cookie", "x-own"} <= names[0]
    for found in names[1:]:
        assert "x-own" in found and not {"authorization", "cookie"} & found


def test_a_streamed_body_is_not_sent_again(shared):
    number = shared.open_stream()
    call = start(shared, f"{API}/script", method="POST", bodyStreamId=number, headers=moved(307, "/echo"))
    shared.enqueue(number, b"one")
    time.sleep(0.2)
    shared.end_stream(number)
    with pytest.raises(AppError, match="stream"):
        shared.finish(call)


def test_manual_and_error(shared):
    r = fetch(shared, f"{API}/redirect?to=/echo", redirect="manual")
    assert (r.status, r.values("location"), r.body) == (302, ["/echo"], b"")
    assert "redirect" in refused(shared, f"{API}/redirect?to=/echo", redirect="error")
    assert fetch(shared, f"{API}/x", redirect="error").status == 200


def test_twenty_redirects_and_no_more(shared, bench):
    loop = moved(302, "/script")
    bench.origin.forget()
    assert "too many redirects" in refused(shared, f"{API}/script", headers=loop)
    assert len(seen(bench, "/script")) == 21


@pytest.mark.parametrize("to", ["file:///etc/passwd", "gopher://x/", "http://["])
def test_a_redirect_out_of_http(shared, to):
    assert "redirect" in refused(shared, f"{API}/script", headers=moved(302, to))


def test_a_redirect_status_without_a_location(shared):
    assert fetch(shared, f"{API}/status/302").status == 302


# Abort

def test_abort_before_the_head(shared):
    call = start(shared, f"{API}/slow?ms=20000", abortId=700)
    time.sleep(0.3)
    assert shared.call("abort", abortId=700) is None
    with pytest.raises(AppError, match="aborted") as caught:
        shared.finish(call)
    assert (caught.value.error["constructorName"], caught.value.error["name"]) == ("DOMException", "AbortError")
    wait_until(lambda: not helpers(shared), 5, "the end of the helper")


def test_abort_in_the_body(shared):
    number = shared.finish(start(shared, f"{API}/sse?n=500&ms=50", abortId=701))["bodyStreamId"]
    shared.wait(lambda: number in shared.streams and shared.streams[number].data)
    shared.call("abort", abortId=701)
    shared.wait(lambda: shared.streams[number].ended)
    assert shared.streams[number].error["name"] == "AbortError"
    wait_until(lambda: not helpers(shared), 5, "the end of the helper")


def test_cancel_of_the_body(shared):
    number = shared.finish(start(shared, f"{API}/sse?n=500&ms=20"))["bodyStreamId"]
    shared.wait(lambda: number in shared.streams and shared.streams[number].data)
    shared.notify(STREAM + "cancel", streamId=number, reason=None)
    wait_until(lambda: not helpers(shared), 5, "the end of the helper")
    assert not shared.streams[number].ended


@pytest.mark.parametrize("path", ["/status/200", "/x", "/sse?n=500&ms=20"])
def test_cancel_before_the_body_began(shared, path):
    """Over and over: neither barriers nor helpers of such bodies count for ever."""
    for _ in range(OUTQUEUE_BARRIERS_MAX + 10 if path == "/x" else 5):
        number = shared.finish(start(shared, f"{API}{path}"))["bodyStreamId"]
        shared.notify(STREAM + "cancel", streamId=number, reason=None)
    assert fetch(shared, f"{API}/x").body == b"ok"
    wait_until(lambda: not helpers(shared), 5, "the end of the helpers")


def test_abort_of_what_is_over_and_of_others(shared):
    fetch(shared, f"{API}/x", abortId=702)
    assert shared.call("abort", abortId=702) is None
    with Sandbox(shared.instance, id=shared.id) as other:
        call = start(other, f"{API}/slow?ms=700", abortId=703)
        time.sleep(0.1)
        shared.call("abort", abortId=703)
        assert finish(other, call).status == 200, "an id is its connection's"


def test_abort_of_other_calls(shared):
    """What is answered at once cannot be aborted any more; what waits can."""
    number = shared.open_stream()
    call = shared.start("writeFile", path="/tmp/aborted", contentStreamId=number, abortId=710)
    shared.enqueue(number, b"x")
    time.sleep(0.1)
    shared.call("abort", abortId=710)
    with pytest.raises(AppError, match="aborted"):
        shared.finish(call)
    shared.write("/tmp/large", b"x" * 1000)
    call = shared.start("readFile", path="/tmp/large", abortId=711)
    shared.call("abort", abortId=711)
    assert shared.finish(call)


# A process' own server

SERVER = """
import http.server, socketserver, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = f"{self.path} {self.headers['host']}".encode()
        self.send_response(200 if self.path != "/away" else 302)
        if self.path == "/away":
            self.send_header("location", "https://evil.test/there")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer.address_family = __import__("socket").AF_INET6 if ":" in sys.argv[1] else 2
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), H).serve_forever()
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_process_is_asked_whatever_the_host(shared, bench, address):
    bench.origin.forget()
    process = shared.spawn("python3", "-c", SERVER, address, "0")
    r = fetch(shared, "https://evil.test/path?q=1", pid=process["pid"])
    assert (r.status, r.body) == (200, b"/path?q=1 evil.test")
    assert fetch(shared, "http://x/away", pid=process["pid"]).body == b"/there evil.test"
    assert not bench.origin.requests
    shared.call("processKill", pid=process["pid"], signal="SIGKILL")


def test_a_server_that_a_shell_started(shared):
    process = shared.spawn("bash", "-c", 'python3 -c "$1" 127.0.0.1 0; true', "-", SERVER)
    assert fetch(shared, "http://x/y", pid=process["pid"]).body == b"/y x"
    shared.call("processKill", pid=process["pid"], signal="SIGKILL")


def test_a_process_without_a_server(shared):
    other = shared.spawn("python3", "-c", SERVER, "127.0.0.1", "0")
    process = shared.spawn("sleep", "1")
    assert "listens on no port" in refused(shared, "http://x/", pid=process["pid"])
    assert "process" in refused(shared, "http://x/", pid=process["pid"])
    shared.call("processKill", pid=other["pid"], signal="SIGKILL")


# Bounds

def helpers(sandbox) -> list[str]:
    return sandbox.check_sh("cat /proc/[0-9]*/comm 2>/dev/null | grep casemate-fetch; true").split()


def test_so_many_at_once_and_no_more(sandbox):
    calls = [start(sandbox, f"{API}/slow?ms=30000", abortId=i) for i in range(PENDING_MAX)]
    assert "128" in refused(sandbox, f"{API}/x")
    for i in range(PENDING_MAX):
        sandbox.call("abort", abortId=i)
    for call in calls:
        with pytest.raises(AppError, match="aborted"):
            sandbox.finish(call)
    assert fetch(sandbox, f"{API}/x").body == b"ok"


def test_large_heads(shared):
    fits = answer("HTTP/1.1 200 OK\r\n" + "".join(f"X-{i}: {'v' * 1000}\r\n" for i in range(40)) +
                  "Content-Length: 1\r\n\r\nx")
    assert len(fetch(shared, f"{API}/script", headers=fits).headers) == 41
    for text in ("X: " + "v" * 60000 + "\r\n", "X: y\r\n" * 1100, "X: " + '"' * 40000 + "\r\n"):
        assert refused(shared, f"{API}/script", headers=answer(
            f"HTTP/1.1 200 OK\r\n{text}Content-Length: 1\r\n\r\nx"))


def test_the_client_is_gone(sandbox):
    with Sandbox(sandbox.instance, id=sandbox.id) as other:
        start(other, f"{API}/slow?ms=30000")
        number = other.finish(start(other, f"{API}/sse?n=1000&ms=20"))["bodyStreamId"]
        other.wait(lambda: number in other.streams and other.streams[number].data)
        assert len(helpers(sandbox)) == 2
    wait_until(lambda: not helpers(sandbox), 5, "the end of the helpers")


def test_a_helper_that_is_killed(shared):
    call = start(shared, f"{API}/slow?ms=30000")
    wait_until(lambda: helpers(shared), 5, "the helper")
    shared.check_sh("for p in /proc/[0-9]*; do grep -qx casemate-fetch $p/comm && kill -9 ${p#/proc/}; done; true")
    with pytest.raises(AppError, match="ended from within"):
        shared.finish(call)


def test_an_image_without_libcurl(sandbox):
    sandbox.check_sh("sudo rm -f /usr/lib/x86_64-linux-gnu/libcurl.so.4*")
    assert "libcurl4" in refused(sandbox, f"{API}/x")


def rss_kb(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4


def init_of(instance) -> int:
    found = [p for p in instance.descendants()
             if pathlib.Path(f"/proc/{p}/cmdline").read_bytes().startswith(b"casemate-init")]
    assert len(found) == 1, found
    return found[0]


def call_text(number: int, method: str, /, **params) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


@pytest.mark.seconds(120)
@pytest.mark.parametrize("source", ["fetch", "process"])
def test_a_slow_client_costs_neither_memory(bench, tmp_path, source):
    """200 MB pass to a client that reads a little at a time: daemon and init stay as they were."""
    from harness.instance import Instance
    size = 200_000_000
    with Instance(tmp_path / "state", *bench.flags) as instance, Sandbox(instance) as sandbox:
        with RawSocket(instance, timeout=30) as raw:
            assert raw.upgrade(f"/api/v3/sandbox/{sandbox.id}/connect", config=None)[0] == 101
            init = init_of(instance)
            fetch(sandbox, f"{API}/x")
            before = [rss_kb(instance.pid), rss_kb(init)]
            if source == "fetch":
                raw.send(frame(TEXT, call_text(1, "fetch", url=f"{API}/big?n={size}", method="GET",
                                               headers=[], redirect="follow")))
            else:
                raw.send(frame(TEXT, call_text(1, "spawn", command="head", stdout="piped", stderr="null",
                                               args=["-c", str(size), "/dev/zero"])))
                pid = json.loads(raw.frame()[2])["result"]["ok"]["pid"]
                raw.send(frame(TEXT, call_text(2, "processWait", pid=pid)))
            time.sleep(2)
            most = [rss_kb(instance.pid), rss_kb(init)]
            got = 0
            while got < size * 4 // 3:
                data = raw.sock.recv(1 << 20)
                assert data, "the connection ended"
                before_mb, got = got >> 23, got + len(data)
                if got >> 23 != before_mb:
                    most = [max(m, rss_kb(p)) for m, p in zip(most, (instance.pid, init))]
                    time.sleep(0.05)
            grown = [m - b for m, b in zip(most, before)]
            print(f"{source}: daemon grew by {grown[0]} KB, init by {grown[1]} KB")
            assert grown[0] < (256 if SANITIZED else 24) * 1024 and grown[1] < 4096, grown


# Several clients of one sandbox

def test_clients_share_processes_files_and_environment_but_no_streams(sandbox):
    with Sandbox(sandbox.instance, id=sandbox.id) as other:
        process = sandbox.spawn("bash", "-c", "sleep 0.5; exit 7", stdout="null", stderr="null")
        other.call("envSet", key="SHARED", value="1")
        other.write("/tmp/shared", b"x")
        handle = other.call("open", path="/tmp/shared", options={"read": True})["fileHandleId"]
        assert sandbox.call("envGet", key="SHARED") == "1" and sandbox.read("/tmp/shared") == b"x"
        assert other.call("processWait", pid=process["pid"])["code"] == 7
        with pytest.raises(AppError, match="BadResource"):
            sandbox.call("fileStat", fileHandleId=handle)
        number = sandbox.finish(start(sandbox, f"{API}/sse?n=5&ms=100"))["bodyStreamId"]
        other.notify(STREAM + "cancel", streamId=number, reason=None)
        sandbox.wait(lambda: number in sandbox.streams and sandbox.streams[number].ended)
        assert sandbox.streams[number].data.count(b"data") == 5, "another client ended the stream"
        assert number not in other.streams
    assert sandbox.call("envGet", key="SHARED") == "1"
