# SPDX-License-Identifier: Apache-2.0
"""A sandbox whose casemate-init is the attacker's (hostile-init.c): whatever it puts into its frames,
another sandbox of the same client notices nothing, and the liar is ended."""

import pathlib
import subprocess
import time

import pytest
from harness import leaks
from harness.instance import REPO, Instance, build_dir, wait_until
from harness.rpc import Sandbox

SOURCES = ("base/buf.c", "base/fd.c", "base/mem.c", "wire/frame.c", "wire/pack.c")


@pytest.fixture(scope="module")
def hostile_build(tmp_path_factory) -> pathlib.Path:
    """A build directory like the real one, but for casemate-init."""
    folder = tmp_path_factory.mktemp("hostile-build")
    folder.chmod(0o755)
    for entry in build_dir().iterdir():
        if entry.name.startswith("casemate") and entry.is_file() and entry.name != "casemate-init":
            # Not links: a program may look for its companions beside its own real file.
            (folder / entry.name).write_bytes(entry.read_bytes())
            (folder / entry.name).chmod(0o755)
    (folder / "image").symlink_to((build_dir() / "image").resolve())
    here = pathlib.Path(__file__).parent
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1",
                    "-static", "-I", REPO / "src", "-o", folder / "casemate-init",
                    here / "hostile-init.c", *(REPO / "src" / s for s in SOURCES)], check=True)
    return folder


@pytest.fixture(scope="module")
def daemon(leaks_before, bench, hostile_build, tmp_path_factory):
    """One daemon whose guests are all of the attacker's making; one that is told no lie answers every
    call with null, and stands for an honest neighbour."""
    with Instance(tmp_path_factory.mktemp("state"), *bench.flags, build=hostile_build) as instance:
        yield instance
    assert not leaks.since(leaks_before)


ENDED = ["injection", "bad-base64", "other-channel", "garbage", "huge-length",
         "flood", "bad-utf8", "unknown-call", "twice", "deep", "wrong-kind", "hello-again", "hang-up"]


def memory_of(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("lie", ENDED)
def test_liar_is_ended_and_its_neighbour_is_untouched(daemon, lie):
    with Sandbox(daemon) as honest:
        assert honest.call("envGet", key="X") is None
        messages = len(honest.messages)
        liar = Sandbox(daemon, env={"HOSTILE": lie, "VICTIM": "4503599627370497"})
        before = memory_of(daemon.pid)
        call = liar.start("envGet", key="X")
        if lie == "flood":
            time.sleep(3)
            assert memory_of(daemon.pid) - before < 64 << 20
            daemon.request("DELETE", f"/api/v3/sandbox/{liar.id}")
        end = liar.wait_closed(15)
        assert end.code != 1000 or lie == "flood"
        assert not any("FORGED" in str(m) or "Rk9SR0VE" in str(m) for m in liar.messages
                       if lie not in ("flood",))
        assert not any(s.data == b"FORGED" for s in liar.streams.values())
        assert call is not None
        assert len(honest.messages) == messages, "the neighbour got something"
        assert honest.call("envGet", key="X") is None
        assert honest.closed is None
        if lie != "flood":
            assert daemon.listed(liar.id)["endReason"] == "fault"


def test_streams_that_nobody_announced_reach_nobody(daemon):
    """Dropped, as frames of a stream that its client has just cancelled are."""
    with Sandbox(daemon) as honest, Sandbox(daemon, env={
            "HOSTILE": "forged-streams", "VICTIM": "4503599627370497"}) as liar:
        liar.start("envGet", key="X")
        time.sleep(0.5)
        assert not liar.messages and not liar.streams and not honest.messages
        assert honest.call("envGet", key="X") is None


def test_results_carry_the_daemon_s_stream_ids_only(daemon):
    victim = 4503599627370497
    with Sandbox(daemon, env={"HOSTILE": "forged-result", "VICTIM": str(victim)}) as liar:
        process = liar.call("spawn", command="x", args=[], stdout="piped", stderr="piped")
        assert victim not in (process["stdoutStreamId"], process["stderrStreamId"])
        liar.wait(lambda: process["stdoutStreamId"] in liar.streams
                  and liar.streams[process["stdoutStreamId"]].ended, 5)
        assert victim not in liar.streams


def test_silent_init_holds_up_nobody(daemon):
    with Sandbox(daemon, env={"HOSTILE": "silence"}) as mute, Sandbox(daemon) as honest:
        mute.start("envGet", key="X")
        begin = time.monotonic()
        assert honest.call("envGet", key="X") is None
        assert time.monotonic() - begin < 1
        assert daemon.request("DELETE", f"/api/v3/sandbox/{mute.id}")[0] == 204


def test_its_disk_goes_whatever_it_left_in_the_control_socket(daemon):
    before = leaks.loops()
    with Sandbox(daemon, env={"HOSTILE": "pin-disk"}) as liar:
        disk = next(l for l in leaks.loops() - before if liar.id in l)
        liar.start("envGet", key="X")
        time.sleep(0.5)
        assert daemon.request("DELETE", f"/api/v3/sandbox/{liar.id}")[0] == 204
        wait_until(lambda: disk not in leaks.loops() and daemon.listed(liar.id)["status"] == "stopped", 10)
