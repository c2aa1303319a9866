# SPDX-License-Identifier: Apache-2.0
"""Case 83: the clients that people use, with their defaults, through interception (a bound host, whose
secret they present) and through pass-through (a host with a certificate of its own)."""

import base64
import hashlib
import http.server
import io
import json
import pathlib
import ssl
import subprocess
import tarfile
import threading
import zipfile

import pytest
from harness import leaks
from harness.fixtures import S1
from harness.instance import Instance
from harness.rpc import Sandbox

BIG = b"0123456789abcdef" * (1 << 17)


def repository(top: pathlib.Path) -> None:
    """A Git repository as a plain web server gives it out."""
    work = top / "work"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(top), "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (["init", "-q", str(work)],
                    ["-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-q",
                     "--allow-empty", "-m", "cloned"],
                    ["clone", "-q", "--bare", str(work), str(top / "r.git")],
                    ["-C", str(top / "r.git"), "update-server-info"]):
        subprocess.run(["git", *command], check=True, env=env)


def wheel(top: pathlib.Path) -> None:
    folder = top / "simple" / "tiny"
    folder.mkdir(parents=True)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as out:
        out.writestr("tiny.py", "WORD = 'installed'\n")
        out.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        out.writestr("tiny-1.0.dist-info/WHEEL",
                     "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    (folder / "index.html").write_text(f"<a href='{name}'>{name}</a>")


def node_package(top: pathlib.Path, host: str) -> None:
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


class Server(http.server.ThreadingHTTPServer):
    """Gives out a folder, to those who present the value, if one is wanted."""

    daemon_threads = True

    def __init__(self, cert, top: pathlib.Path, wanted: str | None):
        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args):
                super().__init__(*args, directory=str(top))

            def do_GET(self):
                kind, _, given = self.headers.get("Authorization", "").partition(" ")
                if kind == "Basic":
                    given = base64.b64decode(given).decode().partition(":")[2]
                if wanted is None or given == wanted:
                    super().do_GET()
                    return
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic realm=t")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*cert)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(autouse=True)
def fresh_records():
    """The bench of the other files, which records, is not needed here."""


@pytest.fixture(scope="module")
def box(leaks_before, authority, tmp_path_factory):
    servers, flags = [], [f"--egress-ca={authority.cert}"]
    for name, wanted in (("api.test", S1), ("files.test", None)):
        top = tmp_path_factory.mktemp("web")
        repository(top)
        wheel(top)
        node_package(top, name)
        (top / "big").write_bytes(BIG)
        servers.append(Server(authority.issue(name), top, wanted))
        flags.append(f"--egress-host={name}=127.0.0.1:{servers[-1].server_address[1]}")
    with Instance(tmp_path_factory.mktemp("state"), *flags) as instance:
        with Sandbox(instance, allow_net=["api.test", "files.test"],
                     secrets={"S1": {"hosts": ["api.test"], "value": S1}}) as sandbox:
            sandbox.write("/home/app/ca.pem", pathlib.Path(authority.cert).read_bytes())
            yield sandbox
    for server in servers:
        server.shutdown()
        server.server_close()
    assert not leaks.since(leaks_before)


FETCH = ("const r = await fetch('https://' + host + '/big', {headers: {authorization: 'Bearer ' + key}});"
         "console.log(r.status, (await r.arrayBuffer()).byteLength)")
CLIENTS = {
    "curl": ('curl -sS -f -H "Authorization: Bearer $S1" https://$HOST/big | wc -c', str(len(BIG))),
    "curl -u": ('curl -sS -f -u "u:$S1" https://$HOST/big | wc -c', str(len(BIG))),
    "git": ('rm -rf c && git clone -q "https://u:$S1@$HOST/r.git" c && git -C c log --format=%s', "cloned"),
    "pip": ('rm -rf w && pip install -q --no-cache-dir --no-deps --target w '
            '--index-url "https://u:$S1@$HOST/simple/" tiny && PYTHONPATH=w python3 -c '
            '"import tiny; print(tiny.WORD)"', "installed"),
    "npm": ('rm -rf n && mkdir n && cd n && echo "//$HOST/npm/:_authToken=$S1" > .npmrc && '
            'npm install --silent --no-audit --no-fund --cache ./cache --registry "https://$HOST/npm/" tiny '
            '>/dev/null && node -p "require(\'tiny\')"', "installed"),
    "node": ("node --input-type=module -e \"const host=process.env.HOST, key=process.env.S1;" + FETCH + '"',
             f"200 {len(BIG)}"),
    "deno": ("echo \"const host=Deno.env.get('HOST'), key=Deno.env.get('S1');" + FETCH +
             '" > f.js && deno run -q -A f.js', f"200 {len(BIG)}"),
    "urllib": ('python3 -c "import os, urllib.request as u; print(len(u.urlopen(u.Request('
               "'https://' + os.environ['HOST'] + '/big', headers={'Authorization': 'Bearer ' + "
               "os.environ['S1']})).read()))\"", str(len(BIG))),
    "requests": ('python3 -c "import os; from pip._vendor import requests as r; s = r.Session(); print(*{len(s.get('
                 "'https://' + os.environ['HOST'] + '/big', headers={'Authorization': 'Bearer ' + "
                 "os.environ['S1']}).content) for _ in range(3)})\"", str(len(BIG))),
}
# Only to a host whose certificate nobody in the sandbox knows must a client be told of it.
TRUST = " ".join(f"{name}=/home/app/ca.pem" for name in (
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT",
    "NODE_EXTRA_CA_CERTS", "DENO_CERT", "npm_config_cafile"))


@pytest.mark.parametrize("host", ["api.test", "files.test"])
@pytest.mark.parametrize("client", CLIENTS)
def test_case_83_clients(box, client, host):
    script, wanted = CLIENTS[client]
    trust = f"export {TRUST}; " if host == "files.test" else ""
    out = box.sh(f"{trust}export HOST={host} HOME=/home/app; cd /tmp; {script}", timeout=50)
    assert (out.code, out.text.strip()) == (0, wanted), out
    assert S1.encode() not in out.stdout + out.stderr
