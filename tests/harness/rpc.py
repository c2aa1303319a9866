# SPDX-License-Identifier: Apache-2.0
"""A JSON-RPC client for the sandbox protocol that hides nothing: every message that came is kept, and
any text can be sent. For the frames below the messages there is RawSocket."""

import base64
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import socket
import struct
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harness.instance import Instance

STREAM = "$sandbox.stream."


class RpcFailure(Exception):
    """A JSON-RPC error response."""

    def __init__(self, error: dict):
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.error = error


class AppError(Exception):
    """A result that holds an error object."""

    def __init__(self, error: dict):
        super().__init__(f"{error.get('constructorName')} {error.get('code')}: "
                         f"{error.get('message')}")
        self.error = error


class Closed(Exception):
    def __init__(self, code: int | None, reason: str):
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


@dataclasses.dataclass
class Output:
    code: int
    stdout: bytes
    stderr: bytes
    status: dict

    @property
    def text(self) -> str:
        return self.stdout.decode()


@dataclasses.dataclass
class Stream:
    data: bytearray = dataclasses.field(default_factory=bytearray)
    started: bool = False
    ended: bool = False
    error: dict | None = None
    chunks: int = 0


def encode_config(config: dict) -> str:
    return base64.b64encode(json.dumps(config).encode()).decode()


class Sandbox:
    """One connection. Sandbox(instance, allow_net=…) creates, Sandbox(instance, id=…) connects."""

    def __init__(self, instance: Instance, *, id: str | None = None, user_agent: str | None = None,
                 token: str | None = None, timeout: float = 30, **config):
        self.instance = instance
        self.timeout = timeout
        headers = {"Authorization": f"Bearer {token or instance.token}"}
        if id is None:
            path = "/api/v3/sandboxes/create"
            headers["x-deno-sandbox-config"] = encode_config({"memory_mb": 1024, **config})
        else:
            path = f"/api/v3/sandbox/{id}/connect"
        url = instance.endpoint.replace("http", "ws", 1) + path
        self._stack = contextlib.ExitStack()
        self.ws = self._stack.enter_context(connect(url, additional_headers=headers, user_agent_header=user_agent,
                          max_size=None, open_timeout=30, ping_interval=None, proxy=None))
        self.headers = self.ws.response.headers
        self.id = self.headers["x-deno-sandbox-id"]
        self.messages: list = []
        self.streams: dict[int, Stream] = {}
        self.cancelled: set[int] = set()  # streams of ours that the server wants no more of
        self._ids = itertools.count()
        self._stream_ids = itertools.count(1)
        self._answers: dict = {}
        self.closed: Closed | None = None
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def _listen(self) -> None:
        while True:
            try:
                text = self.ws.recv()
            except ConnectionClosed as end:
                with self._news:
                    self.closed = Closed(end.rcvd.code if end.rcvd else None,
                                         end.rcvd.reason if end.rcvd else "")
                    self._news.notify_all()
                return
            with self._news:
                self._take(text)
                self._news.notify_all()

    def _take(self, text) -> None:
        self.messages.append(text)
        if text == "pong":
            return
        message = json.loads(text)
        assert message["jsonrpc"] == "2.0"
        if "id" in message:
            self._answers[message["id"]] = message
            return
        method, params = message["method"], message["params"]
        assert method.startswith(STREAM), method
        kind = method[len(STREAM):]
        if kind == "cancel":
            assert "reason" in params
            self.cancelled.add(params["streamId"])
            return
        stream = self.streams.setdefault(params["streamId"], Stream())
        assert not stream.ended, f"{kind} after the end of stream {params['streamId']}"
        assert kind == "start" or stream.started, f"{kind} before start"
        if kind == "start":
            stream.started = True
        elif kind == "enqueue":
            data = base64.b64decode(params["data"], validate=True)
            assert data, "an empty enqueue"
            stream.data += data
            stream.chunks += 1
        elif kind == "end":
            stream.ended = True
        elif kind == "error":
            stream.ended, stream.error = True, params["error"]

    def wait(self, condition, timeout: float | None = None, what: str = "what was awaited"):
        """Waits until condition() is true; raises Closed if the connection ends before."""
        end = time.monotonic() + (timeout or self.timeout)
        with self._news:
            while not (value := condition()):
                if self.closed:
                    raise self.closed
                left = end - time.monotonic()
                assert left > 0, f"{what} did not come in {timeout or self.timeout} s"
                self._news.wait(left)
            return value

    def wait_closed(self, timeout: float = 10) -> Closed:
        end = time.monotonic() + timeout
        with self._news:
            while self.closed is None:
                left = end - time.monotonic()
                assert left > 0, f"the connection was not closed in {timeout} s"
                self._news.wait(left)
            return self.closed

    # Calls

    def send(self, text) -> None:
        self.ws.send(text)

    def start(self, method: str, /, **params) -> int:
        """Sends a request and returns its id."""
        number = next(self._ids)
        self.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return number

    def answer(self, number, timeout: float | None = None) -> dict:
        self.wait(lambda: number in self._answers, timeout, f"the answer to {number}")
        return self._answers[number]

    def finish(self, number, timeout: float | None = None):
        message = self.answer(number, timeout)
        if "error" in message:
            assert "result" not in message
            raise RpcFailure(message["error"])
        result = message["result"]
        if "error" in result:
            raise AppError(result["error"])
        return result["ok"]

    def call(self, method: str, /, *, timeout: float | None = None, **params):
        return self.finish(self.start(method, **params), timeout)

    def notify(self, method: str, **params) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    # Processes

    def spawn(self, command: str, *args: str, **params) -> dict:
        return self.call("spawn", command=command, args=list(args),
                         **{"stdout": "piped", "stderr": "piped", **params})

    def collect(self, process: dict, timeout: float | None = None) -> Output:
        status = self.call("processWait", pid=process["pid"], timeout=timeout)
        ids = [process["stdoutStreamId"], process["stderrStreamId"]]
        for number in ids:
            if number is not None:
                self.wait(lambda n=number: n in self.streams and self.streams[n].ended, timeout,
                          f"the end of stream {number}")
        out, err = (bytes(self.streams[n].data) if n is not None else b"" for n in ids)
        return Output(status["code"], out, err, status)

    def run(self, command: str, *args: str, stdin: bytes | None = None,
            timeout: float | None = None, **params) -> Output:
        if stdin is None:
            return self.collect(self.spawn(command, *args, **params), timeout)
        number = self.open_stream()
        process = self.spawn(command, *args, stdinStreamId=number, **params)
        for at in range(0, len(stdin), 65536):
            self.enqueue(number, stdin[at:at + 65536])
        self.end_stream(number)
        return self.collect(process, timeout)

    def sh(self, script: str, **params) -> Output:
        return self.run("bash", "-c", script, **params)

    def check_sh(self, script: str, **params) -> str:
        out = self.sh(script, **params)
        assert out.code == 0, f"{script!r} ended with {out.code}: {out.stderr.decode()}"
        return out.text

    def python(self, code: str, *args: str, sudo: bool = False, **params) -> Output:
        command = ["python3", "-c", code, *args]
        if sudo:
            command = ["sudo", *command]
        return self.run(*command, **params)

    # Client streams

    def open_stream(self) -> int:
        number = next(self._stream_ids)
        self.notify(STREAM + "start", streamId=number)
        return number

    def enqueue(self, number: int, data: bytes) -> None:
        self.notify(STREAM + "enqueue", streamId=number, data=base64.b64encode(data).decode())

    def end_stream(self, number: int) -> None:
        self.notify(STREAM + "end", streamId=number)

    # Files

    def write(self, path: str, data: bytes, **options) -> None:
        self.call("writeFile", path=path, content=base64.b64encode(data).decode(), options=options)

    def read(self, path: str) -> bytes:
        return base64.b64decode(self.call("readFile", path=path), validate=True)


# WebSocket frames by hand (RFC 6455 5.2).

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True, rsv: int = 0,
          length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    flag = 0x80 if mask else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + struct.pack(">H", size)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", size)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ k for b, k in zip(payload, itertools.cycle(key)))


class RawSocket:
    """A TCP connection to the service, for HTTP requests and frames written by hand."""

    def __init__(self, instance: Instance, timeout: float = 10):
        self.instance = instance
        self.sock = socket.create_connection(instance.address, timeout=timeout)
        self.held = b""

    def __enter__(self) -> "RawSocket":
        return self

    def __exit__(self, *_) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def recv_more(self) -> bool:
        """False at the end of the connection, a reset included."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return False
        self.held += data
        return bool(data)

    def take(self, size: int) -> bytes:
        while len(self.held) < size:
            if not self.recv_more():
                raise EOFError(f"the connection ended; held {self.held!r}")
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """One HTTP response with its body."""
        while b"\r\n\r\n" not in self.held:
            if not self.recv_more():
                raise EOFError(f"no whole response: {self.held!r}")
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        if status == 101:
            return status, headers, b""
        if "content-length" in headers:
            return status, headers, self.take(int(headers["content-length"]))
        while self.recv_more():
            pass
        body, self.held = self.held, b""
        return status, headers, body

    def upgrade(self, path: str = "/api/v3/sandboxes/create", *, config: str | None = "",
                token: str | None = None, extra: str = "") -> tuple[int, dict[str, str], bytes]:
        if config == "":
            config = encode_config({"memory_mb": 1024})
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: " + "%s:%d" % self.instance.address,
                 "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 f"Sec-WebSocket-Key: {key}", f"Authorization: Bearer {token or self.instance.token}"]
        if config is not None:
            lines.append(f"x-deno-sandbox-config: {config}")
        self.send(("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode("latin-1"))
        status, headers, body = self.response()
        if status == 101:
            accept = base64.b64encode(hashlib.sha1(
                (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            assert headers["sec-websocket-accept"] == accept
        return status, headers, body

    def frame(self) -> tuple[int, bool, bytes]:
        """The next frame of the server: opcode, fin, payload. Server frames are never masked."""
        first, second = self.take(2)
        assert not first & 0x70, "reserved bits"
        assert not second & 0x80, "a masked server frame"
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.take(8))[0]
        return first & 15, bool(first & 0x80), self.take(size)

    def close_code(self) -> int | None:
        """Reads to the Close frame and returns its code; None if the connection just ends."""
        try:
            while True:
                opcode, _, payload = self.frame()
                if opcode == CLOSE:
                    return struct.unpack(">H", payload[:2])[0] if payload else 1005
        except EOFError:
            return None
