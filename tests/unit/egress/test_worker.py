# SPDX-License-Identifier: Apache-2.0
"""The whole worker, as the launcher runs it, from inside a namespace that it guards.

Origins listen on the host's loopback; names are dialled there by override. Needs root.
usage: test_worker.py WORKER-HOST WORKER
"""

import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

MEGABYTE = 1 << 20
VALUE = "sk-the-real-value-of-the-secret-of-api-test"
RESOLVER = "127.77.0.1"
PRIVATE = {
    "loopback.test": ["127.0.0.1"],
    "mixed.test": ["10.0.0.1", "169.254.169.254", "192.168.1.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "v6.test": ["::1", "fe80::1", "fd00:ec2::254"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "own.test": [RESOLVER],
}


# --- inside -----------------------------------------------------------------------------------------


def dns(name, qtype=1, server="198.18.0.1", edns=False, raw=None):
    """One question; returns (rcode, answers as addresses, whole reply)."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    labels = raw if raw is not None else b"".join(
        bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"
    query = struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 1 if edns else 0)
    query += labels + struct.pack(">2H", qtype, 1)
    if edns:
        query += b"\0" + struct.pack(">2HIH", 41, 1232, 0, 0)
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect((server, 53))  # a reply from another address would be dropped
        s.send(query)
        reply = s.recv(4096)
    ident, flags, _, count, _, _ = struct.unpack(">6H", reply[:12])
    assert ident == 0x1234 and flags & 0x8000
    at = 12 + len(labels) + 4
    found = []
    for _ in range(count):
        _, kind, _, _, size = struct.unpack(">HHHIH", reply[at:at + 12])
        data = reply[at + 12:at + 12 + size]
        found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data))
        at += 12 + size
    return flags & 15, found, reply


def resolve(name, qtype=1):
    code, found, _ = dns(name, qtype)
    assert code == 0 and len(found) == 1, (code, found)
    return found[0]


def exchange(host, port, data, timeout=8):
    """Connects, sends, reads to the end; a reset reads as the exception's name."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as s:
            if data:
                s.sendall(data)
            out = b""
            while True:
                got = s.recv(65536)
                if not got:
                    return out
                out += got
    except OSError as e:
        return type(e).__name__


def get(name, host=None):
    return f"GET / HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n".encode()


def client_hello(name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class Inside(unittest.TestCase):
    def test_dns_answers_stable_addresses_for_all_names(self):
        a = resolve("files.test")
        self.assertTrue(a.startswith("198.18."))
        self.assertEqual(resolve("FILES.test"), a)
        self.assertNotEqual(resolve("evil.test"), a)
        self.assertTrue(resolve("files.test", 28).startswith("fd"))

    def test_dns_is_answered_whatever_the_server(self):
        for server in ("8.8.8.8", "1.2.3.4", "2606:4700::1111"):
            with self.subTest(server=server):
                self.assertEqual(dns("files.test", server=server)[0], 0)

    def test_dns_other_types_have_no_data(self):
        for qtype in (2, 5, 10, 12, 15, 16, 33, 64, 65, 255, 257):
            self.assertEqual(dns("files.test", qtype)[:2], (0, []))
        self.assertEqual(dns("_http._tcp.files.test", 33)[:2], (0, []))

    def test_dns_refuses_placeholders_and_what_is_no_host_name(self):
        for name in (os.environ.get("KEY", "csec_x") + ".evil.test", "CSEC_a.pkg.test", "a b.test",
                     "1.2.3", "-a.test"):
            with self.subTest(name=name):
                code, found, reply = dns(name, edns=True)
                self.assertEqual((code, found), (5, []))
                self.assertIn(struct.pack(">H", 15), reply[-120:])
        self.assertEqual(dns("", raw=b"\x0cevil.test\0.a\x04test\0")[0], 5)

    def test_other_udp_is_refused_at_once(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect(("8.8.8.8", 443))
            s.send(b"x")
            with self.assertRaises(ConnectionRefusedError):
                s.recv(10)

    def test_http_passes_to_the_named_host(self):
        for qtype in (1, 28):
            out = exchange(resolve("files.test", qtype), 80, get("files.test"))
            self.assertIn(b"200 OK", out)
            self.assertIn(b"hello from origin", out)

    def test_http_in_one_byte_segments(self):
        with socket.create_connection((resolve("files.test"), 80), timeout=8) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in get("files.test"):
                s.send(bytes([byte]))
                time.sleep(0.002)
            self.assertIn(b"200 OK", s.recv(65536))

    def test_wildcard(self):
        self.assertIn(b"200 OK", exchange(resolve("a.b.pkg.test"), 80, get("a.b.pkg.test")))
        for name in ("pkg.test", "evilpkg.test", "pkg.test.evil.test"):
            self.assertIn(b"403 Forbidden", exchange(resolve(name), 80, get(name)))

    def test_denied_http_says_so(self):
        began = time.monotonic()
        out = exchange(resolve("evil.test"), 80, get("evil.test"))
        self.assertLess(time.monotonic() - began, 0.5)
        head, body = out.split(b"\r\n\r\n", 1)
        self.assertIn(b"403 Forbidden", head)
        answer = json.loads(body)
        self.assertEqual((answer["code"], answer["host"], answer["port"]),
                         ("EGRESS_DENIED", "evil.test", 80))
        self.assertIn('"evil.test:80" or "evil.test"', answer["hint"])

    def test_a_head_that_drips_in_is_refused_in_time(self):
        began = time.monotonic()
        with socket.create_connection((resolve("evil.test"), 80), timeout=8) as s:
            with self.assertRaises(OSError):
                for byte in get("evil.test" * 20):
                    s.send(bytes([byte]))
                    time.sleep(0.05)
        self.assertLess(time.monotonic() - began, 3)

    def test_explicit_proxy(self):
        for address in (resolve("proxy.casemate.internal"), resolve("proxy.casemate.internal", 28)):
            tunnel = b"CONNECT files.test:80 HTTP/1.1\r\nHost: files.test:80\r\n\r\n" + get("files.test")
            self.assertIn(b"hello from origin", exchange(address, 3128, tunnel))
            asked = b"\5\1\0" b"\5\1\0\3\x0afiles.test\0\x50" + get("files.test")
            self.assertIn(b"hello from origin", exchange(address, 1080, asked))
            self.assertIn(b"403 Forbidden", exchange(address, 3128, b"CONNECT evil.test:80 HTTP/1.1\r\n"
                                                     b"Host: evil.test:80\r\n\r\n"))
            self.assertEqual(exchange(address, 1080, b"\5\1\0\5\1\0\3\x09evil.test\0\x50"),
                             b"\5\0" b"\5\2\0\1" + bytes(6))
            self.assertEqual(exchange(address, 3129, b""), "ConnectionResetError")

    def test_denied_tls_is_told_by_an_alert(self):
        context = ssl.create_default_context()
        with socket.create_connection((resolve("evil.test"), 443), timeout=8) as s:
            with self.assertRaises(ssl.SSLError) as caught:
                context.wrap_socket(s, server_hostname="evil.test")
        self.assertIn("ACCESS_DENIED", str(caught.exception).upper().replace(" ", "_"))

    def test_denied_elsewhere_is_reset_at_once(self):
        began = time.monotonic()
        for host, port in ((resolve("evil.test"), 22), (resolve("bound.test"), 53),
                           (resolve("bound.test"), 853), ("93.184.216.34", 443), ("1.1.1.1", 853),
                           ("10.0.0.1", 80), ("169.254.169.254", 80), ("192.168.0.1", 443),
                           ("198.18.0.1", 53), ("198.19.255.254", 443), ("fd00::1", 80),
                           ("::ffff:169.254.169.254", 80), ("64:ff9b::7f00:1", 80)):
            with self.subTest(host=host):
                self.assertEqual(exchange(host, port, b""), "ConnectionResetError")
        self.assertLess(time.monotonic() - began, 2)

    def test_names_that_resolve_to_nothing_public(self):
        for name in PRIVATE:
            with self.subTest(name=name):
                out = exchange(resolve(name), 80, get(name))
                self.assertIn(b"403 Forbidden", out)
                self.assertIn(b"resolves to a", out)
                self.assertEqual(exchange(resolve(name), 22, b""), "ConnectionResetError")

    def test_name_that_does_not_exist(self):
        out = exchange(resolve("missing.test"), 80, get("missing.test"))
        self.assertIn(b"502 Bad Gateway", out)

    def test_other_host_in_the_bytes_is_misdirected(self):
        self.assertIn(b"421", exchange(resolve("files.test"), 80, get("files.test", "evil.test")))
        alert = exchange(resolve("files.test"), 443, client_hello("evil.test"))
        self.assertEqual(alert, bytes([21, 3, 3, 0, 2, 2, 49]))

    def test_tls_passes_untouched(self):
        hello = client_hello("files.test")
        self.assertEqual(exchange(resolve("files.test"), 443, hello), b"tls:" + hello)

    def test_client_hello_cut_into_bytes_and_records(self):
        hello = client_hello("files.test")
        body = hello[5:]
        records = b"".join(b"\x16\x03\x01" + struct.pack(">H", len(p)) + p
                           for p in (body[i:i + 7] for i in range(0, len(body), 7)))
        with socket.create_connection((resolve("files.test"), 443), timeout=8) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(0, len(records), 50):
                s.send(records[i:i + 50])
                time.sleep(0.001)
            self.assertEqual(s.recv(4), b"tls:")

    def test_unknown_bytes_on_443_are_refused(self):
        self.assertEqual(exchange(resolve("files.test"), 443, b"\x80\x2e\x01\x03\x01xx"),
                         "ConnectionResetError")

    def test_server_first_protocol(self):
        self.assertEqual(exchange(resolve("tcp.test"), 5432, b""), b"banner\n")
        self.assertEqual(exchange(resolve("tcp.test"), 5433, b""), "ConnectionResetError")

    def test_server_first_protocol_of_a_bound_host(self):
        self.assertEqual(exchange(resolve("bound.test"), 2222, b""), b"banner\n")

    def test_bound_host_gets_the_value_and_the_sandbox_the_placeholder(self):
        context = ssl.create_default_context(cafile=os.environ["CA"])
        with socket.create_connection((resolve("api.test"), 443), timeout=8) as s:
            with context.wrap_socket(s, server_hostname="api.test") as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer %s\r\n"
                            b"Connection: close\r\n\r\n" % os.environ["API"].encode())
                out = b""
                while part := tls.recv(65536):
                    out += part
        self.assertIn(b"200 OK", out)
        self.assertIn(b"the origin saw it: True", out)
        self.assertNotIn(VALUE.encode(), out)
        self.assertIn(os.environ["API"].encode(), out)

    def test_bound_host_behind_an_unlisted_address(self):
        self.assertEqual(exchange("203.0.113.9", 443, client_hello("api.test")),
                         "ConnectionResetError")

    def test_relay_of_much_with_half_close(self):
        data = os.urandom(MEGABYTE) * 24
        with socket.create_connection((resolve("echo.test"), 7), timeout=20) as s:
            def send():
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            sender = threading.Thread(target=send)
            sender.start()
            time.sleep(0.3)  # the way back fills up meanwhile
            got = bytearray()
            while True:
                part = s.recv(1 << 16)
                if not part:
                    break
                got += part
            sender.join()
        self.assertEqual(len(got), len(data))
        self.assertTrue(got == data)

    def test_silence_on_443_is_cut_off(self):
        began = time.monotonic()
        self.assertEqual(exchange(resolve("files.test"), 443, b"\x16\x03"), bytes([21, 3, 3, 0, 2, 2, 49]))
        self.assertLess(time.monotonic() - began, 7)

    def test_z_a_flood_of_refusals_is_counted(self):
        for n in range(200):
            self.assertEqual(dns(f"csec_{n}.evil.test")[0], 5)
        time.sleep(1.1)
        self.assertEqual(dns("csec_last.evil.test")[0], 5)  # its event carries the count

    def test_zz_more_connections_than_allowed(self):
        time.sleep(1.5)
        held, refused = [], 0
        address = resolve("evil.test")
        for _ in range(400):
            try:
                held.append(socket.create_connection((address, 443), timeout=5))
            except ConnectionResetError:
                refused += 1
        time.sleep(0.3)
        for s in held:
            s.setblocking(False)
            try:
                s.recv(1)
            except BlockingIOError:
                pass
            except ConnectionResetError:
                refused += 1
            s.close()
        self.assertGreaterEqual(refused, 144)
        time.sleep(2)
        self.assertIn(b"200 OK", exchange(resolve("files.test"), 80, get("files.test")))


# --- outside ----------------------------------------------------------------------------------------


def serve(handler):
    listener = socket.create_server(("127.0.0.1", 0))

    def loop():
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handler, args=(s,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return listener.getsockname()[1]


def web(s):
    """Answers HTTP, and gives TLS bytes back."""
    with s:
        data = s.recv(65536)
        if data[:1] == b"\x16":
            time.sleep(0.2)
            s.setblocking(False)
            try:
                data += s.recv(65536)
            except BlockingIOError:
                pass
            s.setblocking(True)
            s.sendall(b"tls:" + data)
        else:
            body = b"hello from origin"
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def echo(s):
    with s:
        while True:
            data = s.recv(1 << 16)
            if not data:
                return
            s.sendall(data)


def banner(s):
    with s:
        s.sendall(b"banner\n")


def make_certificates(folder):
    """A root in roots.pem, and a server's side of TLS for api.test that it vouches for."""
    def run(*command):
        subprocess.run(["openssl", *command], check=True, cwd=folder, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run("req", "-x509", *key, "-keyout", "root.key", "-out", "roots.pem", "-subj", "/CN=Test root", "-days", "2")
    run("req", *key, "-keyout", "api.key", "-out", "api.csr", "-subj", "/CN=api.test")
    with open(os.path.join(folder, "extensions"), "w") as f:
        f.write("subjectAltName=DNS:api.test\n")
    run("x509", "-req", "-in", "api.csr", "-CA", "roots.pem", "-CAkey", "root.key", "-CAcreateserial",
        "-out", "api.crt", "-days", "2", "-extfile", "extensions")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "api.crt"), os.path.join(folder, "api.key"))
    return context


def api(context):
    """A handler that echoes the request's head."""
    def handle(s):
        with context.wrap_socket(s, server_side=True) as tls:
            head = b""
            while b"\r\n\r\n" not in head:
                head += tls.recv(65536)
            body = b"the origin saw it: %s\n" % str(VALUE.encode() in head).encode() + head
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    return handle


def host_resolver():
    """Answers the names of PRIVATE; every other one does not exist."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((RESOLVER, 53))

    def loop():
        while True:
            query, peer = s.recvfrom(4096)
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            question = query[12:at + 5]
            kind = struct.unpack(">H", query[at + 1:at + 3])[0]
            known = PRIVATE.get(".".join(labels).lower())
            answers = []
            for text in known or []:
                packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
                if kind == (1 if len(packed) == 4 else 28):
                    answers.append(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed)
            head = struct.pack(">6H", struct.unpack(">H", query[:2])[0], 0x8180 | (0 if known else 3),
                               1, len(answers), 0, 0)
            s.sendto(head + question + b"".join(answers), peer)

    threading.Thread(target=loop, daemon=True).start()


def outside(host, worker):
    host_resolver()
    config = {
        "allow_net": ["files.test", "*.pkg.test", "tcp.test:5432", "echo.test:7", "bound.test", "api.test",
                      "missing.test", *PRIVATE],
        "secrets": {
            "KEY": {"hosts": ["bound.test"], "value": "the-real-value-of-it"},
            "API": {"hosts": ["api.test"], "value": VALUE},
        },
    }
    port = serve(web)
    overrides = [f"{name}=127.0.0.1:{port}" for name in ("files.test", "a.b.pkg.test")]
    overrides += [f"{name}=127.0.0.1:{serve(banner)}" for name in ("tcp.test", "bound.test")]
    overrides.append(f"echo.test=127.0.0.1:{serve(echo)}")
    with tempfile.TemporaryDirectory() as folder:
        config_file = os.path.join(folder, "config.json")
        overrides.append(f"api.test=127.0.0.1:{serve(api(make_certificates(folder)))}")
        with open(config_file, "w") as f:
            json.dump(config, f)
        resolv = os.path.join(folder, "resolv.conf")
        with open(resolv, "w") as f:
            f.write(f"nameserver {RESOLVER}\n")
        os.environ["CA"] = os.path.join(folder, "ca.pem")
        os.chmod(resolv, 0o644)
        os.chmod(folder, 0o711)
        bind = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolv]
        r = subprocess.run([*bind, host, worker, config_file, folder, *overrides, "--", sys.executable,
                            __file__, "--inside", *sys.argv[3:]])
        if r.returncode != 0:
            return r.returncode
        with open(os.path.join(folder, "events")) as f:
            text = f.read()
    events = [json.loads(line) for line in text.splitlines()]
    kinds = {e["ev"] for e in events}
    assert {"conn_allow", "conn_deny", "dns_deny", "passthrough", "swap"} <= kinds, kinds
    assert "csec_" not in text and "the-real-value" not in text and VALUE not in text
    assert any(e.get("suppressed", 0) > 0 for e in events)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
    if os.geteuid() != 0:
        print("skipped: makes a network namespace, which needs root")
        sys.exit(77)
    sys.exit(outside(sys.argv[1], sys.argv[2]))
