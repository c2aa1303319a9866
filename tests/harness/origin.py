# SPDX-License-Identifier: Apache-2.0
"""An upstream server for tests: speaks HTTP/1.1 with and without TLS on one port, told apart by the
first byte, and records all that it received after decryption.

Paths: /echo (JSON of the request), /headers (the head as text), /slow?ms=N, /chunked?n=N, /big?n=N,
/status/NNN, /redirect?to=URL, /sse?n=N&ms=N, /until-close, /sha256 (of the body), /early (answers
before it reads the body), /reset (closes without an answer). Of what the header x-key brought: /pieces?size=N
sends it back in chunks of N bytes, /encoded?as=base64|hex|percent|basic encoded, and /stored what came last
on any connection. /script sends what the header x-script says, see Script. Anything else answers "ok".
"""

import base64
import dataclasses
import hashlib
import html
import json
import pathlib
import socket
import ssl
import threading
import time
import urllib.parse
import zlib

TLS_HANDSHAKE = 0x16

ENCODINGS = {
    "raw": bytes,
    "base64": base64.b64encode,
    "base64-1": lambda value: base64.b64encode(b"x" + value + b"~"),
    "base64-2": lambda value: base64.b64encode(b"xy" + value + b"~~"),
    "base64-url": lambda value: base64.urlsafe_b64encode(b"???" + value).rstrip(b"="),
    "hex": lambda value: value.hex().encode(),
    "hex-upper": lambda value: value.hex().upper().encode(),
    "percent": lambda value: b"".join(b"%%%02X" % c for c in value),
    "percent-lower": lambda value: b"".join(b"%%%02x" % c for c in value),
    "percent-minimal": lambda value: urllib.parse.quote_from_bytes(value, safe="").encode(),
    "json": lambda value: b"".join(b"\\u%04x" % c for c in value),
    "json-upper": lambda value: b"".join(b"\\u%04X" % c for c in value),
    "html": lambda value: html.escape(value.decode()).encode(),
    "html-decimal": lambda value: b"".join(b"&#%d;" % c for c in value),
    "html-hex": lambda value: b"".join(b"&#x%x;" % c for c in value),
    "basic": lambda value: b"Basic " + base64.b64encode(b"user:" + value),
    "basic-user": lambda value: b"Basic " + base64.b64encode(value + b":"),
}
CODINGS = {"gzip": 31, "deflate": 15, "bare": -15}  # for zlib


@dataclasses.dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    raw_head: bytes

    def values(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        return next(iter(self.values(name)), None)


@dataclasses.dataclass
class Connection:
    tls: bool = False
    sni: str | None = None
    alpn: str | None = None
    handshake_error: str | None = None
    raw: bytearray = dataclasses.field(default_factory=bytearray)
    requests: list[Request] = dataclasses.field(default_factory=list)
    first_bytes: bytes = b""


class Script:
    """Steps of an answer, as base64 of JSON in x-script: ["send", text], ["chunk", text], and both in pieces:
    ["pieces", size, text], ["chunks", size, text]; ["coded", coding, text] is one chunk; ["times", n, ms] are
    chunks with the time at which they were sent; ["gate"] waits for the origin's gate, ["wait", ms] for
    that long; ["echo", n] sends the next n bytes back, ["take", n] does not, and both count them as the body. In a text, @FORM@ is what x-key brought in that form of
    ENCODINGS."""

    def __init__(self, sock, request: Request, gate: threading.Event):
        self.sock = sock
        self.request = request
        self.key = (request.header("x-key") or "").encode()
        self.gate = gate
        self.steps = json.loads(base64.b64decode(request.header("x-script") or ""))

    def fill(self, text: str) -> bytes:
        out = text.encode("latin-1")
        for name, encode in ENCODINGS.items():
            out = out.replace(b"@%s@" % name.encode(), encode(self.key))
        return out

    def chunk(self, data: bytes) -> None:
        self.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def run(self) -> None:
        for name, *args in self.steps:
            getattr(self, "do_" + name)(*args)

    def do_send(self, text: str) -> None:
        self.sock.sendall(self.fill(text))

    def do_chunk(self, text: str) -> None:
        self.chunk(self.fill(text))

    def do_pieces(self, size: int, text: str) -> None:
        data = self.fill(text)
        for n in range(0, len(data), size):
            self.sock.sendall(data[n:n + size])
            time.sleep(0.001)

    def do_chunks(self, size: int, text: str) -> None:
        data = self.fill(text)
        for n in range(0, len(data), size):
            self.chunk(data[n:n + size])
            time.sleep(0.001)

    def do_coded(self, coding: str, text: str, times: int = 1) -> None:
        packer = zlib.compressobj(9, wbits=CODINGS[coding])
        self.chunk(packer.compress(self.fill(text) * times) + packer.flush())

    def do_times(self, count: int, ms: int) -> None:
        for _ in range(count):
            self.chunk(b"data: %f\n\n" % time.monotonic())
            time.sleep(ms / 1000)

    def do_gate(self) -> None:
        self.gate.wait(20)

    def do_wait(self, ms: int) -> None:
        time.sleep(ms / 1000)

    def do_take(self, size: int) -> None:
        while size > 0 and (data := self.sock.recv(size)):
            self.request.body += data
            size -= len(data)

    def do_echo(self, size: int) -> None:
        while size > 0 and (data := self.sock.recv(size)):
            self.request.body += data
            self.sock.sendall(data)
            size -= len(data)


class CutShort(ValueError):
    """The peer ended inside a request, which then does not count as received."""


class _Reader:
    def __init__(self, sock, record: Connection, origin: "Origin"):
        self.sock = sock
        self.record = record
        self.origin = origin
        self.held = b""

    def fill(self) -> bool:
        data = self.sock.recv(65536)
        if data:
            self.origin.remember(self.record)
        self.record.raw += data
        self.held += data
        return bool(data)

    def until(self, mark: bytes) -> bytes | None:
        while mark not in self.held:
            if not self.fill():
                return None
        at = self.held.index(mark) + len(mark)
        taken, self.held = self.held[:at], self.held[at:]
        return taken

    def exactly(self, size: int) -> bytes:
        while len(self.held) < size:
            if not self.fill():
                raise CutShort
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            out = b""
            while True:
                size = int((self.until(b"\r\n") or b"cut short").split(b";")[0], 16)
                if size == 0:
                    while (line := self.until(b"\r\n")) != b"\r\n":
                        if line is None:
                            raise CutShort
                    return out
                out += self.exactly(size)
                self.exactly(2)
        return self.exactly(int(headers.get("content-length", "0")))


class Origin:
    """Started on construction, on these addresses (port 0: one is picked, and is in `port`). A
    raw_greeting makes it a server-first protocol: it sends that line, echoes one line back in upper case
    and closes."""

    def __init__(self, cert: tuple[pathlib.Path, pathlib.Path] | None = None, *,
                 listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 0),),
                 raw_greeting: bytes | None = None, tls_max: ssl.TLSVersion | None = None,
                 weak: bool = False, client_ca: pathlib.Path | None = None):
        self.connections: list[Connection] = []
        self._raw_greeting = raw_greeting
        self._context = None
        self._stored = b""
        self.gate = threading.Event()
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        if cert is not None:
            self._context = self._make_context(cert, tls_max, weak, client_ca)
        self._listeners = [
            socket.create_server(at, backlog=1024,
                                 family=socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
            for at in listen]
        self.port = self._listeners[0].getsockname()[1]
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    @staticmethod
    def _make_context(cert, tls_max, weak, client_ca):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if weak or tls_max is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")
        if tls_max is not None:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = tls_max
        context.load_cert_chain(str(cert[0]), str(cert[1]))
        context.set_alpn_protocols(["http/1.1"])
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(str(client_ca))

        def note_name(sock, name, _context):
            sock.casemate_sni = name

        context.sni_callback = note_name
        return context

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        return [r for c in list(self.connections) for r in list(c.requests)]

    @property
    def received(self) -> bytes:
        """Every decrypted byte of every connection."""
        return b"".join(bytes(c.raw) for c in list(self.connections))

    def forget(self) -> None:
        with self._lock:
            self.connections = []

    def remember(self, record: Connection) -> None:
        """A connection that was forgotten is used again: only what comes from now on counts."""
        with self._lock:
            if not any(record is known for known in self.connections):
                record.raw.clear()
                record.requests.clear()
                self.connections.append(record)

    def last(self) -> Request:
        assert self.requests, "the origin received no request"
        return self.requests[-1]

    def wait_for(self, count: int, timeout: float = 5) -> list[Request]:
        end = time.monotonic() + timeout
        while len(self.requests) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.requests

    def close(self) -> None:
        for sock in [*self._listeners, *self._live]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            record = Connection()
            with self._lock:
                self.connections.append(record)
            threading.Thread(target=self._serve, args=(sock, record), daemon=True).start()

    def _serve(self, sock: socket.socket, record: Connection) -> None:
        self._live.add(sock)
        try:
            sock.settimeout(60)
            if self._raw_greeting is not None:
                self._serve_raw(sock, record)
                return
            first = sock.recv(1, socket.MSG_PEEK)
            record.first_bytes = first
            if first and first[0] == TLS_HANDSHAKE and self._context is not None:
                record.tls = True
                sock = self._handshake(sock, record)
                self._live.add(sock)
            self._serve_http(sock, record)
        except (OSError, ValueError) as problem:
            if record.tls and not record.requests:
                record.handshake_error = str(problem)
        finally:
            self._live.discard(sock)
            try:
                if isinstance(sock, ssl.SSLSocket):
                    sock.settimeout(1)
                    sock.unwrap()
            except (OSError, ValueError):
                pass
            sock.close()

    def _handshake(self, sock, record):
        wrapped = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        wrapped.casemate_sni = None
        try:
            wrapped.do_handshake()
        finally:
            record.sni = wrapped.casemate_sni
        record.alpn = wrapped.selected_alpn_protocol()
        return wrapped

    def _serve_raw(self, sock, record) -> None:
        sock.sendall(self._raw_greeting)
        reader = _Reader(sock, record, self)
        line = reader.until(b"\n")
        if line:
            sock.sendall(line.upper())

    def _serve_http(self, sock, record) -> None:
        reader = _Reader(sock, record, self)
        while (head := reader.until(b"\r\n\r\n")) is not None:
            lines = head.decode("latin-1").split("\r\n")[:-2]
            method, target, _ = lines[0].split(" ", 2)
            headers = []
            for line in lines[1:]:
                name, _, value = line.partition(":")
                headers.append((name, value.strip()))
            by_name = {n.lower(): v for n, v in headers}
            if "100-continue" in by_name.get("expect", "").lower():
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if target.startswith("/early"):
                sock.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n"
                             b"Connection: close\r\n\r\nearly")
                return
            body = reader.body(by_name)
            request = Request(method, target, headers, body, head)
            record.requests.append(request)
            if not self._answer(sock, request):
                return
            if by_name.get("connection", "").lower() == "close":
                return

    def _answer(self, sock, request: Request) -> bool:
        url = urllib.parse.urlsplit(request.target)
        query = {k: v[-1] for k, v in urllib.parse.parse_qs(url.query).items()}
        path = url.path
        self._stored = (request.header("x-key") or "").encode() or self._stored
        if path == "/echo":
            text = json.dumps({
                "method": request.method, "target": request.target, "headers": request.headers,
                "body": request.body.decode("latin-1")})
            return self._plain(sock, request, text.encode(), "application/json")
        if path == "/headers":
            return self._plain(sock, request, request.raw_head)
        if path == "/slow":
            time.sleep(int(query.get("ms", "500")) / 1000)
        elif path == "/chunked":
            return self._chunked(sock, [b"%d\n" % i for i in range(int(query.get("n", "10")))])
        elif path == "/sse":
            pause = int(query.get("ms", "100")) / 1000
            events = [b"data: %d\n\n" % i for i in range(int(query.get("n", "5")))]
            return self._chunked(sock, events, pause, "text/event-stream")
        elif path == "/big":
            return self._plain(sock, request, b"x" * int(query.get("n", "1000000")))
        elif path.startswith("/status/"):
            status = int(path.split("/")[2])
            length = b"" if status in (204, 304) else b"Content-Length: 0\r\n"
            sock.sendall(b"HTTP/1.1 %d Status\r\n%s\r\n" % (status, length))
            return True
        elif path == "/redirect":
            sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
                         % query["to"].encode())
            return True
        elif path == "/until-close":
            sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
            return False
        elif path == "/sha256":
            return self._plain(sock, request, hashlib.sha256(request.body).hexdigest().encode())
        elif path == "/pieces":
            text = b"before " + request.header("x-key").encode() + b" after"
            size = int(query["size"])
            return self._chunked(sock, [text[n:n + size] for n in range(0, len(text), size)], 0.001)
        elif path == "/encoded":
            return self._plain(sock, request, ENCODINGS[query["as"]](request.header("x-key").encode()))
        elif path == "/stored":
            return self._plain(sock, request, self._stored)
        elif path == "/script":
            Script(sock, request, self.gate).run()
            return False
        elif path == "/reset":
            return False
        return self._plain(sock, request, b"ok")

    @staticmethod
    def _plain(sock, request, body: bytes, kind: str = "text/plain") -> bool:
        head = (f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode()
        sock.sendall(head if request.method == "HEAD" else head + body)
        return True

    @staticmethod
    def _chunked(sock, parts: list[bytes], pause: float = 0, kind: str = "text/plain") -> bool:
        sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n".encode())
        for part in parts:
            sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(pause)
        sock.sendall(b"0\r\n\r\n")
        return True
