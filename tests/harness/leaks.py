# SPDX-License-Identifier: Apache-2.0
"""What Casemate might leave on a machine: processes, mounts, cgroups, loop devices, namespaces."""

import os
import pathlib
import re
import time

NAMESPACES = ("net", "user", "mnt", "pid", "ipc", "uts", "cgroup")


def _read(path) -> str:
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def pids() -> list[int]:
    return [int(n) for n in os.listdir("/proc") if n.isdigit()]


def living() -> list[int]:
    """Without those that are dead and only wait for their parent to notice."""
    return [pid for pid in pids() if " Z " not in _read(f"/proc/{pid}/stat").rpartition(")")[2][:3]]


def processes() -> set[str]:
    return {f"process {pid} {comm}" for pid in living()
            if (comm := _read(f"/proc/{pid}/comm").strip()).startswith("casemate")}


def mounts() -> set[str]:
    return {f"mount {line.split()[4]}" for line in _read("/proc/self/mountinfo").splitlines()
            if "casemate" in line}


def cgroups() -> set[str]:
    found = set()
    for root, dirs, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {root}/{d}" for d in dirs if d.startswith("casemate")}
    return found


def loops() -> set[str]:
    found = set()
    for file in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = _read(file).strip()
        if backing:
            found.add(f"loop {file.parts[3]} {backing}")
    return found


def namespaces() -> set[str]:
    found = set()
    for pid in living():
        for kind in NAMESPACES:
            try:
                found.add("namespace " + os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                pass
        try:
            fds = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for fd in fds:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if target.split(":[")[0] in NAMESPACES:
                found.add("namespace " + target)
    return found


def snapshot() -> set[str]:
    """CASEMATE_LEAKS_IGNORE is for a machine where other instances come and go meanwhile: a regular
    expression of what is theirs."""
    ignore = os.environ.get("CASEMATE_LEAKS_IGNORE")
    found = processes() | mounts() | cgroups() | loops() | namespaces()
    return {thing for thing in found if not (ignore and re.search(ignore, thing))}


def since(before: set[str], timeout: float = 10) -> set[str]:
    """What is there now and was not in before; waits a little for it to go, as the kernel frees
    some of it a moment after the last user is gone."""
    end = time.monotonic() + timeout
    while True:
        left = snapshot() - before
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)
