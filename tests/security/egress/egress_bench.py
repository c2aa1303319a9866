# SPDX-License-Identifier: Apache-2.0
"""The parts of the egress bench: its names and secrets, and a sandbox with the probe in it."""

import base64
import dataclasses
import json
import pathlib
import urllib.parse

from harness import resolver as dns
from harness.fixtures import S1, S2
from harness.instance import Instance
from harness.lab import Network
from harness.origin import Origin
from harness.rpc import Output, Sandbox

# Documentation addresses: they count as public.
GOOD, GOOD6, EVIL, OTHER = "203.0.113.10", "2001:db8::10", "203.0.113.66", "198.51.100.7"
PRIVATE = ("10.1.2.3", "172.16.9.9", "192.168.77.1", "169.254.169.254", "100.64.3.3")
# A value whose characters mean something in a query.
S3 = "q&=+ %/?#x-canary-three-1fa4c05b77d2"

NAMES = ("api.test", "two.test", "files.test", "a.pkg.test", "a.b.pkg.test", "pkg.test",
         "evilpkg.test", "xn--bcher-kva.pkg.test")
SECRETS = {
    "S1": {"hosts": ["api.test", "two.test"], "value": S1},
    "S2": {"hosts": ["two.test"], "value": S2},
    "S3": {"hosts": ["api.test"], "value": S3},
}
ALLOWED = ["api.test", "two.test", "files.test", "*.pkg.test", "tcp.test:5432", "rebind.test"]


@dataclasses.dataclass
class Lab:
    instance: Instance
    net: Network
    resolver: dns.Resolver
    authority: object
    good: Origin
    evil: Origin
    private: Origin  # on addresses of other networks that no sandbox may reach
    node: Origin  # on the node's own addresses
    greeter: Origin

    def forget(self) -> None:
        for origin in (self.good, self.evil, self.private, self.node, self.greeter):
            origin.forget()
        self.resolver.questions.clear()
        self.instance.audit.mark()


class Box:
    """A sandbox of the bench with the probe in it."""

    def __init__(self, lab: Lab, **config):
        self.lab = lab
        self.sandbox = Sandbox(lab.instance, **config)
        self.id = self.sandbox.id
        code = (pathlib.Path(__file__).parent / "probe.py").read_bytes()
        self.sandbox.write("/home/app/probe.py", code)

    def placeholder(self, name: str) -> str:
        return self.sandbox.check_sh(f"printenv {name}").rstrip("\n")

    def sh(self, script: str, **params) -> Output:
        return self.sandbox.sh(script, **params)

    def curl(self, *args: str) -> Output:
        return self.sandbox.run("curl", "-sS", "-m", "10", *args)

    def ok(self, *args: str) -> str:
        out = self.curl("-f", *args)
        assert out.code == 0, out.stderr.decode()
        return out.text

    def probe(self, *asks: dict) -> list[dict]:
        lines = []
        for ask in asks:
            parts = ask.get("send", [])
            parts = [parts] if isinstance(parts, bytes) else parts
            lines.append({**ask, "send": [base64.b64encode(p).decode() for p in parts]})
        out = self.sandbox.run("python3", "probe.py", timeout=50,
                               stdin="".join(json.dumps(one) + "\n" for one in lines).encode())
        assert out.code == 0, out.stderr.decode()
        results = [json.loads(line) for line in out.text.splitlines()]
        for result in results:
            result["data"] = base64.b64decode(result["data"])
        return results

    def request(self, head: bytes | list[bytes], *, host: str = "api.test", port: int = 443, sni: str = "",
                tls: bool = True, **more) -> dict:
        """Sends raw bytes over a fresh connection, and what came back."""
        return self.probe({"host": host, "port": port, "sni": sni or host, "tls": tls,
                           "send": head, "timeout": 8, **more})[0]

    def close(self) -> None:
        self.sandbox.close()


def status_of(result: dict) -> int | None:
    """The HTTP status of a raw answer; None if there is none."""
    data = result["data"]
    return int(data.split(b" ")[1]) if data.startswith(b"HTTP/1.") else None


def forms_of(value: str) -> list[bytes]:
    """The value in the encodings that a canary search must know."""
    raw = value.encode()
    shifted = [base64.b64encode(b"x" * n + raw)[4 * bool(n):-4] for n in range(3)]
    return [raw, raw.hex().encode(), urllib.parse.quote(value, safe="").encode(), *shifted]


def ask_dns(box: Box, *queries: bytes, server: str = "203.0.113.53") -> list[dns.Answer]:
    out = box.sandbox.python(
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n"
        "for line in sys.stdin:\n"
        "    s.sendto(bytes.fromhex(line), (sys.argv[1], 53)); print(s.recv(65535).hex())\n",
        server, stdin="".join(q.hex() + "\n" for q in queries).encode())
    assert out.code == 0, out.stderr.decode()
    return [dns.decode(bytes.fromhex(line)) for line in out.text.split()]
