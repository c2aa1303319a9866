# SPDX-License-Identifier: Apache-2.0
"""A private instance of the service: `casemated --dev` with a state directory of its own."""

import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

from harness import leaks
from harness.audit import Audit

SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error: ", "Assertion `")

REPO = pathlib.Path(__file__).resolve().parents[2]


def build_dir() -> pathlib.Path:
    """Where the programs under test are: CASEMATE_BUILD, or build/ of this checkout."""
    return pathlib.Path(os.environ.get("CASEMATE_BUILD", REPO / "build")).resolve()


class InstanceFailed(Exception):
    pass


def _children(parent: int) -> list[int]:
    found = []
    for pid in leaks.pids():
        status = _status(pid)
        if status.get("PPid") == str(parent):
            found.append(pid)
    return found


def _status(pid: int) -> dict[str, str]:
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}


def alive(pid: int) -> bool:
    state = _status(pid).get("State", "")
    return bool(state) and not state.startswith("Z")


def wait_until(condition, timeout: float = 10, what: str = "the condition"):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come within {timeout} s"
        time.sleep(0.02)


class Instance:
    def __init__(self, state: pathlib.Path, *flags: str, build: pathlib.Path | None = None,
                 env: dict[str, str] | None = None):
        self.state = state
        self.build = build or build_dir()
        self.flags = flags
        self.extra_env = env or {}
        self.log_file = state / "casemated.log"
        self.audit = Audit(state / "audit.jsonl")
        self.process: subprocess.Popen | None = None
        self.env: dict[str, str] = {}

    def start(self, timeout: float = 30) -> "Instance":
        program = self.build / "casemated"
        if not program.exists():
            raise InstanceFailed(f"{program} is not there: run make, or set CASEMATE_BUILD")
        self.state.mkdir(parents=True, exist_ok=True)
        ready = self.state / "dev.env"
        ready.unlink(missing_ok=True)
        with self.log_file.open("ab") as log, (self.state / "casemated.out").open("ab") as out:
            self.process = subprocess.Popen(
                [program, "--dev", "--listen", "127.0.0.1:0", "--state", self.state, *self.flags],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                env={**os.environ, **self.extra_env})
        end = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise InstanceFailed(
                    f"casemated ended with {self.process.returncode}:\n{self.log_tail()}")
            text = ready.read_text() if ready.exists() else ""
            if "DENO_SANDBOX_ENDPOINT=" in text and text.endswith("\n"):
                break
            if time.monotonic() > end:
                self.stop()
                raise InstanceFailed(f"casemated was not ready in {timeout} s:\n{self.log_tail()}")
            time.sleep(0.01)
        self.env = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return self

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, and its exit code. Fails if it does not end in time."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            for pid in [*self.descendants(), self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait(10)
            raise InstanceFailed(f"casemated did not stop in {timeout} s:\n{self.log_tail()}")
        self.process = None
        return code

    def __enter__(self) -> "Instance":
        return self.start()

    def __exit__(self, *_) -> None:
        code = self.stop()
        assert code == 0, f"casemated ended with {code}:\n{self.log_tail()}"
        self.check_log()

    def check_log(self) -> None:
        """Every program of the instance writes there; what a sanitizer found is told there, too."""
        text = self.log_file.read_text(errors="replace")
        found = [at for mark in SANITIZER_MARKS if (at := text.find(mark)) >= 0]
        assert not found, text[min(found):][:4000]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def endpoint(self) -> str:
        return self.env["DENO_SANDBOX_ENDPOINT"]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.partition("://")[2].rpartition(":")
        return host, int(port)

    @property
    def token(self) -> str:
        return self.env["DENO_DEPLOY_TOKEN"]

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    # Processes, as the host's root sees them.

    def descendants(self) -> list[int]:
        found, queue = [], [self.pid]
        while queue:
            children = _children(queue.pop())
            found += children
            queue += children
        return found

    def launcher(self) -> int:
        return self._named("casemate-launch")[0]

    def workers(self) -> list[int]:
        return self._named("casemate-proxy")

    def inits(self) -> list[int]:
        """The process 1 of each sandbox."""
        found = []
        for pid in self.descendants():
            ids = _status(pid).get("NSpid", "").split()
            if len(ids) == 2 and ids[1] == "1":
                found.append(pid)
        return found

    def _named(self, prefix: str) -> list[int]:
        return [p for p in self.descendants() if _status(p).get("Name", "").startswith(prefix)]

    # REST

    def request(self, method: str, path: str, body=None, *, token: str | None = None,
                raw: bytes | None = None, timeout: float = 15):
        """Returns (status, headers, decoded body or None)."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoint + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {token or self.token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.headers, _decode(answer.read())
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, _decode(answer.read())

    def list(self) -> list[dict]:
        status, _, body = self.request("GET", "/api/v2/sandboxes")
        assert status == 200, body
        return body

    def listed(self, sandbox_id: str) -> dict:
        return next(s for s in self.list() if s["id"] == sandbox_id)


def _decode(data: bytes):
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data
