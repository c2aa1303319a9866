# SPDX-License-Identifier: Apache-2.0
"""What casemated has given up by the time that it serves."""

import os
import pathlib

from harness.rpc import Sandbox


def status_of(pid) -> dict[str, str]:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}


def test_every_thread_is_confined(instance):
    with Sandbox(instance) as sandbox:
        assert sandbox.check_sh("echo on") == "on\n"
        threads = os.listdir(f"/proc/{instance.pid}/task")
        for thread in threads:
            status = status_of(f"{instance.pid}/task/{thread}")
            assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
            assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[name], 16) == 0, name


def test_it_leaves_no_core_and_cannot_be_traced(instance):
    limits = pathlib.Path(f"/proc/{instance.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # Files of a process that can be dumped belong to its user; of this one, to root.
    assert os.stat(f"/proc/{instance.pid}/environ").st_uid == 0
