# SPDX-License-Identifier: Apache-2.0
import asyncio
import io
import time

import pytest
from faces import settle


async def test_output_and_status(sb):
    child = await settle(sb.spawn("bash", args=["-c", "echo out; echo err >&2; exit 3"],
                                  stdout="piped", stderr="piped"))
    status = await settle(child.wait())
    assert await settle(child.stdout.read(-1)) == b"out\n"
    assert await settle(child.stderr.read(-1)) == b"err\n"
    assert status == {"success": False, "code": 3, "signal": None}


async def test_read_line_by_line_while_it_runs(sb):
    child = await settle(sb.spawn("bash", args=["-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"],
                                  stdout="piped", stderr="piped"))
    assert [await settle(child.stdout.readline()) for _ in range(4)] == [b"1\n", b"2\n", b"3\n", b""]


async def test_nothing_printed(sb):
    child = await settle(sb.spawn("true", stdout="piped", stderr="piped"))
    assert (await settle(child.wait()))["code"] == 0
    assert await settle(child.stdout.read(-1)) == b""


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
async def test_cat_gives_stdin_back(sb, size):
    data = bytes(i * 7 & 255 for i in range(size))
    parts = [data[at:at + 50_000] for at in range(0, size, 50_000)]
    for source in (iter(parts), io.BytesIO(data)):
        child = await settle(sb.spawn("cat", stdout="piped", stderr="piped", stdin_data=source))
        assert (await settle(child.wait()))["code"] == 0
        assert await settle(child.stdout.read(-1)) == data


async def test_megabytes_of_output(sb):
    child = await settle(sb.spawn("head", args=["-c", "8000000", "/dev/zero"],
                                  stdout="piped", stderr="piped"))
    assert len(await settle(child.stdout.read(-1))) == 8_000_000
    assert (await settle(child.wait()))["success"] is True


async def test_env_cwd_and_clear_env(sb):
    child = await settle(sb.spawn("bash", args=["-c", "echo $mark; pwd"], env={"mark": "é"},
                                  cwd="/tmp", stdout="piped", stderr="piped"))
    assert await settle(child.stdout.read(-1)) == "é\n/tmp\n".encode()
    child = await settle(sb.spawn("/usr/bin/env", env={"only": "1"}, clear_env=True,
                                  stdout="piped", stderr="piped"))
    assert await settle(child.stdout.read(-1)) == b"only=1\n"


async def test_unknown_command(sb):
    with pytest.raises(Exception, match="NotFound"):
        await settle(sb.spawn("no-such-command"))


async def test_killed_when_its_context_ends(sb):
    begin = time.monotonic()
    child = await settle(sb.spawn("sleep", args=["60"], stdout="piped", stderr="piped"))
    if hasattr(child, "__aenter__"):
        async with child:
            pass
    else:
        with child:
            pass
    assert time.monotonic() - begin < 10
    left = await settle(sb.spawn("pgrep", args=["-x", "sleep"], stdout="piped", stderr="piped"))
    await asyncio.sleep(0.2)
    assert await settle(left.stdout.read(-1)) == b""


async def test_already_finished_when_its_context_ends(sb):
    child = await settle(sb.spawn("true", stdout="piped", stderr="piped"))
    await settle(child.wait())
    if hasattr(child, "__aexit__"):
        await child.__aexit__(None, None, None)
    else:
        child.__exit__(None, None, None)


async def test_output_is_copied_by_default(sb, capfdbinary):
    child = await settle(sb.spawn("echo", args=["inherited"]))
    assert (await settle(child.wait()))["code"] == 0
    await asyncio.sleep(0.3)


async def test_at_the_same_time(sb):
    children = [await settle(sb.spawn("bash", args=["-c", f"seq {n * 1000} {n * 1000 + 999}"],
                                      stdout="piped", stderr="piped")) for n in range(20)]
    for n, child in enumerate(children):
        want = "".join(f"{i}\n" for i in range(n * 1000, n * 1000 + 1000)).encode()
        assert await settle(child.stdout.read(-1)) == want
