# SPDX-License-Identifier: Apache-2.0
"""Runs inside the sandbox: an HTTP/2 client that sends what it is told, sound or not, and keeps what comes.
Frames are made by hand, header blocks by hpack."""

import os
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, "/home/app/hpack.zip")

import hpack  # noqa: E402

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Stream:
    def __init__(self):
        self.heads: list[list[tuple[str, str]]] = []
        self.body = b""
        self.times: list[float] = []
        self.sizes: list[int] = []
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> str | None:
        final = [dict(h) for h in self.heads if dict(h).get(":status", "1")[0] != "1"]
        return final[0].get(":status") if final else None

    def json(self) -> dict:
        return {"heads": self.heads, "status": self.status, "body": self.body.decode("latin-1"),
                "ended": self.ended, "reset": self.reset}


class Client:
    def __init__(self, host: str = "api.test", *, alpn=("h2",), window: int | None = None,
                 settings: bool = True, big_window: bool = True):
        context = ssl.create_default_context()
        context.set_alpn_protocols(list(alpn))
        raw = socket.create_connection((host, 443), timeout=10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(raw, server_hostname=host)
        self.alpn = self.sock.selected_alpn_protocol()
        self.host = host
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.streams: dict[int, Stream] = {}
        self.settings: dict[int, int] = {}
        self.goaway: int | None = None
        self.goaway_last: int | None = None
        self.closed = False
        self.pongs = 0
        self.windows: dict[int, int] = {}
        self.held = b""
        self.auto_window = True
        if settings:
            payload = b"" if window is None else struct.pack(">HI", 4, window)
            grow = frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)) if big_window else b""
            self.send(PREFACE + frame(SETTINGS, 0, 0, payload) + grow)

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed = True

    def fields(self, path: str = "/", method: str = "GET", *more, authority: str | None = None):
        return [(":method", method), (":scheme", "https"), (":authority", authority or self.host),
                (":path", path), *more]

    def head(self, stream: int, fields, *, end: bool = True, huffman: bool = True) -> None:
        block = self.encoder.encode(fields, huffman=huffman)
        first, rest = block[:16384], block[16384:]
        flags = (END_STREAM if end else 0) | (0 if rest else END_HEADERS)
        data = frame(HEADERS, flags, stream, first)
        while rest:
            part, rest = rest[:16384], rest[16384:]
            data += frame(CONTINUATION, 0 if rest else END_HEADERS, stream, part)
        self.send(data)
        self.streams.setdefault(stream, Stream())

    def raw_head(self, stream: int, fields, *, end: bool = True) -> None:
        """Literal fields, any bytes, no table and no Huffman code."""
        block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields)
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))
        self.streams.setdefault(stream, Stream())

    def data(self, stream: int, data: bytes, *, end: bool = False, pad: int = 0) -> None:
        flags = END_STREAM if end else 0
        if pad:
            data, flags = bytes([pad]) + data + bytes(pad), flags | PADDED
        self.send(frame(DATA, flags, stream, data))

    def get(self, stream: int, path: str = "/", *more, **kw) -> Stream:
        self.head(stream, self.fields(path, "GET", *more, **kw))
        return self.wait(stream)

    def wait(self, *streams: int, timeout: float = 10):
        end = time.monotonic() + timeout
        wanted = [self.streams.setdefault(s, Stream()) for s in streams]
        while not all(s.ended or s.reset is not None for s in wanted):
            if self.closed or time.monotonic() > end or not self.read(end - time.monotonic()):
                break
        return wanted[0] if len(wanted) == 1 else wanted

    def until(self, condition, timeout: float = 10) -> bool:
        end = time.monotonic() + timeout
        while not condition():
            if self.closed or time.monotonic() > end or not self.read(end - time.monotonic()):
                break
        return bool(condition())

    def read(self, timeout: float) -> bool:
        self.sock.settimeout(max(timeout, 0.01))
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return False
        self.held += data
        while len(self.held) >= 9:
            size = int.from_bytes(self.held[:3], "big")
            if len(self.held) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self.held[3:9])
            payload, self.held = self.held[9:9 + size], self.held[9 + size:]
            self.take(kind, flags, stream, payload)
        return True

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        s = self.streams.setdefault(stream, Stream())
        if kind == HEADERS:
            assert flags & END_HEADERS
            s.heads.append([(n, v) for n, v in self.decoder.decode(payload)])
            s.ended = s.ended or bool(flags & END_STREAM)
        elif kind == DATA:
            s.body += payload
            s.times.append(time.time())
            s.sizes.append(len(payload))
            s.ended = s.ended or bool(flags & END_STREAM)
            if payload and self.auto_window:
                grow = struct.pack(">I", len(payload))
                self.send(frame(WINDOW, 0, 0, grow) + (b"" if s.ended else frame(WINDOW, 0, stream, grow)))
        elif kind == RST:
            s.reset = int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            self.settings.update(struct.unpack(">HI", payload[i:i + 6])
                                 for i in range(0, len(payload), 6))
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == PING:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway_last, self.goaway = struct.unpack(">II", payload[:8])
        elif kind == WINDOW:
            self.windows[stream] = self.windows.get(stream, 0) + int.from_bytes(payload, "big")


def _literal(text) -> bytes:
    """RFC 7541 5.2, without the Huffman code."""
    text = text if isinstance(text, bytes) else text.encode("latin-1")
    if len(text) < 127:
        return bytes([len(text)]) + text
    out, rest = b"\x7f", len(text) - 127
    while rest >= 128:
        out += bytes([rest % 128 + 128])
        rest //= 128
    return out + bytes([rest]) + text


def key(name: str = "S1") -> str:
    return os.environ[name]
