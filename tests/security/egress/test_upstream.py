# SPDX-License-Identifier: Apache-2.0
"""The upstream side of the worker: which connections and sessions are used again and by whom, what passes
through, and how connections end. Cases 26, 27, 54, 56, 58, 60, 82 and 84."""

import contextlib
import hashlib
import os
import pathlib
import random
import socket
import ssl
import subprocess
import threading
import time

import pytest
from egress_bench import ALLOWED, GOOD, GOOD6, SECRETS, Box, status_of
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
            for way, counter in (("U", "up"), ("D", "down")):
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
