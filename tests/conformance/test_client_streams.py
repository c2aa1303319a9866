# SPDX-License-Identifier: Apache-2.0
"""Processes at their edges: how they end, what they do not read, how many there are, whom they outlive."""

import asyncio
import os
import time

import pytest
from faces import settle

PIPED = {"stdout": "piped", "stderr": "piped"}


async def finished(sb, command, *args, **options):
    child = await settle(sb.spawn(command, args=list(args), **{**PIPED, **options}))
    status = await settle(child.wait())
    return status, await settle(child.stdout.read(-1)), await settle(child.stderr.read(-1))


@pytest.mark.parametrize("signal, number", [("SIGHUP", 1), ("SIGINT", 2), ("SIGQUIT", 3), ("SIGABRT", 6), ("SIGKILL", 9),
                                            ("SIGUSR1", 10), ("SIGSEGV", 11), ("SIGPIPE", 13), ("SIGALRM", 14),
                                            ("SIGTERM", 15), ("SIGXCPU", 24)])
async def test_ended_by_a_signal(sb, signal, number):
    status, _, _ = await finished(sb, "sh", "-c", f"ulimit -c 0; kill -{number} $$; sleep 9")
    assert status == {"success": False, "code": 128 + number, "signal": signal}


@pytest.mark.parametrize("code", [0, 1, 42, 127, 255])
async def test_ended_by_itself(sb, code):
    status, _, _ = await finished(sb, "bash", "-c", f"exit {code}")
    assert status == {"success": code == 0, "code": code, "signal": None}


async def test_pid_and_kill(sb):
    child = await settle(sb.spawn("sleep", args=["60"], **PIPED))
    status, out, _ = await finished(sb, "cat", f"/proc/{child.pid}/comm")
    assert (status["code"], out) == (0, b"sleep\n")
    if hasattr(child, "kill"):
        await child.kill()
    else:
        child.__exit__(None, None, None)
    for _ in range(50):
        if (await finished(sb, "test", "-d", f"/proc/{child.pid}"))[0]["code"]:
            return
    raise AssertionError("it is still there")


async def test_out_of_memory(face):
    async with face.create(memory_mb=768) as sb:
        status, _, _ = await finished(sb, "python3", "-c", "x = bytearray(2 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1")
        assert (status["code"], status["signal"]) == (137, "SIGKILL")
        assert (await finished(sb, "echo", "on"))[1] == b"on\n"


async def test_sudo_is_root_without_a_password(sb):
    status, out, _ = await finished(sb, "sudo", "-n", "id", "-u")
    assert (status["code"], out) == (0, b"0\n")


async def test_closed_stdin(sb):
    """Without a source the child reads an end at once."""
    status, out, _ = await finished(sb, "cat")
    assert (status["code"], out) == (0, b"")


async def test_stdin_closed_by_the_child(sb):
    data = os.urandom(2_000_000)
    parts = iter([data[at:at + 50_000] for at in range(0, len(data), 50_000)])
    status, out, _ = await finished(sb, "bash", "-c", "head -c 10 | wc -c; exec <&-; echo done", stdin_data=parts)
    assert (status["code"], out) == (0, b"10\ndone\n")
    assert (await finished(sb, "echo", "on"))[1] == b"on\n"


async def test_a_child_that_never_reads_holds_up_nobody(sb):
    parts = iter([bytes(65536)] * 100)
    child = await settle(sb.spawn("sleep", args=["2"], stdin_data=parts, **PIPED))
    begin = time.monotonic()
    assert (await finished(sb, "echo", "meanwhile"))[1] == b"meanwhile\n"
    assert time.monotonic() - begin < 1.5
    assert (await settle(child.wait()))["code"] == 0


async def test_stdin_half_closed_while_the_child_goes_on(sb):
    status, out, _ = await finished(sb, "bash", "-c", "cat; sleep 0.3; echo after", stdin_data=iter([b"before\n"]))
    assert (status["code"], out) == (0, b"before\nafter\n")


async def test_both_outputs_at_once(sb):
    script = "for i in {1..2000}; do printf '%0500d' 1; printf '%0500d' 2 >&2; done"
    status, out, err = await finished(sb, "bash", "-c", script)
    assert (status["code"], len(out), len(err)) == (0, 1_000_000, 1_000_000)


async def test_readexactly(sb):
    child = await settle(sb.spawn("bash", args=["-c", "printf abc; sleep 0.2; printf defg"], **PIPED))
    assert await settle(child.stdout.readexactly(5)) == b"abcde"
    assert await settle(child.stdout.readexactly(2)) == b"fg"
    with pytest.raises(asyncio.IncompleteReadError):
        await settle(child.stdout.readexactly(1))


@pytest.mark.seconds(120)
async def test_a_thousand_short_processes(sb):
    for _ in range(50):
        children = [await settle(sb.spawn("true", **PIPED)) for _ in range(20)]
        for child in children:
            assert (await settle(child.wait()))["code"] == 0
    out = (await finished(sb, "bash", "-c", "ls -d /proc/[0-9]* | wc -l"))[1]
    assert int(out) < 20


async def test_a_child_outlives_its_connection(face):
    async with face.create(timeout="1m") as sb:
        await settle(sb.spawn("bash", args=["-c", "sleep 1; echo late >late.txt"], stdout="null", stderr="null"))
        child = await settle(sb.spawn("setsid", args=["-f", "bash", "-c", "sleep 1; echo own >own.txt"], **PIPED))
        await settle(child.wait())
    async with face.connect(sb.id) as again:
        for _ in range(40):
            names = {e["name"] for e in await settle(again.fs.read_dir("."))}
            if "own.txt" in names:
                break
            await asyncio.sleep(0.1)
        assert "own.txt" in names
        await settle(again.kill())


async def test_chown(sb):
    await settle(sb.fs.write_text_file("owned", "x"))
    await settle(sb.fs.chown("owned", gid=1000))
    await settle(sb.fs.chown("owned"))
    with pytest.raises(Exception, match="EPERM"):
        await settle(sb.fs.chown("owned", uid=0))
    info = await settle(sb.fs.stat("owned"))
    assert (info["uid"], info["gid"]) == (1000, 1000)


async def test_close_and_closed(face):
    async with face.create() as sb:
        async with face.connect(sb.id) as other:
            assert other.closed is False
            await settle(other.close())
            assert other.closed is True
            with pytest.raises(Exception):
                await settle(other.env.get("HOME"))
        assert await settle(sb.env.get("HOME")) == "/home/app"
