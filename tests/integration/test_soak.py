# SPDX-License-Identifier: Apache-2.0
"""Sandboxes made, worked and ended, over and over: nothing grows, nothing is left."""

import os
import pathlib
import random
import time

import pytest
from harness.fixtures import ALLOWED, SECRETS
from harness.instance import wait_until
from harness.rpc import Sandbox

SECONDS = int(os.environ.get("CASEMATE_SOAK_SECONDS", "8"))


def footprint(instance) -> tuple[int, int]:
    """Open descriptors and KiB of memory of the daemon and the launcher."""
    fds = memory = 0
    for pid in (instance.pid, instance.launcher()):
        fds += len(os.listdir(f"/proc/{pid}/fd"))
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        memory += int(status.split("VmRSS:")[1].split()[0])
    return fds, memory


def life(instance, n: int) -> None:
    with Sandbox(instance, allow_net=ALLOWED, secrets=SECRETS) as sandbox:
        assert sandbox.check_sh(f"echo {n}; echo $HOME > f") == f"{n}\n"
        assert sandbox.read("f") == b"/home/app\n"
        assert sandbox.check_sh("curl -sSf https://api.test/ -H \"x: $S1\"") == "ok"
        assert sandbox.run("cat", stdin=os.urandom(random.randrange(200_000))).code == 0


@pytest.mark.soak
@pytest.mark.seconds(SECONDS + 60)
def test_many_lives(instance):
    life(instance, 0)
    wait_until(lambda: not instance.inits())
    fds, memory = footprint(instance)
    begin = time.monotonic()
    count = 0
    while time.monotonic() - begin < SECONDS or count < 10:
        count += 1
        life(instance, count)
    wait_until(lambda: not instance.inits())
    wait_until(lambda: footprint(instance)[0] <= fds, what="the descriptors of before")
    grown = footprint(instance)[1] - memory
    assert grown < 8192 + count, f"{grown} KiB more after {count} sandboxes"
    print(f"{count} sandboxes in {time.monotonic() - begin:.1f} s")
