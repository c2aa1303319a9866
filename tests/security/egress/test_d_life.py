# SPDX-License-Identifier: Apache-2.0
"""Cases 79 and 81: when the worker dies, and where a value may have been left.

Case 86, an upgrade with live connections, is not here: a worker holds the TLS state of its connections,
which another process cannot take over, so an upgrade of the programs is a restart of the service, and
ends its sandboxes. What a new worker takes over from one that died, case 79 shows."""

import base64
import dataclasses
import json
import os
import pathlib
import signal
import time

import pytest
from egress_bench import ALLOWED, S1, S2, SECRETS, Box, forms_of
from harness.instance import Instance, alive, wait_until


def test_case_79_without_its_worker_there_is_no_network(lab):
    before = set(lab.instance.workers())
    box = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    worker, = set(lab.instance.workers()) - before
    assert box.ok("-k", "https://files.test/") == "ok"
    box.sandbox.spawn("bash", "-c", "while :; do curl -sk -m 1 https://files.test/late; done",
                      stdout="null", stderr="null")
    os.kill(lab.instance.launcher(), signal.SIGSTOP)
    try:
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not alive(worker))
        lab.good.forget()
        with pytest.raises(AssertionError):
            wait_until(lambda: lab.good.connections, timeout=1.5)
    finally:
        os.kill(lab.instance.launcher(), signal.SIGCONT)
    box.close()
    assert not list(lab.instance.state.rglob("core*"))


def worker_of(lab, before: set[int]) -> int:
    """The worker that was not there before, once it is."""
    return wait_until(lambda: next(iter(set(lab.instance.workers()) - before), None))


def test_case_79_another_worker_takes_its_place(lab):
    before = set(lab.instance.workers())
    box = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    worker = worker_of(lab, before)
    p1 = box.placeholder("S1")
    box.ok("https://api.test/before", "-H", f"Authorization: Bearer {p1}")
    # A program that has read its trust store, holds a connection, and later makes another.
    client = box.sandbox.spawn("python3", "-c", """if True:
        import os, sys, ssl, http.client, time
        trust = ssl.create_default_context()
        def get(c):
            c.request("GET", "/held", headers={"x": os.environ["S1"]})
            return c.getresponse().read()
        held = http.client.HTTPSConnection("api.test", context=trust, timeout=5)
        get(held)
        print("held", flush=True)
        try:
            while True:
                get(held)
                time.sleep(0.02)
        except (OSError, http.client.HTTPException):
            print("cut", flush=True)
        get(http.client.HTTPSConnection("api.test", context=trust, timeout=5))
        print("again", flush=True)
        """)
    def shown(of: str = "stdoutStreamId") -> bytes:
        stream = box.sandbox.streams.get(client[of])
        assert of == "stderrStreamId" or not shown("stderrStreamId"), shown("stderrStreamId").decode()
        return bytes(stream.data) if stream else b""
    wait_until(lambda: b"held" in shown(), timeout=20)
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    assert box.ok("https://api.test/after", "-H", f"Authorization: Bearer {p1}")
    assert time.monotonic() - began < 2
    wait_until(lambda: b"again" in shown())
    assert b"cut" in shown()
    after = [r for r in lab.good.requests if r.target == "/after"]
    assert [r.header("authorization") for r in after] == [f"Bearer {S1}"]
    assert worker_of(lab, before) != worker
    lab.instance.audit.wait(ev="worker_restarted", sandbox=box.id)
    lab.instance.audit.wait(ev="request", sandbox=box.id, path="/after")
    for reason in ("started", "restarted"):
        told = lab.instance.audit.wait(ev="policy", sandbox=box.id, reason=reason)
        assert told["secrets"].split(",") == list(SECRETS)
    assert box.curl("-f", "https://evil.test/").code != 0
    assert not box.sandbox.closed
    box.close()


def test_case_79_a_worker_that_keeps_dying_ends_its_sandbox(lab):
    before = set(lab.instance.workers())
    box = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    for _ in range(6):
        worker = wait_until(lambda: next(iter(set(lab.instance.workers()) - before), None))
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not alive(worker))
    box.sandbox.wait_closed()
    wait_until(lambda: lab.instance.listed(box.id)["status"] == "stopped")
    assert "worker-died" in lab.instance.log_file.read_text()
    assert set(lab.instance.workers()) <= before


def test_case_79_a_worker_leaves_no_core_and_is_not_readable(lab, box):
    worker = lab.instance.workers()[-1]
    limits = pathlib.Path(f"/proc/{worker}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4] == "0"
    # Not dumpable: its files in /proc belong to root, whoever it runs as.
    assert pathlib.Path(f"/proc/{worker}/mem").stat().st_uid == 0


def in_sandbox(init: int) -> list[pathlib.Path]:
    """What a sandbox has written, and what was written into it, seen from the host."""
    root = pathlib.Path(f"/proc/{init}/root")
    found = []
    for name in ("run", "tmp", "home", "root", "etc", "var/log", "var/tmp", "dev/shm"):
        for folder, _, names in os.walk(root / name):
            found += [pathlib.Path(folder) / n for n in names]
    return [p for p in found if p.is_file() and not p.is_symlink()]


def places_of(instance) -> list[pathlib.Path]:
    places = [p for p in instance.state.rglob("*") if p.is_file()]
    for process in (instance.pid, *instance.descendants()):
        places += [pathlib.Path(f"/proc/{process}/{name}")
                   for name in ("environ", "cmdline", "maps", "comm", "limits", "status")]
    for init in instance.inits():
        places += in_sandbox(init)
    return places


def test_case_81_canary_search(lab, authority, tmp_path):
    """Nowhere on the host but in the memory of the worker: not in a log at the finest level, an audit
    line, a denial, an environment, a command line, the state directory, a core file, or the sandbox's
    files: after swaps, misuse, refusals, and a worker that crashed."""
    (tmp_path / "state").mkdir(mode=0o711)
    with Instance(tmp_path / "state", f"--egress-ca={authority.cert}", "--log-level=debug") as instance:
        box = Box(dataclasses.replace(lab, instance=instance), allow_net=ALLOWED, secrets=SECRETS)
        p1 = box.placeholder("S1")
        box.sandbox.spawn("sleep", "600", stdout="null", stderr="null")

        def use() -> None:
            box.ok("https://api.test/canary", "-H", f"Authorization: Bearer {p1}")
            box.curl("http://api.test/canary", "-H", f"x: {p1}")  # misuse
            box.curl("https://api.test/echo", "-H", f"x: {p1}", "-o", "/tmp/echoed")
            box.curl("https://evil.test/canary", "-H", f"x: {p1}")  # refused
            box.curl("https://two.test/", "-H", f"x: {box.placeholder('S3')}")  # of another host
            box.request(b"GET / HTTP/1.1\r\nHost: api.test\r\nx: " + p1.encode() + b"\r\nbad\r\n\r\n")
        use()
        worker, = instance.workers()
        for number in (signal.SIGSEGV, signal.SIGABRT):
            os.kill(worker, number)
            worker = wait_until(lambda old=worker: next(iter(set(instance.workers()) - {old}), None))
            use()
        swapped = [r for r in lab.good.requests if r.target == "/canary"]
        assert len(swapped) == 3 and all(S1 in (r.header("authorization") or "") for r in swapped)
        canaries = [form for value in (S1, S2) for form in forms_of(value)]
        checked = 0
        for place in places_of(instance):
            try:
                size = place.stat().st_size
                data = place.read_bytes() if size < 64 << 20 else b""
            except (OSError, ProcessLookupError):
                continue  # of a process that just ended
            checked += 1
            assert not any(canary in data for canary in canaries), place
        assert checked > 50
        assert not [p for p in (*instance.state.rglob("core*"), *pathlib.Path("/").glob("core*"))]
        assert "sandbox" in instance.log_file.read_text()
        box.close()


def memory_holds(pid: int, needles: list[bytes]) -> bytes | None:
    """The first of the needles that stands in the process's writable memory."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in open(f"/proc/{pid}/maps"):
            span, mode = line.split()[:2]
            if "r" not in mode or "[vv" in line:
                continue
            low, high = (int(n, 16) for n in span.split("-"))
            try:
                memory.seek(low)
                data = memory.read(high - low)
            except OSError:
                continue
            for needle in needles:
                if needle in data:
                    return needle
    return None


def test_the_value_is_not_in_the_daemon_s_or_the_launcher_s_memory(lab):
    before = set(lab.instance.workers())
    value = "sk-memory-search-" + os.urandom(20).hex()
    box = Box(lab, allow_net=["api.test"], secrets={"K": {"hosts": ["api.test"], "value": value}})
    try:
        placeholder = box.placeholder("K")
        box.ok("https://api.test/memory", "-H", f"x-key: {placeholder}")
        assert lab.good.last().header("x-key") == value
        config = json.dumps({"memory_mb": 1024, "allow_net": ["api.test"],
                             "secrets": {"K": {"hosts": ["api.test"], "value": value}}}).encode()
        encoded = base64.b64encode(config)
        at = config.index(value.encode())
        middle = encoded[(at + 2) // 3 * 4:(at + len(value)) // 3 * 4]
        needles = [value.encode(), middle, value[:24].encode()]
        def search(worker: int) -> None:
            for name, pid in (("casemated", lab.instance.pid), ("launcher", lab.instance.launcher())):
                assert memory_holds(pid, needles) is None, f"the value is in the memory of {name}"
            assert memory_holds(worker, needles) is not None, "the search works"
        first = worker_of(lab, before)
        search(first)
        os.kill(first, signal.SIGKILL)
        box.ok("https://api.test/memory", "-H", f"x-key: {placeholder}")
        assert lab.good.last().header("x-key") == value
        search(worker_of(lab, before | {first}))
    finally:
        box.close()
