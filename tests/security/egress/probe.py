# SPDX-License-Identifier: Apache-2.0
"""Runs inside the sandbox: reads one JSON object a line on standard input, makes the connection it
describes, and writes one JSON object with what came of it."""

import base64
import json
import os
import socket
import ssl
import struct
import sys
import time


def hello_message(name: bytes | None, extensions: bytes = b"") -> bytes:
    """A ClientHello for this server name, any bytes."""
    if name is not None:
        entry = b"\0" + struct.pack(">H", len(name)) + name
        listed = struct.pack(">H", len(entry)) + entry
        extensions = struct.pack(">HH", 0, len(listed)) + listed + extensions
    # supported_versions, supported_groups, signature_algorithms, key_share (X25519)
    extensions += bytes.fromhex("002b0003020304" "000a00040002001d" "000d0006000404030804")
    extensions += bytes.fromhex("003300260024001d0020") + os.urandom(32)
    body = (b"\x03\x03" + os.urandom(32) + b"\x20" + os.urandom(32) + bytes.fromhex("0004130113020100")
            + struct.pack(">H", len(extensions)) + extensions)
    return b"\x01" + struct.pack(">I", len(body))[1:] + body


def client_hello(name: bytes | None) -> bytes:
    """The same as a TLS record."""
    message = hello_message(name)
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


def hello_of(spec: dict) -> bytes:
    """A first flight as told: cut into records of a size, padded, with another name, and so on."""
    if "raw" in spec:
        return bytes.fromhex(spec["raw"])
    extensions = b""
    if spec.get("ech"):  # encrypted_client_hello, outer, as clients grease it
        payload = b"\0\0\1\0\1\x2a\0\x20" + os.urandom(32) + b"\0\xb0" + os.urandom(176)
        extensions += struct.pack(">HH", 0xfe0d, len(payload)) + payload
    if spec.get("pad"):
        extensions += struct.pack(">HH", 21, spec["pad"]) + bytes(spec["pad"])
    if spec.get("again"):
        name = spec["again"].encode()
        listed = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name
        extensions += struct.pack(">HH", 0, len(listed)) + listed
    name = spec["name"]
    name = None if name is None else name.encode()
    if spec.get("second"):
        second = spec["second"].encode()
        listed = b"".join(struct.pack(">BH", 0, len(n)) + n for n in (name, second))
        extensions += struct.pack(">HHH", 0, len(listed) + 2, len(listed)) + listed
        name = None
    message = hello_message(name, extensions) + bytes.fromhex(spec.get("behind", ""))
    size = spec.get("record", 16000)
    records = (message[i:i + size] for i in range(0, len(message), size))
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(r)) + r for r in records)


def send_cut(sock, data: bytes, size: int) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(0, len(data), size):
        sock.sendall(data[i:i + size])
        time.sleep(0.001)


def probe(ask: dict) -> dict:
    out: dict = {"data": ""}
    begin = time.monotonic()
    data = b""
    try:
        sock = socket.create_connection((ask["host"], ask["port"]), timeout=ask.get("timeout", 8))
        out["connected"] = True
        if "hello" in ask:
            sock.sendall(client_hello(ask["hello"].encode("latin-1")))
        elif "spec" in ask:
            spec = ask["spec"]
            send_cut(sock, hello_of(spec), spec.get("cut", 1 << 20))
        elif ask.get("tls", True):
            context = ssl.create_default_context()
            if ask.get("insecure"):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if ask.get("alpn"):
                context.set_alpn_protocols(ask["alpn"])
            sock = context.wrap_socket(sock, server_hostname=ask.get("sni"))
            out["cert"] = base64.b64encode(sock.getpeercert(True)).decode()
        pause = ask.get("pause", 0)
        for part in ask.get("send", []):
            sock.sendall(base64.b64decode(part))
            time.sleep(pause)
        if "hello_after" in ask:  # within a tunnel, once it is granted
            data += sock.recv(65536)
            sock.sendall(client_hello(ask["hello_after"].encode()))
        while True:
            got = sock.recv(65536)
            if not got:
                break
            data += got
            if ask.get("once"):
                break
            if ask.get("until") and ask["until"].encode() in data:
                break
    except ssl.SSLError as problem:
        out["error"] = f"ssl {problem.reason}"
    except OSError as problem:
        out["error"] = type(problem).__name__
        out["errno"] = problem.errno
    out["data"] = base64.b64encode(data).decode()
    out["ms"] = (time.monotonic() - begin) * 1000
    return out


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(probe(json.loads(line))), flush=True)
