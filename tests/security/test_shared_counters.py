# SPDX-License-Identifier: Apache-2.0
"""What the kernel counts or keeps for the whole host or for one of its users: a sandbox that uses up
its share takes nothing from the host or from its neighbour."""

import ctypes
import fcntl
import os
import pathlib

import pytest
from harness.rpc import Sandbox

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def neighbour(instance):
    with Sandbox(instance) as sandbox:
        yield sandbox


def hold(sandbox, code: str) -> dict:
    """Runs code as the sandbox's root; it says what it has got and keeps it until it is killed."""
    process = sandbox.spawn("sudo", "python3", "-c", code + "\nprint('held', flush=True)\n"
                            "import time; time.sleep(1000)")
    sandbox.start("processWait", pid=process["pid"])  # output begins to flow
    number = process["stdoutStreamId"]
    sandbox.wait(lambda: number in sandbox.streams and b"held" in sandbox.streams[number].data
                 or number in sandbox.streams and sandbox.streams[number].ended)
    assert b"held" in sandbox.streams[number].data
    return process


def let_go(sandbox, process: dict) -> None:
    sandbox.sh("sudo pkill -KILL python3")
    sandbox.collect(process)


USE_UP = {
    "inotify": "import ctypes; c = ctypes.CDLL(None)\n"
               "while c.inotify_init1(0) >= 0: pass",
    "signals": "import ctypes, os, signal; c = ctypes.CDLL(None)\n"
               "signal.pthread_sigmask(signal.SIG_BLOCK, [40])\n"
               "while c.sigqueue(os.getpid(), 40, None) == 0: pass",
    "terminals": "import os\n"
                 "try:\n"
                 "    while True: os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)\n"
                 "except OSError: pass",
}
NEED = {
    "inotify": "import ctypes; assert ctypes.CDLL(None).inotify_init1(0) >= 0",
    "signals": "import ctypes, os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [40])\n"
               "assert ctypes.CDLL(None).sigqueue(os.getpid(), 40, None) == 0",
    "terminals": "import os; os.openpty()",
}


def need_on_host(what: str) -> None:
    if what == "inotify":
        fd = libc.inotify_init1(0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        os.close(fd)
    elif what == "signals":
        timer = ctypes.c_void_p()
        assert libc.timer_create(0, None, ctypes.byref(timer)) == 0, os.strerror(ctypes.get_errno())
        libc.timer_delete(timer)
    else:
        for fd in os.openpty():
            os.close(fd)


@pytest.mark.parametrize("what", USE_UP)
def test_used_up_by_one_and_there_for_all_others(shared, neighbour, what):
    process = hold(shared, USE_UP[what])
    try:
        need_on_host(what)
        out = neighbour.python(NEED[what], sudo=True)
        assert out.code == 0, out.stderr
    finally:
        let_go(shared, process)


def test_asynchronous_io_is_not_there(shared):
    used = pathlib.Path("/proc/sys/fs/aio-nr").read_text()
    out = shared.python("import ctypes; c = ctypes.CDLL(None, use_errno=True); x = ctypes.c_ulong()\n"
                        "print(c.syscall(206, 1000, ctypes.byref(x)), ctypes.get_errno())", sudo=True)
    assert out.text.split() == ["-1", "38"]
    assert pathlib.Path("/proc/sys/fs/aio-nr").read_text() == used


def test_locks_on_device_nodes_are_its_own(shared, neighbour):
    process = hold(shared, "import fcntl; f = open('/dev/null'); fcntl.flock(f, fcntl.LOCK_EX)")
    try:
        with open("/dev/null") as null:
            fcntl.flock(null, fcntl.LOCK_EX | fcntl.LOCK_NB)
        out = neighbour.python("import fcntl; fcntl.flock(open('/dev/null'), fcntl.LOCK_EX | fcntl.LOCK_NB)")
        assert out.code == 0, out.stderr
    finally:
        let_go(shared, process)


def test_the_host_s_use_of_devices_cannot_be_watched(shared):
    number = shared.open_stream()
    process = shared.spawn("python3", "-c", (
        "import ctypes, os, sys; c = ctypes.CDLL(None); f = c.inotify_init1(2048)\n"
        "assert c.inotify_add_watch(f, b'/dev/null', 0x23) >= 0\n"
        "print('watching', flush=True); sys.stdin.read()\n"
        "try: print(len(os.read(f, 65536)), 'bytes of events')\n"
        "except BlockingIOError: print('nothing')"), stdinStreamId=number)
    shared.start("processWait", pid=process["pid"])
    out = process["stdoutStreamId"]
    shared.wait(lambda: out in shared.streams and b"watching" in shared.streams[out].data)
    for _ in range(20):
        with open("/dev/null", "w") as null:
            null.write("x")
    shared.end_stream(number)
    assert shared.collect(process).text.endswith("nothing\n")


def test_datagrams_to_itself_stay_within_its_memory(shared):
    """On a host of cgroup version 1 these are not part of the memory limit; they have one of their own."""
    def pages() -> int:
        text = pathlib.Path("/proc/net/sockstat").read_text()
        return int(text.partition("UDP: inuse")[2].split("mem")[1].split()[0])
    before = pages()
    process = hold(shared, (
        "import os, socket, signal\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        kept, tx = [], socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "        try:\n"
        "            for _ in range(4000):\n"
        "                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)\n"
        "                s.bind(('127.0.0.1', 0)); kept.append(s)\n"
        "                for _ in range(6): tx.sendto(bytes(60000), socket.MSG_DONTWAIT, s.getsockname())\n"
        "        except OSError: pass\n"
        "        signal.pause()\n"
        "import time; time.sleep(6)"))
    try:
        assert (pages() - before) * 4096 < 600 << 20
    finally:
        let_go(shared, process)


def test_out_of_memory_takes_children_before_init(shared):
    assert shared.check_sh("cat /proc/1/oom_score_adj /proc/self/oom_score_adj").split() == ["300", "600"]
