# SPDX-License-Identifier: Apache-2.0
"""Cases 24, 64 to 67, 70, 71, 75 and 78: a value comes back in every way that a host can send it."""

import base64
import html
import json
import statistics
import urllib.parse

import pytest
from egress_bench import ALLOWED, S1, SECRETS, Box, forms_of, status_of
from harness.origin import ENCODINGS

HOLD = 16  # characters of a value without a public prefix that come before anything is held back
OK = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = OK + "Transfer-Encoding: chunked\r\n\r\n"
TO_CLOSE = OK + "\r\n"
END = ["send", "0\r\n\r\n"]


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.placeholder("S1")


def ask(p1: str, *steps: list, method: str = "GET", fields: str = "", host: str = "api.test") -> bytes:
    script = base64.b64encode(json.dumps(steps).encode()).decode()
    return (f"{method} /script HTTP/1.1\r\nHost: {host}\r\nx-key: {p1}\r\nx-script: {script}\r\n{fields}"
            "\r\n").encode()


def script(lab, box, p1: str, *steps: list, **more) -> bytes:
    """What the sandbox gets of that answer; never a value."""
    lab.good.gate.set()
    out = box.request(ask(p1, *steps, fields="Connection: close\r\n", **more))["data"]
    for form in forms_of(S1):
        assert form not in out
    return out


def body_of(answer: bytes) -> bytes:
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    out = b""
    while (size := int(rest.partition(b"\r\n")[0], 16)) > 0:
        at = rest.index(b"\r\n") + 2
        out += rest[at:at + size]
        rest = rest[at + size + 2:]
    return out


# --- case 24 ---

def test_case_24_events_are_not_held(lab, box, p1):
    """From the origin's write to the sandbox's read, beside the same over a pass-through connection."""
    code = (
        "import socket, ssl, sys, time, base64\n"
        "host, ask = sys.argv[1], base64.b64decode(sys.argv[2])\n"
        "context = ssl._create_unverified_context()  # files.test shows the bench's own certificate\n"
        "s = context.wrap_socket(socket.create_connection((host, 443)), server_hostname=host)\n"
        "s.sendall(ask)\n"
        "data, seen = b'', 0\n"
        "while got := s.recv(65536):\n"
        "    now = time.monotonic(); data += got\n"
        "    times = [l[6:] for l in data.split(b'\\n') if l.startswith(b'data: ')]\n"
        "    for t in times[seen:]: print(now - float(t))\n"
        "    seen = len(times)\n"
        "    if data.endswith(b'0\\r\\n\\r\\n'): break\n")
    delay = {}
    for host in ("files.test", "api.test"):
        request = ask("none", ["send", CHUNKED], ["times", 12, 100], END, host=host)
        out = box.sandbox.python(code, host, base64.b64encode(request).decode())
        assert out.code == 0, out.stderr.decode()
        delay[host] = [float(line) for line in out.text.split()]
        assert len(delay[host]) == 12
    added = statistics.median(delay["api.test"]) - statistics.median(delay["files.test"])
    assert added < 0.010, delay
    assert max(delay["api.test"]) < 0.095, delay  # none waits for the next


# --- case 64 ---

def test_case_64_in_the_head(lab, box, p1):
    out = script(lab, box, p1, ["send", "HTTP/1.1 200 Hello @raw@\r\nX-Echo: a@raw@b\r\nSet-Cookie: k=@raw@; Secure\r\n"
                                "Location: https://api.test/?k=@percent@\r\nX-Basic: @basic@\r\nX-@raw@: 1\r\n\r\nend"])
    p = p1.encode()
    for wanted in (b"200 Hello " + p, b"X-Echo: a" + p + b"b", b"Set-Cookie: k=" + p, b"X-" + p + b": 1"):
        assert wanted in out
    assert body_of(out) == b"end"


@pytest.mark.parametrize("form", ["raw", "json", "html"])
def test_case_64_in_a_document(lab, box, p1, form):
    around = {"raw": "text %s.", "json": '{"key": "%s"}', "html": "<p title='%s'>"}[form]
    out = script(lab, box, p1, ["send", TO_CLOSE + around % f"@{form}@"])
    assert body_of(out) == (around % ENCODINGS[form](p1.encode()).decode()).encode()


def test_case_64_early_hints(lab, box, p1):
    out = script(lab, box, p1, ["send", "HTTP/1.1 103 Early Hints\r\nLink: </@raw@>; rel=preload\r\n\r\n" + TO_CLOSE])
    assert b"103 Early Hints\r\nLink: </" + p1.encode() + b">" in out


def test_case_64_trailers(lab, box, p1):
    out = script(lab, box, p1, ["send", CHUNKED + "2\r\nok\r\n0\r\nX-Sum: @raw@\r\nContent-Length: 3\r\n\r\n"])
    assert out.endswith(b"0\r\nX-Sum: " + p1.encode() + b"\r\n\r\n")


def test_case_64_events(lab, box, p1):
    out = script(lab, box, p1, ["send", CHUNKED], *(["chunk", f"data: {n} @raw@\n\n"] for n in range(5)), END)
    assert body_of(out) == b"".join(b"data: %d %s\n\n" % (n, p1.encode()) for n in range(5))


# --- case 53 ---

TWICE = [
    ["send", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse"],
    ["send", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nfalse"],
    ["send", "HTTP/1.1 102 Processing\r\n\r\n" * 100 + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse"],
    ["send", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse"],
]


@pytest.mark.parametrize("step", TWICE, ids=["two", "two-lengths", "interim", "101"])
def test_case_53_a_host_that_says_more_than_was_asked(lab, box, p1, step):
    """Two requests on one connection of the sandbox's: what is too much answers neither."""
    second = b"GET /second HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
    lab.good.gate.set()
    out = box.request([ask(p1, step), second], pause=0.3)["data"]
    assert b"false" not in out
    assert box.ok("https://api.test/after") == "ok"


# --- case 65 ---

def cut_right(body: bytes, p1: str, where: object) -> None:
    """Only less than HOLD characters of a value came out, then the placeholder's."""
    p = p1.encode()
    assert len(body) == len(p) + 2, where
    known = next(n for n in range(len(p) + 1) if body[1 + n:-1] == p[n:])
    assert known < HOLD and body[1:1 + known] == S1[:known].encode(), where


def test_case_65_cut_at_every_byte_between_chunks(lab, box, p1):
    for n in range(1, len(S1) + 2, 3):
        text = "<" + S1 + ">"
        steps = [["send", CHUNKED], ["chunk", text[:n]], ["chunk", text[n:]], END]
        cut_right(body_of(script(lab, box, p1, *steps)), p1, n)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 15, 16, 17, len(S1) - 1, len(S1), len(S1) + 1])
@pytest.mark.parametrize("kind", ["chunks", "pieces"])
def test_case_65_pieces(lab, box, p1, kind, size):
    """In chunks, and in TLS records of a body that ends with the connection."""
    steps = [["send", CHUNKED], ["chunks", size, "<@raw@>"], END]
    if kind == "pieces":
        steps = [["send", TO_CLOSE], ["pieces", size, "<@raw@>"]]
    cut_right(body_of(script(lab, box, p1, *steps)), p1, size)


# --- case 66, 71, 78 ---

@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "gzip, gzip"])
def test_case_66_codings_that_hide_a_value(lab, box, p1, coding):
    steps = ["send", CHUNKED.replace("\r\n\r\n", f"\r\nContent-Encoding: {coding}\r\n\r\n")], ["chunk", "x"], END
    assert status_of({"data": script(lab, box, p1, *steps)}) == 502


def test_case_67_a_character_set_that_hides_a_value(lab, box, p1):
    steps = ["send", CHUNKED.replace("text/plain", "text/plain; charset=utf-16")], ["chunk", "\0".join(S1)], END
    out = script(lab, box, p1, *steps)
    assert status_of({"data": out}) == 502 and "\0".join(S1).encode() not in out
    box.curl("https://api.test/echo", "-H", "Accept-Charset: utf-16", "-H", "A-IM: gzip")
    assert not lab.good.last().values("accept-charset") + lab.good.last().values("a-im")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
def test_case_66_codings_that_are_taken_off(lab, box, p1, coding):
    named = "deflate" if coding == "bare" else coding
    steps = (["send", CHUNKED.replace("\r\n\r\n", f"\r\nContent-Encoding: {named}\r\nDigest: x\r\n\r\n")],
             ["coded", coding, "<@raw@>"], END)
    out = script(lab, box, p1, *steps)
    assert body_of(out) == b"<" + p1.encode() + b">"
    assert b"content-encoding" not in out.lower() and b"digest" not in out.lower()


def test_case_71_no_length_oracle_by_compression(lab, box, p1):
    box.curl("https://api.test/echo", "--compressed", "-H", f"x-key: {p1}")
    assert lab.good.last().values("accept-encoding") == ["identity"]


def test_case_78_a_bomb(lab, box, p1):
    steps = (["send", CHUNKED.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n")],
             ["coded", "gzip", "\0" * 1000, 30000], END)
    out = script(lab, box, p1, *steps)
    assert len(out) < 5 << 20
    # Refused if it came at once, else cut: in no case does it look whole.
    assert status_of({"data": out}) == 502 or not out.endswith(b"0\r\n\r\n")


# --- case 67 ---

DECODERS = {
    "raw": lambda t: t, "hex": lambda t: bytes.fromhex(t).decode(), "percent": urllib.parse.unquote,
    "json": lambda t: json.loads(f'"{t}"'), "html": html.unescape,
}


@pytest.mark.parametrize("form", sorted(ENCODINGS))
def test_case_67_forms(lab, box, p1, form):
    out = body_of(script(lab, box, p1, ["send", TO_CLOSE + f"<@{form}@>"]))
    echoed = ENCODINGS[form](S1.encode())
    assert len(out) == len(echoed) + 2
    decode = DECODERS.get(form.partition("-")[0])
    assert decode is None or decode(out[1:-1].decode()) == p1
    # But for what it shares with its neighbours nothing of it is left.
    assert echoed[12:-8] not in out and echoed[12:40] not in out
    assert lab.good.last().header("x-key") == S1


# --- case 70 ---

@pytest.fixture
def guesser(lab):
    """A sandbox of its own, for what one does in it changes what it sees from then on."""
    box = Box(lab, allow_net=ALLOWED, secrets={"S1": SECRETS["S1"]})
    yield box
    box.close()


def seen_of(lab, box, text: str) -> bytes:
    """What of a text comes while the origin has not gone on."""
    lab.good.gate.clear()
    request = ask("none", ["send", CHUNKED], ["chunk", text], ["gate"], ["chunk", "!>"], END)
    out = box.request(request, until="no such text", timeout=1.5)["data"]
    lab.good.gate.set()
    return body_of(out + b"0\r\n\r\n")


def test_case_70_what_is_held_back(lab, guesser):
    """All of a guess comes, or from 16 characters on none; and that is told once."""
    for count in (1, 8, HOLD - 1):
        assert seen_of(lab, guesser, "<" + S1[:count]) == b"<" + S1[:count].encode()
    assert seen_of(lab, guesser, "<" + S1[:HOLD]) == b"<"
    filler = "." * 2000
    right, wrong = (seen_of(lab, guesser, filler + S1[:HOLD] + c) for c in (S1[HOLD], "~"))
    assert right == wrong == b"." * len(right) and len(right) < len(filler)


# What a host writes in one go, or announces, is not cut for the filter, wherever the sandbox has its cuts.
LONG = OK + f"Content-Length: {len(S1) + 2}\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 2, 9, HOLD, len(S1)])
def test_case_65_cuts_that_are_none(lab, box, p1, cut):
    text = "<" + S1 + ">"
    whole = b"<" + p1.encode() + b">"
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (text[:cut], text[cut:])) + "0\r\n\r\n"
    for steps in ([["send", CHUNKED + chunks]],
                  [["send", LONG + text[:cut]], ["pieces", 5, text[cut:]]],
                  [["send", CHUNKED + f"{len(text):x}\r\n" + text[:cut]], ["pieces", 5, text[cut:] + "\r\n"], END]):
        assert body_of(script(lab, box, p1, *steps)) == whole, steps


def test_case_70_what_was_held_is_not_lost(lab, box, p1):
    out = script(lab, box, "none", ["send", CHUNKED], ["chunk", S1[:30]], ["chunk", "!"], END)
    assert body_of(out) == S1[:30].encode() + b"!"


def test_an_inspected_host_without_a_secret_is_trusted_and_audited(lab):
    box = Box(lab, allow_net=ALLOWED, inspect=["files.test"])
    assert box.ok("https://files.test/seen")
    assert lab.instance.audit.wait(ev="request", sandbox=box.id, name="files.test", path="/seen")
    box.close()


def test_case_69_stored_on_one_port_and_read_on_another(lab):
    box = Box(lab, allow_net=ALLOWED, inspect=["api.test"], secrets={"S1": {**SECRETS["S1"], "ports": [443]}})
    p1 = box.placeholder("S1")
    box.ok("https://api.test/echo", "-H", f"x-key: {p1}")
    assert lab.good.last().header("x-key") == S1
    assert box.ok("http://api.test/stored") == p1
    box.close()


# --- requests' trailers ---

def test_case_06_trailers_of_a_request_are_kept(lab, box):
    box.request(b"PUT /sha256 HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert lab.good.received.endswith(b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_case_13_a_placeholder_in_a_trailer(lab, box, p1):
    out = box.request(b"PUT /sha256 HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                      b"2\r\nab\r\n0\r\nX-Key: " + p1.encode() + b"\r\n\r\n")
    assert status_of(out) == 403
    assert not lab.good.requests, "the origin has a whole request"
    assert p1.encode() not in lab.good.received and S1.encode() not in lab.good.received


# --- case 75, and the audit ---

def test_case_75_the_length_says_nothing(lab, box, p1):
    head = box.curl("-I", "https://api.test/headers", "-H", f"x-key: {p1}").text.lower()
    body = box.curl("https://api.test/headers", "-H", f"x-key: {p1}").stdout
    told = int(head.partition("content-length: ")[2].split()[0])
    assert told == len(body) + len("HEAD") - len("GET")


def test_what_was_redacted_is_audited(lab, box, p1):
    script(lab, box, p1, ["send", TO_CLOSE + "@raw@ @hex@ @base64@"])
    event = lab.instance.audit.wait(ev="redact")
    assert (event["secret"], event["name"], event["count"]) == ("S1", "api.test", "3")
    assert S1 not in json.dumps(event) and p1 not in json.dumps(event)
