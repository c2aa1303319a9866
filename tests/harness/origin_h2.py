# SPDX-License-Identifier: Apache-2.0
"""An upstream server for tests that speaks HTTP/2 over TLS, one thread a stream, and records what it
received.

Paths: /echo (JSON of the request, after its body), /fields (echoes x-key in fields, an interim response,
body and trailer), /pieces?size=N (x-key's value in DATA frames of N bytes), /stream (sends each DATA frame
back as it comes, then trailers: grpc-status), /sse?n=N&ms=N, /big?n=N, /early (401 before the body has come),
/reset?code=N, /goaway (answers, and begins no more), /alt (alt-svc), /digest, /hang, /coded, /later (see there).
Anything else answers "ok".
"""

import base64
import dataclasses
import json
import pathlib
import queue
import socket
import ssl
import threading
import time
import urllib.parse
import zlib

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack


CODINGS = {"gzip": 31, "deflate": 15, "bare": -15}  # for zlib


@dataclasses.dataclass
class Request:
    fields: list[tuple[str, str]]
    never_indexed: set[str]  # names of fields that were sent so
    body: bytes = b""
    frames: int = 0  # of the body
    trailers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    ended: bool = False
    reset: int | None = None  # the code

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.fields if n == name), None)

    @property
    def path(self) -> str:
        return self.header(":path") or ""


@dataclasses.dataclass
class Connection:
    alpn: str | None = None
    sni: str | None = None
    raw: bytearray = dataclasses.field(default_factory=bytearray)
    requests: list[Request] = dataclasses.field(default_factory=list)
    closed: bool = False
    pongs: int = 0


class _Stream:
    def __init__(self, session, number: int, request: Request):
        self.session = session
        self.number = number
        self.request = request
        self.parts: queue.Queue[bytes | None] = queue.Queue()

    def body(self):
        while (part := self.parts.get(timeout=30)) is not None:
            yield part

    def head(self, *fields, end=False) -> None:
        with self.session.lock:
            self.session.h2.send_headers(self.number, fields, end_stream=end)
            self.session.send()

    def data(self, data: bytes, *, end=False) -> None:
        while True:
            with self.session.lock:
                room = min(self.session.h2.local_flow_control_window(self.number),
                           self.session.h2.max_outbound_frame_size, len(data))
                if room > 0 or not data:
                    last = room == len(data)
                    self.session.h2.send_data(self.number, data[:room], end_stream=end and last)
                    self.session.send()
                    data = data[room:]
                    if last:
                        return
                    continue
                self.session.window.wait(1)
                if self.session.record.closed:
                    return

    def answer(self, body: bytes, *fields, status: str = "200") -> None:
        self.head((":status", status), ("content-length", str(len(body))), *fields)
        self.data(body, end=True)


class _Session:
    def __init__(self, origin, sock: ssl.SSLSocket, record: Connection):
        self.origin = origin
        self.sock = sock
        self.record = record
        self.lock = threading.RLock()
        self.window = threading.Condition(self.lock)
        self.streams: dict[int, _Stream] = {}
        config = h2.config.H2Configuration(client_side=False, header_encoding=None,
                                           validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        if origin.settings:
            self.h2.local_settings = h2.settings.Settings(client=False,
                                                          initial_values=origin.settings)
        self.h2.initiate_connection()
        self.send()

    def send(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def run(self) -> None:
        while True:
            data = self.sock.recv(65536)
            if not data:
                return
            self.record.raw += data
            with self.lock:
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.send()
                self.window.notify_all()

    def take(self, event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0))
        if isinstance(event, h2.events.RequestReceived):
            self.origin.remember(self.record)
            fields = [(n.decode(), v.decode("latin-1")) for n, v in event.headers]
            never = {h[0].decode() for h in event.headers
                     if isinstance(h, hpack.NeverIndexedHeaderTuple)}
            request = Request(fields, never)
            self.record.requests.append(request)
            cut = self.origin.cut_next > 0
            self.origin.cut_next -= cut
            if cut or request.path in self.origin.cut_paths:
                raise ConnectionError("cut as told")
            stream = self.streams[event.stream_id] = _Stream(self, event.stream_id, request)
            threading.Thread(target=self.origin.serve, args=(stream,), daemon=True).start()
        elif isinstance(event, h2.events.PingAckReceived):
            self.record.pongs += 1
        elif stream is None:
            return
        elif isinstance(event, h2.events.DataReceived):
            stream.request.body += event.data
            stream.request.frames += 1
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            stream.parts.put(event.data)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.request.trailers = [(n.decode(), v.decode()) for n, v in event.headers]
        elif isinstance(event, h2.events.StreamReset):
            stream.request.reset = event.error_code
            stream.parts.put(None)
        elif isinstance(event, h2.events.StreamEnded):
            stream.request.ended = True
            stream.parts.put(None)


class H2Origin:
    """alpn: what it offers. settings: its own, by number."""

    def __init__(self, cert: tuple[pathlib.Path, pathlib.Path], *,
                 listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 0),),
                 alpn: tuple[str, ...] = ("h2",), settings: dict[int, int] | None = None):
        self.connections: list[Connection] = []
        self.settings = settings or {}
        self.cut_next = 0  # connections that end as soon as a request comes
        self.cut_paths: tuple[str, ...] = ()  # likewise, when it is for one of these
        self._live: set[socket.socket] = set()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(str(cert[0]), str(cert[1]))
        self._context.set_alpn_protocols(list(alpn))
        self._listeners = [socket.create_server(at, backlog=128) for at in listen]
        self.address = "%s:%d" % self._listeners[0].getsockname()
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    @property
    def requests(self) -> list[Request]:
        return [r for c in list(self.connections) for r in list(c.requests)]

    def last(self) -> Request:
        assert self.requests, "the origin received no request"
        return self.requests[-1]

    def forget(self) -> None:
        self.connections = []

    def remember(self, record: Connection) -> None:
        """A connection that was forgotten is used again: only what comes from now on counts."""
        if not any(record is known for known in self.connections):
            record.raw.clear()
            record.requests.clear()
            self.connections.append(record)

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
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        record = Connection()
        self.connections.append(record)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = self._context.wrap_socket(sock, server_side=True)
            self._live.add(sock)
            record.alpn = sock.selected_alpn_protocol()
            if record.alpn == "h2":
                _Session(self, sock, record).run()
        except (OSError, h2.exceptions.H2Error):
            pass
        finally:
            record.closed = True
            self._live.discard(sock)
            sock.close()

    def serve(self, stream: _Stream) -> None:
        try:
            self._answer(stream)
        except (OSError, h2.exceptions.H2Error, queue.Empty):
            pass

    def _answer(self, stream: _Stream) -> None:
        request = stream.request
        url = urllib.parse.urlsplit(request.path)
        query = {k: v[-1] for k, v in urllib.parse.parse_qs(url.query).items()}
        handler = getattr(self, "_at_" + url.path.strip("/").replace("-", "_"), None)
        if handler is not None:
            handler(stream, request, query)
            return
        for _ in stream.body():
            pass
        stream.answer(b"ok")

    @staticmethod
    def _at_echo(stream, request, query) -> None:
        for _ in stream.body():
            pass
        stream.answer(json.dumps({"fields": request.fields, "trailers": request.trailers,
                                  "body": request.body.decode("latin-1")}).encode())

    @staticmethod
    def _at_fields(stream, request, query) -> None:
        key = request.header("x-key")
        for _ in stream.body():
            pass
        stream.head((":status", "103"), ("link", f"</{key}>"))
        stream.head((":status", "200"), ("x-echo", key), ("set-cookie", f"k={key}"),
                    ("location", f"/?k={key}"),
                    ("x-basic", base64.b64encode(f"u:{key}".encode()).decode()))
        stream.data(f"body {key}".encode())
        stream.head(("x-trailer", key), end=True)

    @staticmethod
    def _at_pieces(stream, request, query) -> None:
        text = b"before " + request.header("x-key").encode() + b" after"
        size = int(query["size"])
        stream.head((":status", "200"))
        for at in range(0, len(text), size):
            stream.data(text[at:at + size], end=at + size >= len(text))
            time.sleep(0.001)

    @staticmethod
    def _at_stream(stream, request, query) -> None:
        stream.head((":status", "200"), ("content-type", "application/grpc"))
        for part in stream.body():
            stream.data(part)
        stream.head(("grpc-status", "0"), ("x-trailer", request.header("x-key") or ""), end=True)

    @staticmethod
    def _at_sse(stream, request, query) -> None:
        stream.head((":status", "200"), ("content-type", "text/event-stream"))
        for _ in range(int(query.get("n", "5"))):
            stream.data(b"data: %.6f\n\n" % time.time())
            time.sleep(int(query.get("ms", "100")) / 1000)
        stream.data(b"", end=True)

    @staticmethod
    def _at_big(stream, request, query) -> None:
        stream.answer(b"x" * int(query.get("n", "1000000")))

    @staticmethod
    def _at_early(stream, request, query) -> None:
        stream.answer(b"early", status="401")
        with stream.session.lock:
            stream.session.h2.reset_stream(stream.number, 0)
            stream.session.send()

    @staticmethod
    def _at_reset(stream, request, query) -> None:
        with stream.session.lock:
            stream.session.h2.reset_stream(stream.number, int(query["code"]))
            stream.session.send()

    @staticmethod
    def _at_goaway(stream, request, query) -> None:
        stream.answer(b"last")
        with stream.session.lock:
            stream.session.h2.close_connection(last_stream_id=stream.number)
            stream.session.sock.sendall(stream.session.h2.data_to_send())

    @staticmethod
    def _at_later(stream, request, query) -> None:
        """Answers, and some time later does something that no request asked for."""
        stream.answer(b"later")
        time.sleep(int(query.get("ms", "300")) / 1000)
        session = stream.session
        with session.lock:
            if query["do"] == "ping":
                session.h2.ping(b"12345678")
                session.send()
            elif query["do"] == "goaway":
                session.h2.close_connection(last_stream_id=stream.number)
                session.sock.sendall(session.h2.data_to_send())
            elif query["do"] == "push":  # to nobody
                session.sock.sendall(b"\0\0\1\0\0" + (stream.number + 2).to_bytes(4, "big") + b"x")
            elif query["do"] == "junk":
                session.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" * 100)
            else:
                session.sock.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _at_alt(stream, request, query) -> None:
        stream.answer(b"alt", ("alt-svc", 'h3=":443"'))

    @staticmethod
    def _at_digest(stream, request, query) -> None:
        stream.answer((request.header("x-key") or "").encode(), ("digest", "sha-256=AAAA"),
                      ("content-digest", "sha-256=:AAAA:"))

    @staticmethod
    def _at_coded(stream, request, query) -> None:
        """<x-key's value> in a coding (as, level), in DATA frames of size bytes; before it fill zeros or lines
        of text; times over; less the last cut bytes, with tail behind. named: what Content-Encoding says."""
        coding = query.get("as", "gzip")
        text = b"<" + (request.header("x-key") or "").encode() + b">"
        text = b"\0" * int(query.get("fill", "0")) + text
        text = b"".join(b"%08d %s\n" % (n, b"x" * 300) for n in range(int(query.get("lines", "0")))) + text
        packed = b""
        for _ in range(int(query.get("times", "1"))):
            packer = zlib.compressobj(int(query.get("level", "9")), wbits=CODINGS[coding])
            packed += packer.compress(text) + packer.flush()
        packed = packed[:max(len(packed) - int(query.get("cut", "0")), 0)] + query.get("tail", "").encode()
        fields = [("content-encoding", c) for c in query.get("named", coding).split(";")]
        status = query.get("status", "200")
        bare = request.header(":method") == "HEAD" or status in ("204", "304")
        if status != "204":
            fields += [("content-length", "0" if "none" in query else str(len(packed)))]
        stream.head((":status", status), *fields, ("etag", '"e"'), ("digest", "x"), ("content-type", "text/plain"),
                    end=bare or "none" in query)
        if bare or "none" in query:
            return
        size = int(query.get("size", str(len(packed) or 1)))
        for at in range(0, len(packed), size):
            last = at + size >= len(packed) and "trailer" not in query
            stream.data(packed[at:at + size], end=last)
            if "size" in query:
                time.sleep(0.001)
        if "trailer" in query:
            stream.head(("x-trailer", request.header("x-key")), end=True)
        elif not packed:
            stream.data(b"", end=True)

    @staticmethod
    def _at_hang(stream, request, query) -> None:
        for _ in stream.body():
            pass
