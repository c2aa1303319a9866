# SPDX-License-Identifier: Apache-2.0
"""What real clients talk to: files, a Git server, the indexes of pip and npm, and the streaming APIs of
two language models. One that wants a key answers nobody without it."""

import base64
import contextlib
import hashlib
import http.server
import io
import json
import pathlib
import ssl
import subprocess
import tarfile
import threading
import time
import urllib.parse
import zipfile

BIG = b"0123456789abcdef" * (1 << 17)
EVENTS = 6
EVENT_PAUSE_S = 0.15
_GIT_ENV = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1"}


def make_repository(top: pathlib.Path) -> None:
    work = top / "work"
    for command in (["init", "-q", "-b", "main", str(work)],
                    ["-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-q",
                     "--allow-empty", "-m", "cloned"],
                    ["clone", "-q", "--bare", str(work), str(top / "r.git")]):
        subprocess.run(["git", *command], check=True, env={**_GIT_ENV, "HOME": str(top)})


def make_wheel(top: pathlib.Path) -> None:
    folder = top / "simple" / "tiny"
    folder.mkdir(parents=True)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as out:
        out.writestr("tiny.py", "WORD = 'installed'\n")
        out.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        out.writestr("tiny-1.0.dist-info/WHEEL",
                     "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr("tiny-1.0.dist-info/RECORD",
                     "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\n"
                     "tiny-1.0.dist-info/RECORD,,\n")
    (folder / "index.html").write_text(f"<a href='{name}'>{name}</a>")


def make_node_package(top: pathlib.Path, host: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        for name, text in (("package.json", '{"name":"tiny","version":"1.0.0"}'),
                           ("index.js", "module.exports = 'installed'")):
            entry = tarfile.TarInfo("package/" + name)
            entry.size = len(text)
            out.addfile(entry, io.BytesIO(text.encode()))
    folder = top / "npm"
    folder.mkdir()
    (folder / "tiny-1.0.0.tgz").write_bytes(packed.getvalue())
    (folder / "tiny").write_text(json.dumps({"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {
        "1.0.0": {"name": "tiny", "version": "1.0.0", "dist": {
            "tarball": f"https://{host}/npm/tiny-1.0.0.tgz",
            "shasum": hashlib.sha1(packed.getvalue()).hexdigest()}}}}))


def make_site(top: pathlib.Path, host: str) -> None:
    make_repository(top)
    make_wheel(top)
    make_node_package(top, host)
    (top / "big").write_bytes(BIG)


def openai_events(key: str, model: str):
    """A streamed chat completion whose text ends with the key that the request brought."""
    for n in range(EVENTS):
        text = f"word{n} " if n < EVENTS - 1 else key
        yield None, {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [
            {"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def anthropic_events(key: str, model: str):
    yield "message_start", {"type": "message_start", "message": {
        "id": "m1", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}}
    yield "content_block_start", {"type": "content_block_start", "index": 0,
                                  "content_block": {"type": "text", "text": ""}}
    for n in range(EVENTS):
        text = f"word{n} " if n < EVENTS - 1 else key
        yield "content_block_delta", {"type": "content_block_delta", "index": 0,
                                      "delta": {"type": "text_delta", "text": text}}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    yield "message_delta", {"type": "message_delta", "usage": {"output_tokens": 9},
                            "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    yield "message_stop", {"type": "message_stop"}


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    top: pathlib.Path
    wanted: str | None
    heads: list[bytes]

    def __init__(self, *args):
        super().__init__(*args, directory=str(self.top))

    def log_message(self, *_):
        pass

    def given_key(self) -> str:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            return base64.b64decode(given).decode().partition(":")[2]
        return given or self.headers.get("x-api-key", "")

    def parse_request(self) -> bool:
        good = super().parse_request()
        if good:
            self.heads.append(self.path.encode() + b"\n" + bytes(self.headers))
        return good

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        out = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() != b"\r\n":
            pass
        return out

    def refused(self) -> bool:
        if self.wanted is None or self.given_key() == self.wanted:
            return False
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=t")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def do_GET(self):
        if self.refused():
            return
        if self.path.startswith("/r.git/"):
            self.git(b"")
        else:
            super().do_GET()

    def do_POST(self):
        body = self.body()
        if self.refused():
            return
        if self.path.startswith("/r.git/"):
            self.git(body)
        elif self.path == "/v1/chat/completions":
            self.stream(openai_events, body, b"data: [DONE]\n\n")
        elif self.path.split("?")[0] == "/v1/messages":
            self.stream(anthropic_events, body, b"")
        else:
            self.send_error(404)

    def stream(self, events, body: bytes, last: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, data in events(self.given_key(), json.loads(body)["model"]):
            time.sleep(EVENT_PAUSE_S if "delta" in data or "choices" in data else 0)
            self.chunk((f"event: {name}\n" if name else "").encode() +
                       b"data: " + json.dumps(data).encode() + b"\n\n")
        if last:
            self.chunk(last)
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def git(self, body: bytes) -> None:
        """One request by git-http-backend(1), a CGI program (RFC 3875)."""
        url = urllib.parse.urlsplit(self.path)
        env = {**_GIT_ENV, "HOME": str(self.top), "GIT_PROJECT_ROOT": str(self.top),
               "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "u", "REMOTE_ADDR": "127.0.0.1",
               "PATH_INFO": url.path, "QUERY_STRING": url.query, "REQUEST_METHOD": self.command,
               "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
               "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(": ")[::2] for line in head.decode().split("\r\n")]
        status = next((int(v.split()[0]) for n, v in fields if n == "Status"), 200)
        self.send_response(status if done.returncode == 0 else 500)
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Site(http.server.ThreadingHTTPServer):
    """Serves a folder and the APIs; `heads` holds the head of each request that came."""

    daemon_threads = True

    def __init__(self, cert, top: pathlib.Path, wanted: str | None):
        self.heads: list[bytes] = []
        self.top = top
        super().__init__(("127.0.0.1", 0), type("Bound", (Handler,), {
            "top": top, "wanted": wanted, "heads": self.heads}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*cert)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that ends a connection is not worth a trace

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()


@contextlib.contextmanager
def sites(authority, wanted: dict[str, str | None], folder):
    """A site a name, each with a certificate of its own; folder(name) makes an empty folder."""
    made = {}
    try:
        for name, key in wanted.items():
            top = folder("web")
            make_site(top, name)
            made[name] = Site(authority.issue(name), top, key)
        yield made
    finally:
        for site in made.values():
            site.close()


def unpack(sandbox, name: str, folder: pathlib.Path, without=()) -> None:
    """Puts a folder of the cache into /home/app/NAME of a sandbox."""
    def keep(entry):
        entry.uid = entry.gid = 0
        return None if entry.name.endswith(tuple(without)) else entry

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        tar.add(folder, name, filter=keep)
    done = sandbox.sh("tar xzf - -C /home/app", stdin=out.getvalue())
    assert done.code == 0, done.stderr
