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
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


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
