# SPDX-License-Identifier: Apache-2.0
"""DNS for tests: a message codec that can also say what no library would, and a small authoritative
server with a scripted zone that records every question."""

import dataclasses
import ipaddress
import socket
import struct
import threading

A, NS, CNAME, PTR, TXT, AAAA, SRV, OPT, HTTPS, ANY, NULL = 1, 2, 5, 12, 16, 28, 33, 41, 65, 255, 10
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5


def encode_name(name: str | list[bytes]) -> bytes:
    labels = name if isinstance(name, list) else [p.encode() for p in name.split(".") if p]
    return b"".join(bytes([len(p)]) + p for p in labels) + b"\0"


def query(name: str | list[bytes], kind: int, *, number: int = 7, edns: int | None = None,
          padding: int = 0) -> bytes:
    extra = b""
    if edns is not None:
        option = struct.pack(">HH", 12, padding) + b"\0" * padding if padding else b""
        extra = b"\0" + struct.pack(">HHIH", OPT, edns, 0, len(option)) + option
    head = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 1 if extra else 0)
    return head + encode_name(name) + struct.pack(">HH", kind, 1) + extra


def _name_at(data: bytes, at: int) -> tuple[str, int]:
    labels, after = [], None
    while data[at]:
        if data[at] & 0xC0 == 0xC0:
            after = after or at + 2
            at = (data[at] & 0x3F) << 8 | data[at + 1]
            continue
        labels.append(data[at + 1:at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    return ".".join(labels).lower(), after or at + 1


@dataclasses.dataclass
class Answer:
    number: int
    rcode: int
    truncated: bool
    records: list[tuple[int, bytes]]
    ede: int | None

    def addresses(self) -> list[str]:
        return [str(ipaddress.ip_address(data)) for kind, data in self.records if kind in (A, AAAA)]


def decode(data: bytes) -> Answer:
    number, flags, questions, *counts = struct.unpack(">HHHHHH", data[:12])
    at = 12
    for _ in range(questions):
        at = _name_at(data, at)[1] + 4
    records, ede = [], None
    for n in range(sum(counts)):
        at = _name_at(data, at)[1]
        kind, _, _, size = struct.unpack(">HHIH", data[at:at + 10])
        body = data[at + 10:at + 10 + size]
        if n < counts[0]:
            records.append((kind, body))
        elif kind == OPT and len(body) >= 6 and struct.unpack(">H", body[:2])[0] == 15:
            ede = struct.unpack(">H", body[4:6])[0]
        at += 10 + size
    return Answer(number, flags & 15, bool(flags & 0x0200), records, ede)


class Resolver:
    """Answers from `zone`: name -> address texts; a list of such tuples is answered one after the other,
    the last one for ever. A text that is no address is a CNAME's target. Everything else is NXDOMAIN."""

    def __init__(self, address: str = "127.0.0.1"):
        self.zone: dict[str, tuple[str, ...] | list[tuple[str, ...]]] = {}
        self.questions: list[tuple[str, int]] = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._sock.close()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self._sock.recvfrom(65536)
                self._sock.sendto(self._answer(data), peer)
            except OSError:
                return
            except (IndexError, struct.error):
                continue

    def _lookup(self, name: str, kind: int, records: list[bytes]) -> int:
        value = self.zone.get(name)
        if value is None:
            return NXDOMAIN if not records else NOERROR
        if isinstance(value, list):
            # Both families of one resolution see the same answer.
            now = value[0] if len(value) == 1 or kind == AAAA else value.pop(0)
        else:
            now = value
        for text in now:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                target = encode_name(text)
                records.append(encode_name(name) + struct.pack(">HHIH", CNAME, 1, 0, len(target))
                               + target)
                self._lookup(text, kind, records)
                continue
            if kind == (A if address.version == 4 else AAAA):
                records.append(encode_name(name) + struct.pack(
                    ">HHIH", kind, 1, 0, len(address.packed)) + address.packed)
        return NOERROR

    def _answer(self, data: bytes) -> bytes:
        name, end = _name_at(data, 12)
        kind = struct.unpack(">H", data[end:end + 2])[0]
        self.questions.append((name, kind))
        records: list[bytes] = []
        rcode = self._lookup(name, kind, records)
        return (data[:2] + struct.pack(">HHHHH", 0x8580 | rcode, 1, len(records), 0, 0)
                + data[12:end + 4] + b"".join(records))
