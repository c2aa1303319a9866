# SPDX-License-Identifier: Apache-2.0
"""The upstream side of the worker: which connections and sessions are used again and by whom, what passes
through, and how connections end. Cases 26, 27, 54, 56, 58, 60, 82 and 84."""

import contextlib
import hashlib
import pathlib
import random
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from egress_bench import ALLOWED, GOOD, GOOD6, SECRETS, Box
from harness.ca import Authority
from harness.instance import wait_until
from harness.origin import Origin

BULK = 100 * 1024 * 1024
PORT = 9000


class Raw:
    """A server in the lab's internet that runs serve(socket) for each connection."""

    def __init__(self, lab, serve, port=PORT, address=GOOD, context=None):
        self.connections = 0
        self.received: list[bytes] = []
        self._serve = serve
        self._context = context
        with lab.net.internet():
            self._listener = socket.create_server((address, port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(s,), daemon=True).start()

    def _run(self, s):
        with contextlib.suppress(OSError, ssl.SSLError, EOFError), s:
            s.settimeout(30)
            if self._context is not None:
                s = self._context.wrap_socket(s, server_side=True)
            self._serve(s, self)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def head_of(s, record) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        got = s.recv(65536)
        if not got:
            raise EOFError
        record.received.append(got)
        data += got
    return data


def cpu_ms(pid: int) -> float:
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


@contextlib.contextmanager
def worker_box(lab, **config):
    """A sandbox, and the pid of its worker."""
    before = set(lab.instance.workers())
    made = Box(lab, **config)
    worker, = set(lab.instance.workers()) - before
    try:
        yield made, worker
    finally:
        made.close()


# --- connecting ---


def time_of(box, url) -> float:
    out = box.curl("-k", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", url)
    code, seconds = out.text.split()
    assert code == "200", out
    return float(seconds)


def test_a_silent_address_costs_a_quarter_of_a_second(lab, box):
    """The addresses of a name are tried in turn, a new one every 250 ms (RFC 8305)."""
    silent = ["203.0.113.91", "203.0.113.92", "2001:db8::91"]
    with lab.net.internet():
        for address in silent:  # packets to them vanish, instead of being answered
            subprocess.run(["ip", "route", "replace", "blackhole", address], check=True)
    try:
        lab.resolver.zone["a.pkg.test"] = ("2001:db8::91", GOOD)
        assert 0.2 < time_of(box, "https://a.pkg.test/") < 2.9
        lab.resolver.zone["a.pkg.test"] = (*silent, GOOD)
        assert 0.6 < time_of(box, "https://a.pkg.test/") < 2.9
        assert {c.sni for c in lab.good.connections} == {"a.pkg.test"}
    finally:
        lab.resolver.zone["a.pkg.test"] = (GOOD,)


def test_the_faster_family_wins_and_only_it_is_used(lab, box):
    lab.resolver.zone["a.pkg.test"] = (GOOD, GOOD6)
    try:
        assert time_of(box, "https://a.pkg.test/") < 0.2
        assert len(lab.good.connections) == 1
    finally:
        lab.resolver.zone["a.pkg.test"] = (GOOD,)


def test_an_address_that_refuses_is_passed_at_once(lab, box):
    lab.resolver.zone["a.pkg.test"] = (*(f"203.0.113.{n}" for n in range(100, 106)), GOOD)
    with lab.net.internet():
        for n in range(100, 106):
            subprocess.run(["ip", "address", "replace", f"203.0.113.{n}/32", "dev", "lo"], check=True)
    try:
        assert time_of(box, "https://a.pkg.test/") < 0.2
    finally:
        lab.resolver.zone["a.pkg.test"] = (GOOD,)


# --- passing through ---


def bulk(s, record):
    """U: takes all and tells its digest. D: sends and tells nothing more."""
    if s.recv(1) == b"D":
        block = random.Random(5).randbytes(1 << 20)
        for _ in range(BULK >> 20):
            s.sendall(block)
        s.shutdown(socket.SHUT_WR)
        s.recv(1)
        return
    digest = hashlib.sha256()
    while data := s.recv(1 << 18):
        digest.update(data)
    s.sendall(digest.hexdigest().encode())


def test_bulk_passes_whole_both_ways(lab):
    lab.resolver.zone["bulk.test"] = (GOOD,)
    server = Raw(lab, bulk)
    with worker_box(lab, allow_net=[f"bulk.test:{PORT}"]) as (box, worker):
        code = (
            "import hashlib, random, socket, sys\n"
            f"block = random.Random(5).randbytes(1 << 20); n = {BULK >> 20}\n"
            f"s = socket.create_connection(('bulk.test', {PORT}), 10)\n"
            "want = hashlib.sha256()\n"
            "for _ in range(n): want.update(block)\n"
            "if sys.argv[1] == 'U':\n"
            "    s.sendall(b'U')\n"
            "    for _ in range(n): s.sendall(block)\n"
            "    s.shutdown(socket.SHUT_WR)\n"
            "    got = s.recv(64).decode()\n"
            "else:\n"
            "    s.sendall(b'D'); h = hashlib.sha256()\n"
            "    while data := s.recv(1 << 18): h.update(data)\n"
            "    got = h.hexdigest()\n"
            "assert got == want.hexdigest(), got\n")
        try:
            for way, counter in (("U", "bytes_up"), ("D", "bytes_down")):
                lab.instance.audit.mark()
                before = cpu_ms(worker)
                out = box.sandbox.python(code, way, timeout=50)
                spent = cpu_ms(worker) - before
                assert out.code == 0, out.stderr.decode()
                print(f"{way}: {spent / (BULK >> 20):.3f} ms of processor a MiB")
                event = lab.instance.audit.wait(ev="passthrough", sandbox=box.id)
                assert int(event[counter]) in (BULK, BULK + 1)
                assert int(event["ms"]) > 0
        finally:
            server.close()


def test_half_close_passes_both_ways(lab):
    """Each direction ends on its own, and a reset comes through as one."""
    def serve(s, record):
        if s.recv(1) == b"R":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        s.sendall(b"hello")
        s.shutdown(socket.SHUT_WR)
        while data := s.recv(65536):
            record.received.append(data)
    lab.resolver.zone["bulk.test"] = (GOOD,)
    server = Raw(lab, serve)
    box = Box(lab, allow_net=[f"bulk.test:{PORT}"])
    try:
        out = box.sandbox.python(
            "import socket, time\n"
            f"s = socket.create_connection(('bulk.test', {PORT}), 10); s.sendall(b'E')\n"
            "got = b''\n"
            "while data := s.recv(99): got += data\n"
            "assert got == b'hello', got\n"
            "time.sleep(0.3); s.sendall(b'late' * 1000); s.shutdown(socket.SHUT_WR)\n"
            f"s = socket.create_connection(('bulk.test', {PORT}), 10); s.sendall(b'R')\n"
            "try: print(s.recv(1))\n"
            "except ConnectionResetError: print('reset')\n")
        assert out.text == "reset\n", out
        wait_until(lambda: b"".join(server.received) == b"late" * 1000)
        events = wait_until(lambda: len(found := lab.instance.audit.events(
            ev="passthrough", sandbox=box.id)) == 2 and found)
        assert (events[0]["bytes_up"], events[0]["bytes_down"]) == ("4001", "5")
    finally:
        box.close()
        server.close()


def test_a_reader_that_takes_nothing_stops_its_sender(lab):
    """What waits for it is bounded, and nothing is lost."""
    go = threading.Event()

    def serve(s, record):
        go.wait(30)
        digest = hashlib.sha256()
        while data := s.recv(1 << 16):
            digest.update(data)
        s.sendall(digest.hexdigest().encode())
    lab.resolver.zone["bulk.test"] = (GOOD,)
    server = Raw(lab, serve)
    try:
        with worker_box(lab, allow_net=[f"bulk.test:{PORT}"]) as (box, worker):
            process = box.sandbox.spawn(
                "python3", "-c",
                "import hashlib, socket\n"
                f"s = socket.create_connection(('bulk.test', {PORT}), 10); data = b'0123456789abcdef' * 4096\n"
                "h = hashlib.sha256()\n"
                "for _ in range(800): s.sendall(data); h.update(data)\n"
                "s.shutdown(socket.SHUT_WR); assert s.recv(64).decode() == h.hexdigest(); print('ok')\n",
                stdout="piped", stderr="piped")
            time.sleep(2)
            spent = cpu_ms(worker)
            time.sleep(1)
            assert cpu_ms(worker) - spent < 50, "it waits without spinning"
            go.set()
            out = box.sandbox.collect(process, timeout=40)
            assert out.text == "ok\n", out
    finally:
        go.set()
        server.close()


# --- ends of exchanges ---


@pytest.fixture
def host(lab, tmp_path):
    """A host of its own, bound to a secret, behind a server that the test scripts."""
    made = []

    def make(serve, name="script.pkg.test", allow=None):
        address = "203.0.113.210"
        with lab.net.internet():
            subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        lab.resolver.zone[name] = (address,)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*lab.authority.issue(name))
        server = Raw(lab, serve, 443, address, context)
        box = Box(lab, allow_net=[name], secrets={"K": {"hosts": [name], "value": SECRETS["S1"]["value"]}})
        made.extend((box, server))
        return server, box
    yield make
    for thing in made:
        thing.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
URL = "https://script.pkg.test/"


def test_case_26_early_answers_and_resets(lab, host):
    def serve(s, record):
        head = head_of(s, record)
        if b"/reset" in head:
            s.recv(100000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif b"/early" in head:
            s.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            s.recv(1)
        else:
            s.sendall(OK)
            s.recv(1)
    server, box = host(serve)
    box.sandbox.check_sh("head -c 3000000 /dev/zero > up.bin")
    show = ("-w", "%{http_code}", "-o", "/dev/null", "--data-binary", "@up.bin")
    assert box.curl(*show, URL + "early").text == "413"
    assert server.connections == 1
    out = box.curl(*show, URL + "reset")
    assert out.text in ("502", "000"), out
    assert server.connections == 2, "the connection of the early answer was not used again"
    assert b"".join(server.received).count(b"/reset") == 1, "it was not sent again"
    assert box.ok(URL) == "ok"
    assert server.connections == 3


def test_case_26_a_client_that_leaves(lab, host):
    gone = []

    def serve(s, record):
        head = head_of(s, record)
        if b"POST" in head:
            while data := s.recv(65536):
                record.received.append(data)
            gone.append(True)
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nhalf" + bytes(2000))  # more than the filter holds
        while s.recv(1):
            pass
        gone.append(True)
    server, box = host(serve)
    out = box.sandbox.python(
        "import socket, ssl\n"
        "def connect():\n"
        "    s = socket.create_connection(('script.pkg.test', 443), 10)\n"
        "    return ssl.create_default_context().wrap_socket(s, server_hostname='script.pkg.test')\n"
        "s = connect(); s.sendall(b'POST / HTTP/1.1\\r\\nHost: script.pkg.test\\r\\n"
        "Content-Length: 1000\\r\\n\\r\\npart'); s.close()\n"
        "s = connect(); s.sendall(b'GET / HTTP/1.1\\r\\nHost: script.pkg.test\\r\\n\\r\\n')\n"
        "while b'half' not in s.recv(9999): pass\n"
        "s.close()\n")
    assert out.code == 0, out.stderr.decode()
    wait_until(lambda: len(gone) >= 2, what="both ends at the host")
    assert server.connections == 2


def test_case_54_connections_are_one_sandbox_s(lab):
    one = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    two = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    try:
        for _ in range(3):
            for box in (one, two):
                assert box.ok("https://api.test/pool") == "ok"
        assert sorted(len(c.requests) for c in lab.good.connections) == [3, 3]
        assert one.ok("https://two.test/") == "ok"
        assert sorted(len(c.requests) for c in lab.good.connections) == [1, 3, 3]
    finally:
        one.close()
        two.close()


def test_case_54_no_connection_with_something_left_on_it(lab, host):
    def serve(s, record):
        while True:
            head = head_of(s, record)
            # The second answer is the one that an attacker would have the next request believe.
            extra = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse" if b"/extra" in head else b""
            s.sendall(OK + extra)
    server, box = host(serve)
    assert box.ok(URL) == "ok"
    assert box.ok(URL) == "ok"
    assert server.connections == 1
    assert box.ok(URL + "extra") == "ok"
    assert box.ok(URL) == "ok"
    assert server.connections == 2


# --- handshakes ---


def test_case_56_self_signed(lab, tmp_path):
    name, address = "self.pkg.test", "203.0.113.211"
    rogue = Authority(tmp_path / "self", name)
    with lab.net.internet():
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        origin = Origin((rogue.cert, rogue.key), listen=((address, 443),))
    lab.resolver.zone[name] = (address,)
    box = Box(lab, allow_net=[name], secrets={"K": {"hosts": [name], "value": "x" * 40}})
    try:
        out = box.curl("-w", "%{http_code}", f"https://{name}/")
        assert out.text.endswith("502") and "self-signed" in out.text
        assert origin.received == b""
    finally:
        box.close()
        origin.close()


def s_client(box, name, *more, sni=None, target="/") -> str:
    """One request by openssl s_client; what it says of the handshake."""
    head = f"GET {target} HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n"
    out = box.sh(f"printf '{head}' | timeout 10 openssl s_client -connect {name}:443 -servername "
                 f"{sni or name} -CAfile /etc/ssl/certs/ca-certificates.crt -verify_return_error "
                 f"-ign_eof {' '.join(more)} 2>&1")
    return out.text


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_case_60_tickets_are_for_one_name_in_one_sandbox(lab, box, version):
    assert "New, TLSv1" in s_client(box, "api.test", version, "-sess_out", "s.pem")
    assert "Reused, TLSv1" in s_client(box, "api.test", version, "-sess_in", "s.pem")
    assert "New, TLSv1" in s_client(box, "two.test", version, "-sess_in", "s.pem")
    other = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    try:
        other.sandbox.write("s.pem", box.sandbox.read("s.pem"))
        text = s_client(other, "api.test", version, "-sess_in", "s.pem")
        assert "New, TLSv1" in text and "HTTP/1.1 200" in text
    finally:
        other.close()


def test_case_27_no_early_data_of_a_client(lab, box):
    s_client(box, "api.test", "-tls1_3", "-sess_out", "e.pem")
    assert "Max Early Data: 0" in box.sandbox.check_sh("openssl sess_id -in e.pem -noout -text")
    # A ticket that was made to promise it: the data is refused, and not read as a request.
    box.sandbox.check_sh("printf 'GET /early-data HTTP/1.1\\r\\nHost: api.test\\r\\n\\r\\n' > early")
    text = s_client(box, "api.test", "-tls1_3", "-sess_in", "e.pem", "-early_data", "early")
    assert "Early data was not sent" in text or "Early data was rejected" in text
    assert b"/early-data" not in lab.good.received


@pytest.mark.parametrize("offset", [-3500, 0, 3500])
def test_case_82_clocks_that_are_an_hour_off(box, offset):
    text = s_client(box, "api.test", "-attime", str(int(time.time()) + offset))
    assert "Verify return code: 0 (ok)" in text and "HTTP/1.1 200" in text
    far = s_client(box, "api.test", "-attime", str(int(time.time()) + 3 * 24 * 3600))
    assert "HTTP/1.1 200" not in far, "the time is looked at"


def test_case_84_a_pinned_client_fails_cleanly(lab, box):
    lab.good.forget()
    der = box.sandbox.python(
        "import ssl\nprint(ssl.get_server_certificate(('files.test', 443)))\n").text
    box.sandbox.write("origin.pem", der.encode())
    pin = box.sandbox.check_sh(
        "openssl x509 -in origin.pem -pubkey -noout | openssl pkey -pubin -outform der | "
        "openssl dgst -sha256 -binary | base64").strip()
    lab.good.forget()
    assert box.ok("-k", "--pinnedpubkey", f"sha256//{pin}", "https://files.test/") == "ok"
    out = box.curl("--pinnedpubkey", f"sha256//{pin}", "https://api.test/pinned")
    assert out.code == 90, "CURLE_SSL_PINNEDPUBKEYNOTMATCH"
    assert [r.target for r in lab.good.requests] == ["/"]


@pytest.mark.seconds(90)
def test_case_58_a_flood_of_names(lab, box):
    """Only so many certificates are made a second, whoever asks; others do not notice."""
    names = [f"f{n}.flood.test" for n in range(120)]
    lab.resolver.zone.update({name: (GOOD,) for name in names})
    flooded = Box(lab, allow_net=["*.flood.test"],
                  secrets={"K": {"hosts": ["*.flood.test"], "value": "x" * 40}})
    try:
        code = (
            "import concurrent.futures, socket, ssl, time\n"
            "def one(name):\n"
            "    try:\n"
            "        s = socket.create_connection((name, 443), 10)\n"
            "        ssl.create_default_context().wrap_socket(s, server_hostname=name).close()\n"
            "        return True\n"
            "    except OSError: return False\n"
            "begin = time.monotonic()\n"
            "with concurrent.futures.ThreadPoolExecutor(40) as pool:\n"
            f"    made = sum(pool.map(one, [f'f{{n}}.flood.test' for n in range({len(names)})]))\n"
            "print(made, time.monotonic() - begin)\n")
        process = flooded.sandbox.spawn("python3", "-c", code, stdout="piped", stderr="piped")
        assert box.ok("https://api.test/") == "ok"
        out = flooded.sandbox.collect(process, timeout=60)
        assert out.code == 0, out.stderr.decode()
        made, seconds = out.text.split()
        assert 0 < int(made) <= 20 * (float(seconds) + 2) and int(made) < len(names)
        lab.instance.audit.wait(ev="limit", sandbox=flooded.id)
        assert not lab.instance.audit.events(ev="limit", sandbox=box.id)
    finally:
        flooded.close()


def test_case_54_a_host_that_closes_as_the_next_request_comes(lab, host):
    """What is safe is sent once more, as every client would have done; nothing else is."""
    def serve(s, record):
        head_of(s, record)
        s.sendall(OK)
        head_of(s, record)  # and goes without an answer
    server, box = host(serve)
    assert box.ok(URL) == "ok"
    assert box.ok(URL) == "ok"
    assert server.connections == 2
    out = box.curl("-w", "%{http_code}", "-o", "/dev/null", "-d", "once", URL)
    assert out.text == "502"
    assert b"".join(server.received).count(b"POST") == 1
