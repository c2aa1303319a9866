# SPDX-License-Identifier: Apache-2.0
"""Open files of a client: casemate-init alone, in frames (harness/guest.py). Needs root."""

import base64
import os
import pathlib
import time

import pytest
from harness import guest as g
from harness.guest import Failure, Guest
from harness.instance import build_dir

INIT = str(build_dir() / "casemate-init")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces"),
    pytest.mark.skipif(not os.path.exists(INIT), reason=f"{INIT} is not built"),
]

HANDLES_MAX = 1024


@pytest.fixture(scope="module")
def guest():
    guest = Guest(INIT)
    yield guest
    assert guest.close() == 0


numbers = iter(range(1, 1 << 30))


@pytest.fixture
def ch(guest):
    channel = guest.open(next(numbers))
    yield channel
    guest.send(g.CLOSE, channel.number, 0)


def opened(ch, path, **options):
    return ch.call("open", path=path, options=options)["fileHandleId"]


def read(ch, handle, length=65536):
    data = ch.call("fileRead", fileHandleId=handle, length=length)["data"]
    return None if data is None else base64.b64decode(data)


def write(ch, handle, data):
    return ch.call("fileWrite", fileHandleId=handle, data=base64.b64encode(data).decode())["bytesWritten"]


def seek(ch, handle, offset, whence=0):
    return ch.call("fileSeek", fileHandleId=handle, offset=offset, whence=whence)["position"]


def fails(ch, name, method, **params):
    with pytest.raises(Failure) as e:
        ch.call(method, **params)
    assert e.value.value.get("constructorName", e.value.value["code"]) == name
    return e.value.value


def open_files(guest):
    parent = guest.process.pid
    init = int(pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
    return len(os.listdir(f"/proc/{init}/fd"))


def test_read_write_seek(ch):
    h = opened(ch, "rw", read=True, write=True, create=True, truncate=True)
    assert read(ch, h) is None
    assert write(ch, h, b"0123456789") == 10
    assert seek(ch, h, 5) == 5
    assert read(ch, h, 5) == b"56789"
    assert read(ch, h, 5) is None
    assert read(ch, h, 0) == b""
    assert (seek(ch, h, "2"), seek(ch, h, 3, 1), seek(ch, h, "-4", 2)) == (2, 5, 6)
    assert read(ch, h, 2) == b"67"
    assert seek(ch, h, "9007199254740993") == 9007199254740993
    fails(ch, "TypeError", "fileSeek", fileHandleId=h, offset=-1, whence=0)
    for offset in ("x", "", "1x", " 1", "9999999999999999999", 0.5, None, True):
        fails(ch, -32602, "fileSeek", fileHandleId=h, offset=offset, whence=0)
    fails(ch, -32602, "fileSeek", fileHandleId=h, offset=0, whence=3)
    fails(ch, -32602, "fileWrite", fileHandleId=h, data="a===")
    assert ch.call("fileClose", fileHandleId=h) is None
    assert fails(ch, "BadResource", "fileRead", fileHandleId=h, length=1)["code"] == "EBADF"


def test_every_method_knows_its_handles(ch):
    for method, params in (("fileClose", {}), ("fileLock", {}), ("fileRead", {"length": 1}), ("fileStat", {}),
                           ("fileSeek", {"offset": 0, "whence": 0}), ("fileSync", {}), ("fileSyncData", {}),
                           ("fileTruncate", {}), ("fileUnlock", {}), ("fileUtime", {"atime": 1, "mtime": 1}),
                           ("fileWrite", {"data": ""})):
        fails(ch, "BadResource", method, fileHandleId=77, **params)
        fails(ch, -32602, method, **params)


def test_read_is_bounded(ch):
    data = os.urandom(600_000)
    h = opened(ch, "large", read=True, write=True, create=True)
    assert write(ch, h, data) == len(data)
    seek(ch, h, 0)
    first = read(ch, h, 1 << 40)
    assert len(first) == 512 * 1024
    assert first + read(ch, h, 1 << 40) == data


def test_open_options(ch):
    ch.call("remove", path="opt") if "opt" in {e["name"] for e in ch.call("readDir", path=".")} else None
    fails(ch, "NotFound", "open", path="opt")
    fails(ch, "NotFound", "open", path="opt", options={"write": True})
    for wrong in ({"create": True}, {"truncate": True}, {"read": True, "createNew": True},
                  {"append": True, "truncate": True}):
        fails(ch, "TypeError", "open", path="opt", options=wrong)
    h = opened(ch, "opt", write=True, createNew=True, mode=0o600)
    assert ch.call("fileStat", fileHandleId=h)["mode"] == 0o100600
    fails(ch, "AlreadyExists", "open", path="opt", options={"write": True, "createNew": True})
    write(ch, h, b"one")
    fails(ch, "BadResource", "fileRead", fileHandleId=h, length=1)
    h = opened(ch, "opt", append=True, read=True)
    write(ch, h, b" two")
    seek(ch, h, 0)
    assert read(ch, h) == b"one two"
    for options in ({}, {"read": True}, {"mode": 0o777}):
        h = opened(ch, "opt", **options)
        assert read(ch, h) == b"one two"
        fails(ch, "BadResource", "fileWrite", fileHandleId=h, data="AA==")
    h = ch.call("create", path="opt")["fileHandleId"]
    assert read(ch, h) is None and write(ch, h, b"new") == 3
    assert ch.call("readTextFile", path="opt") == "new"
    ch.call("mkdir", path="a-directory", options={"recursive": True})
    fails(ch, "IsADirectory", "open", path="a-directory")
    fails(ch, "PermissionDenied", "open", path="/etc/shadow")
    fails(ch, "PermissionDenied", "create", path="/etc/new")


def test_attributes(ch):
    h = opened(ch, "attributes", read=True, write=True, create=True)
    write(ch, h, b"12345")
    info = ch.call("fileStat", fileHandleId=h)
    assert (info["size"], info["isFile"], len(info)) == (5, True, 21)
    assert ch.call("fileSync", fileHandleId=h) is None
    assert ch.call("fileSyncData", fileHandleId=h) is None
    for params, size in (({"len": 7}, 7), ({"size": 3}, 3), ({"len": 2, "size": 9}, 2), ({}, 0), ({"size": None}, 0)):
        assert ch.call("fileTruncate", fileHandleId=h, **params) is None
        assert ch.call("fileStat", fileHandleId=h)["size"] == size
    date = "2026-01-02T03:04:05.678Z"
    ch.call("fileUtime", fileHandleId=h, atime=date, mtime=date)
    assert ch.call("fileStat", fileHandleId=h)["mtime"] == date
    ch.call("fileUtime", fileHandleId=h, atime=1.5, mtime=2)
    info = ch.call("fileStat", fileHandleId=h)
    assert (info["atime"], info["mtime"]) == ("1970-01-01T00:00:01.500Z", "1970-01-01T00:00:02.000Z")
    fails(ch, -32602, "fileUtime", fileHandleId=h, atime="never", mtime=0)


def test_writing_clears_set_uid(ch):
    h = opened(ch, "suid", write=True, create=True)
    ch.call("chmod", path="suid", mode=0o4755)
    write(ch, h, b"x")
    assert ch.call("stat", path="suid")["mode"] & 0o7777 == 0o755


def test_lock_waits_and_nobody_else_does(guest, ch):
    other = guest.open(next(numbers))
    a = opened(ch, "lock", read=True, write=True, create=True)
    b = opened(other, "lock", read=True)
    assert ch.call("fileLock", fileHandleId=a, exclusive=True) is None
    waiting = other.start("fileLock", fileHandleId=b)
    guest.idle(0.2)
    assert waiting not in other.results
    assert ch.call("envGet", key="X") is None
    assert ch.call("fileUnlock", fileHandleId=a) is None
    assert other.finish(waiting) is None
    assert ch.call("fileLock", fileHandleId=a, exclusive=None) is None, "shared locks do not exclude"
    waiting = ch.start("fileLock", fileHandleId=a, exclusive=True, abortId=3)
    ch.call("abort", abortId=3)
    with pytest.raises(Failure) as e:
        ch.finish(waiting)
    assert e.value.value["name"] == "AbortError"
    waiting = ch.start("fileLock", fileHandleId=a, exclusive=True)
    assert ch.call("fileClose", fileHandleId=a) is None
    with pytest.raises(Failure) as e:
        ch.finish(waiting)
    assert e.value.value["constructorName"] == "BadResource"
    a = opened(ch, "lock", read=True)
    waiting = ch.start("fileLock", fileHandleId=a, exclusive=True)
    guest.send(g.CLOSE, other.number, 0)
    assert ch.finish(waiting) is None, "the lock went with the client that held it"


def test_handles_belong_to_their_client_and_go_with_it(guest, ch):
    ch.call("envGet", key="X")  # the clients of former tests are gone
    before = open_files(guest)
    other = guest.open(next(numbers))
    handles = [opened(other, "/etc/passwd") for _ in range(50)]
    assert len(set(handles)) == 50
    fails(ch, "BadResource", "fileRead", fileHandleId=handles[-1], length=1)
    assert open_files(guest) == before + 50
    waiting = opened(other, "lock", read=True, write=True, create=True)
    mine = opened(ch, "lock")
    ch.call("fileLock", fileHandleId=mine)
    other.start("fileLock", fileHandleId=waiting, exclusive=True)
    other.call("envGet", key="X")
    guest.send(g.CLOSE, other.number, 0)
    ch.call("envGet", key="X")
    ch.call("fileClose", fileHandleId=mine)
    assert open_files(guest) == before


def test_handles_are_bounded(guest, ch):
    ch.call("envGet", key="X")  # the clients of former tests are gone
    before = open_files(guest)
    handles = [opened(ch, "/etc/passwd") for _ in range(HANDLES_MAX)]
    assert fails(ch, "Error", "open", path="/etc/passwd")["code"] == "EMFILE"
    ch.call("fileClose", fileHandleId=handles[0])
    assert opened(ch, "/etc/passwd") not in handles
    for handle in handles[1:]:
        ch.call("fileClose", fileHandleId=handle)
    assert open_files(guest) == before + 1


def test_special_files_do_not_block(ch):
    ch.run("mkfifo", "fifo-handle")
    begin = time.monotonic()
    fails(ch, "NotSupported", "open", path="fifo-handle")
    fails(ch, "NotSupported", "open", path="/dev/zero")
    assert time.monotonic() - begin < 2
