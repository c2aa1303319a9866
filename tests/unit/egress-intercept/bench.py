# SPDX-License-Identifier: Apache-2.0
"""A recorder origin, certificates of all sorts, and a client, for the interception tests. Loopback only."""

import json
import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time

VALUE_1 = "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2Wq"  # 45 characters
VALUE_2 = "hunter2/Secret+Value=&?%"  # shorter than a placeholder, needs encoding in a query
NAME = "api.test"
RECORD_MAX = 4 * 1024 * 1024


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True)


class Authority:
    def __init__(self, folder, name="root"):
        self.folder = folder
        self.name = name
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", name + ".key", "-out", name + ".pem", "-subj", "/CN=" + name, "-days", "30",
                cwd=folder)

    def leaf(self, label, names, expired=False):
        """Returns the paths of certificate and key."""
        with open(os.path.join(self.folder, label + ".ext"), "w") as f:
            f.write("subjectAltName=" + ",".join("DNS:" + n for n in names) + "\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                label + ".key", "-out", label + ".csr", "-subj", "/CN=" + label, cwd=self.folder)
        args = ["x509", "-req", "-in", label + ".csr", "-CA", self.name + ".pem", "-CAkey",
                self.name + ".key", "-set_serial", str(int(time.time() * 1e6)), "-extfile",
                label + ".ext", "-out", label + ".pem"]
        args += ["-days", "-1"] if expired else ["-days", "20"]
        openssl(*args, cwd=self.folder)
        return (os.path.join(self.folder, label + ".pem"), os.path.join(self.folder, label + ".key"))


class Origin:
    """Accepts connections and hands each, decrypted, to serve(connection). Records every byte read."""

    def __init__(self, serve, certificate=None):
        self.serve = serve
        self.recorded = b""
        self.lock = threading.Lock()
        self.connections = 0
        self.active = 0
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            self.context.set_alpn_protocols(["http/1.1"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(s,), daemon=True).start()

    def run(self, s):
        with self.lock:
            self.connections += 1
            self.active += 1
        try:
            s.settimeout(20)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                s = self.context.wrap_socket(s, server_side=True, suppress_ragged_eofs=False)
            self.serve(Connection(s, self))
            if self.context is not None:
                s = s.unwrap()
        except (OSError, ssl.SSLError, EOFError):
            pass
        finally:
            s.close()
            with self.lock:
                self.active -= 1

    def settle(self):
        """Waits until nothing more can be recorded of connections that their client has closed."""
        deadline = time.monotonic() + 5
        while self.active > 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        self.recorded = b""

    def close(self):
        self.listener.close()


class Connection:
    """A socket with a line of sight: reads heads and bodies, and records."""

    def __init__(self, s, origin=None):
        self.s = s
        self.origin = origin
        self.rest = b""

    def more(self):
        data = self.s.recv(65536)
        if not data:
            raise EOFError
        if self.origin is not None and len(self.origin.recorded) < RECORD_MAX:
            self.origin.recorded += data
        self.rest += data

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def take(self, size):
        pieces = []
        while len(self.rest) < size:
            pieces.append(self.rest)
            size -= len(self.rest)
            self.rest = b""
            self.more()
        pieces.append(self.rest[:size])
        self.rest = self.rest[size:]
        return b"".join(pieces)

    def until(self, mark):
        while mark not in self.rest:
            self.more()
        at = self.rest.index(mark) + len(mark)
        out, self.rest = self.rest[:at], self.rest[at:]
        return out

    def head(self):
        """(first line, {lower-case name: [values]})"""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        fields = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            fields.setdefault(name.lower(), []).append(value.strip())
        return lines[0], fields

    def chunks(self):
        out = []
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                self.trailers = []
                while (line := self.until(b"\r\n")) != b"\r\n":
                    self.trailers.append(line[:-2])
                return out
            out.append(self.take(size))
            self.take(2)

    def body(self, fields):
        if "chunked" in fields.get("transfer-encoding", []):
            return b"".join(self.chunks())
        return self.take(int(fields.get("content-length", ["0"])[0]))

    def to_end(self):
        try:
            while True:
                self.more()
        except EOFError:
            pass
        out, self.rest = self.rest, b""
        return out

    def to_end_or_cut(self):
        """Like to_end, also where TLS ends without a word."""
        try:
            return self.to_end()
        except OSError:
            out, self.rest = self.rest, b""
            return out

    def close(self):
        self.s.close()


class Response:
    def __init__(self, connection, method="GET"):
        line, self.fields = connection.head()
        self.line = line
        self.status = int(line.split(" ")[1])
        self.body = b""
        if method != "HEAD" and self.status not in (204, 304) and self.status >= 200:
            if "content-length" in self.fields or "transfer-encoding" in self.fields:
                self.body = connection.body(self.fields)
            else:
                self.body = connection.to_end()

    def json(self):
        return json.loads(self.body)


class Harness:
    """The proxy under test. targets: {label: (name, upstream port, plain)}."""

    def __init__(self, program, roots, secrets, targets, environment=None):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "secrets.json")
        with open(path, "w") as f:
            json.dump(secrets, f)
        args = [f"{name}={port}{',plain' if plain else ''}" for name, port, plain in targets.values()]
        environment = {"ASAN_OPTIONS": "quarantine_size_mb=1", **(environment or {})}
        self.process = subprocess.Popen([program, roots, path, *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env={**os.environ, **environment})
        start = json.loads(self.process.stdout.readline())
        self.placeholders = start["placeholders"]
        self.ca = start["ca"]
        self.ports = dict(zip(targets, start["ports"]))
        self.names = {label: target[0] for label, target in targets.items()}
        self.plain = {label: target[2] for label, target in targets.items()}
        self.seen = b""  # all that any client got
        self.events = []
        self.changed = threading.Condition()
        threading.Thread(target=self.read_events, daemon=True).start()

    def read_events(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def wait_event(self, seconds=5, **wanted):
        """The first event with these members since forget_events."""
        def find():
            for e in self.events:
                if all(e.get(k) == v for k, v in wanted.items()):
                    return e
            return None
        with self.changed:
            self.changed.wait_for(lambda: find() is not None, seconds)
            return find()

    def forget_events(self):
        with self.changed:
            self.events.clear()

    def drop_idle(self):
        """Closes the connections to origins that wait for another exchange."""
        self.process.stdin.write(b"d")
        self.process.stdin.flush()

    def connections(self):
        self.forget_events()
        self.process.stdin.write(b"c")
        self.process.stdin.flush()
        with self.changed:
            self.changed.wait_for(lambda: any("connections" in e for e in self.events), 5)
            return next(e["connections"] for e in self.events if "connections" in e)

    def raw(self, label):
        s = socket.create_connection(("127.0.0.1", self.ports[label]), 20)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def connect(self, label, name=None, alpn=("h2", "http/1.1")):
        s = self.raw(label)
        if not self.plain[label]:
            context = ssl.create_default_context(cadata=self.ca)
            context.set_alpn_protocols(list(alpn))
            s = context.wrap_socket(s, server_hostname=name or self.names[label])
        return Client(s, self)

    def get(self, label, target="/", fields=(), method="GET", body=b"", host=None):
        c = self.connect(label)
        try:
            return c.request(target, fields, method, body, host or self.names[label])
        finally:
            c.close()

    def stop(self):
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        self.folder.cleanup()
        return code


class Client(Connection):
    def __init__(self, s, harness):
        super().__init__(s)
        self.harness = harness

    def more(self):
        before = len(self.rest)
        super().more()
        if len(self.harness.seen) < RECORD_MAX:
            self.harness.seen += self.rest[before:]

    def request(self, target="/", fields=(), method="GET", body=b"", host=NAME):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return Response(self, method)
