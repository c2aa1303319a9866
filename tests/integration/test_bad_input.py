# SPDX-License-Identifier: Apache-2.0
"""Input that is right in form and bad in kind: paths, files and messages that lead astray, change under the
reader, or are too much. Each gets a clear error; the sandbox and its other clients go on."""

import base64
import json
import struct
import threading
import time

import pytest

from harness import contract, rpc
from harness.rpc import AppError, RawSocket, Sandbox

LONG = "n" * (1 << 20)
# Each method that takes a path, with a path in the place to be tested.
PATHS = [
    ("readFile", "path", {}), ("readTextFile", "path", {}), ("writeFile", "path", {"content": ""}),
    ("writeTextFile", "path", {"content": ""}), ("readDir", "path", {}), ("remove", "path", {}),
    ("remove", "path", {"options": {"recursive": True}}), ("mkdir", "path", {}),
    ("mkdir", "path", {"options": {"recursive": True}}), ("rename", "oldPath", {"newPath": "x"}),
    ("rename", "newPath", {"oldPath": "x"}), ("stat", "path", {}), ("lstat", "path", {}),
    ("chmod", "path", {"mode": 0o600}), ("chown", "path", {"uid": None}), ("copyFile", "fromPath", {"toPath": "x"}),
    ("copyFile", "toPath", {"fromPath": "/etc/hostname"}), ("link", "target", {"path": "x"}),
    ("link", "path", {"target": "x"}), ("symlink", "target", {"path": "x"}), ("symlink", "path", {"target": "x"}),
    ("readLink", "path", {}), ("realPath", "path", {}), ("truncate", "name", {}),
    ("utime", "path", {"atime": 1, "mtime": 1}), ("walk", "path", {}), ("open", "path", {}), ("create", "path", {}),
    ("spawn", "command", {"stdout": "null", "stderr": "null"}),
    ("spawn", "cwd", {"command": "true", "stdout": "null", "stderr": "null"}),
]


def test_every_method_with_a_path_is_here():
    known = {(name, p["name"]) for name, m in contract.BUILT.items() for p in m["params"]
             if "path" in p["name"].lower() or p["name"] in ("target", "command", "cwd", "name")}
    deno = {k for k in known if "Deno" in k[0] or k[0] in ("fetch", "exposeHttp")}
    assert known - deno == {(method, key) for method, key, _ in PATHS}


def fails(sb: Sandbox, method: str, **params) -> dict:
    message = sb.answer(sb.start(method, **params))
    contract.check_answer(method, message)
    return message["result"]["error"]


@pytest.mark.parametrize("method, key, more", PATHS)
def test_nul(shared, method, key, more):
    for path in ("/etc/passwd\0.txt", "\0", "a\0"):
        error = fails(shared, method, **more, **{key: path})
        assert (error["constructorName"], error["code"]) == ("TypeError", None)
        assert "NUL" in error["message"]


@pytest.mark.parametrize("method, key, more", PATHS)
@pytest.mark.parametrize("path", [LONG, "/" + LONG, "../" * 400000, "n/" * 5000], ids=["name", "absolute", "up", "deep"])
def test_a_path_of_a_megabyte(shared, method, key, more, path):
    error = fails(shared, method, **more, **{key: path})
    if (key, path) == ("command", LONG):  # a name to search, and found nowhere
        assert (error["constructorName"], error["code"]) == ("NotFound", "ENOENT")
    else:
        assert (error["constructorName"], error["code"]) == ("Error", "ENAMETOOLONG")
    assert len(error["message"]) < 10000


@pytest.mark.parametrize("method, key, more", PATHS)
def test_an_empty_path(shared, method, key, more):
    assert fails(shared, method, **more, **{key: ""})["code"] == "ENOENT"


def test_up_and_up_ends_at_the_sandbox_s_root(shared):
    name = shared.call("readTextFile", path="/etc/hostname")
    assert shared.call("readTextFile", path="../" * 1000 + "etc/hostname") == name
    assert shared.call("realPath", path="../" * 1000) == "/"
    assert shared.call("realPath", path="/proc/self/root/../..") == "/"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", "/dev/tty", "fifo", "socket"])
def test_what_is_no_file(shared, path):
    shared.check_sh("rm -f fifo socket; mkfifo fifo; python3 -c 'import socket as s; s.socket(s.AF_UNIX).bind(\"socket\")'")
    begin = time.monotonic()
    for method, params in (("readFile", {"path": path}), ("readTextFile", {"path": path}), ("open", {"path": path}),
                           ("writeFile", {"path": path, "content": "eA=="}), ("create", {"path": path}),
                           ("open", {"path": path, "options": {"write": True}}),
                           ("copyFile", {"fromPath": path, "toPath": "x"}),
                           ("copyFile", {"fromPath": "/etc/hostname", "toPath": path}),
                           ("readDir", {"path": path}), ("readLink", {"path": path})):
        assert fails(shared, method, **params)["code"] in (
            "ENOTSUP", "ENXIO", "ENOTDIR", "EINVAL", "EACCES", "EPERM"), (method, path)
    assert time.monotonic() - begin < 5
    assert fails(shared, "truncate", name=path)["code"] in ("ENOTSUP", "EINVAL", "EACCES", "ENXIO", "EPERM")


def test_init_s_own_files_in_proc(shared):
    """init is who reads, so /proc/self is its own; acting as app it reaches neither its memory, nor its
    environment, nor what it holds open, and changes nothing of itself."""
    for who in ("self", "1", "thread-self"):
        for path in ("mem", "environ", "root/etc/shadow", "fd/4", "io", "auxv", "syscall"):
            error = fails(shared, "readFile", path=f"/proc/{who}/{path}")
            assert error["code"] in ("EACCES", "EPERM", "ENOENT"), (who, path)
        assert fails(shared, "readFile", path=f"/proc/{who}/fd/3")["code"] in ("ENXIO", "ENOTSUP", "EACCES")
        for path in ("mem", "oom_score_adj", "clear_refs", "coredump_filter", "uid_map"):
            error = fails(shared, "writeTextFile", path=f"/proc/{who}/{path}", content="0")
            assert error["code"] in ("EACCES", "EPERM", "ENOENT"), (who, path)
    assert shared.call("readTextFile", path="/proc/version").startswith("Linux")


@pytest.fixture
def busy(shared):
    """Runs a script of bash beside the calls of a test."""
    pids = []

    def start(script: str) -> None:
        pids.append(shared.spawn("bash", "-c", script, stdout="null", stderr="null")["pid"])

    yield start
    for pid in pids:
        shared.answer(shared.start("processKill", pid=pid, signal="SIGKILL"))
        shared.call("processWait", pid=pid)


def test_a_link_that_changes_under_remove(shared, busy):
    """The tree's folder and a link to another folder take turns in one place; what is behind the link stays."""
    shared.check_sh("mkdir -p outside && touch outside/keep{1..50}")
    busy("""mkdir -p race; ln -s ~/outside link
            while :; do mkdir -p race/d/{1..5} 2>/dev/null; touch race/d/f{1..5} 2>/dev/null
              mv -T race/d gone 2>/dev/null; cp -P link race/d 2>/dev/null; rm -f race/d; mv -T gone race/d; done""")
    outcomes = set()
    until = time.monotonic() + 3
    while time.monotonic() < until:
        message = shared.answer(shared.start("remove", path="race", options={"recursive": True}))
        contract.check_answer("remove", message)
        outcomes.add("ok" in message["result"])
        shared.call("mkdir", path="race", options={"recursive": True})
    assert True in outcomes
    assert len(shared.call("readDir", path="outside")) == 50


def test_a_link_that_changes_under_writes(shared, busy):
    """Between looking and opening there is nothing to win: files are opened as app, once."""
    busy("while :; do ln -sfn /etc/passwd turn; echo mine >own; mv -f own turn; done")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        message = shared.answer(shared.start("writeTextFile", path="turn", content="x"))
        contract.check_answer("writeTextFile", message)
        assert message["result"].get("error", {}).get("code") in (None, "EACCES", "ENOENT"), message
    assert shared.call("readTextFile", path="/etc/passwd").startswith("root:")


@pytest.mark.parametrize("method", ["readFile", "readTextFile"])
def test_a_file_that_grows_while_it_is_read(shared, busy, method):
    shared.check_sh("echo >grows")
    busy("exec dd if=/dev/zero of=grows bs=64k count=8000 oflag=append conv=notrunc")
    for _ in range(5):
        message = shared.answer(shared.start(method, path="grows"), timeout=20)
        contract.check_answer(method, message)
        error = message["result"].get("error")
        assert error is None or error["constructorName"] == "RangeError"
        if error is None and method == "readFile":
            base64.b64decode(message["result"]["ok"], validate=True)
    assert shared.call("envGet", key="HOME") == "/home/app"


def test_a_file_that_shrinks_while_it_is_read(shared, busy):
    shared.check_sh("head -c 8000000 /dev/zero >shrinks")
    busy("while :; do truncate -s 10 shrinks; truncate -s 8000000 shrinks; done")
    for _ in range(20):
        data = shared.read("shrinks")
        assert len(data) <= 8000000 and not data.strip(b"\0")


@pytest.mark.parametrize("method, params", [("walk", {"path": "tree"}), ("expandGlob", {"glob": "tree/**"})])
def test_a_tree_deleted_during_the_walk(shared, method, params):
    shared.check_sh("rm -rf tree; mkdir -p tree/{1..60}/{1..20}; touch tree/{1..60}/{1..20}/f")
    number = shared.call(method, **params)["streamId"]
    shared.check_sh("rm -rf tree")
    shared.wait(lambda: number in shared.streams and shared.streams[number].ended)
    error = shared.streams[number].error
    assert error is None or error["code"] == "ENOENT"


def test_a_directory_deleted_before_it_is_read(shared, busy):
    busy("while :; do mkdir -p brief && touch brief/{1..20} 2>/dev/null; rm -rf brief; done")
    for _ in range(300):
        message = shared.answer(shared.start("readDir", path="brief"))
        contract.check_answer("readDir", message)
        assert message["result"].get("error", {}).get("code") in (None, "ENOENT")


def test_handles_after_close_and_of_another_client(instance, shared):
    handle = shared.call("open", path="/etc/hostname")["fileHandleId"]
    uses = [(name, {"fileHandleId": handle}) for name in (
        "fileStat", "fileSync", "fileSyncData", "fileLock", "fileUnlock", "fileTruncate")]
    uses += [("fileRead", {"fileHandleId": handle, "length": 1}), ("fileWrite", {"fileHandleId": handle, "data": ""}),
             ("fileSeek", {"fileHandleId": handle, "offset": 0, "whence": 0}),
             ("fileUtime", {"fileHandleId": handle, "atime": 1, "mtime": 1}), ("fileClose", {"fileHandleId": handle})]
    assert {name for name, _ in uses} == {n for n in contract.BUILT if n.startswith("file")}
    with Sandbox(instance, id=shared.id) as other:
        for method, params in uses:
            error = fails(other, method, **params)
            assert (error["constructorName"], error["code"]) == ("BadResource", "EBADF"), method
    assert shared.call("fileRead", fileHandleId=handle, length=100)["data"]
    shared.call("fileClose", fileHandleId=handle)
    for method, params in uses:
        assert fails(shared, method, **params)["code"] == "EBADF", method


def test_names_that_are_not_utf8(shared):
    shared.check_sh("mkdir -p odd/$'d\\xff' && touch odd/$'d\\xff'/$'f\\xfe' && ln -sfn $'to\\xfd' odd/link")
    assert {e["name"] for e in shared.call("readDir", path="odd")} == {"d\ufffd", "link"}
    assert shared.call("readLink", path="odd/link") == "to\ufffd"
    for method, params in (("walk", {"path": "odd"}), ("expandGlob", {"glob": "odd/**"})):
        number = shared.call(method, **params)["streamId"]
        shared.wait(lambda n=number: n in shared.streams and shared.streams[n].ended)
        assert "f\ufffd" in shared.streams[number].data.decode(), method
    # The name that is told is not the name that it has.
    assert fails(shared, "readDir", path="odd/d\ufffd")["code"] == "ENOENT"


def test_a_message_in_fragments_that_is_too_long(shared):
    """129 MiB in fragments of one; the key of the mask is zero, so that making them costs nothing."""
    piece = bytes(1 << 20).replace(b"\0", b" ")
    with RawSocket(shared.instance, timeout=30) as sock:
        assert sock.upgrade(f"/api/v3/sandbox/{shared.id}/connect", config=None)[0] == 101
        code = []
        reader = threading.Thread(target=lambda: code.append(sock.close_code()))
        reader.start()
        try:
            for i in range(129):
                opcode = rpc.CONTINUATION if i else rpc.TEXT
                sock.send(bytes([opcode, 0xFF]) + struct.pack(">Q", len(piece)) + bytes(4) + piece)
        except ConnectionError:
            pass  # it may have stopped listening before
        reader.join()
        assert code == [1009]
    assert shared.check_sh("echo on") == "on\n"


def cheap_frame(payload: bytes) -> bytes:
    """A text frame whose mask is zero, so that making it costs nothing."""
    return bytes([0x80 | rpc.TEXT, 0xFF]) + struct.pack(">Q", len(payload)) + bytes(4) + payload


@pytest.mark.seconds(120)
@pytest.mark.parametrize("more", [0, 1])
def test_the_longest_message(shared, more):
    """128 MiB to the byte are taken, one byte more is not."""
    size = contract.DOCUMENT["x-limits"]["messageBytes"] + more
    text = b'{"jsonrpc":"2.0","id":1,"method":"envGet","params":{"key":"HOME"}'
    text += b" " * (size - len(text) - 1) + b"}"
    with RawSocket(shared.instance, timeout=60) as sock:
        assert sock.upgrade(f"/api/v3/sandbox/{shared.id}/connect", config=None)[0] == 101
        try:
            sock.send(cheap_frame(text))
        except ConnectionError:
            assert more  # it may have stopped listening before
        if more:
            assert sock.close_code() == 1009
        else:
            opcode, _, payload = sock.frame()
            assert opcode == rpc.TEXT, payload
            assert json.loads(payload) == {"jsonrpc": "2.0", "id": 1, "result": {"ok": "/home/app"}}
    assert shared.check_sh("echo on") == "on\n"


@pytest.mark.seconds(120)
def test_a_document_that_is_much_larger_than_its_text(shared):
    """Empty arrays: a few bytes of text, some hundred of memory each."""
    shared.send('{"jsonrpc":"2.0","id":"bomb","method":"envGet","params":{"key":"HOME","x":[' + "[]," * 8_000_000 + "0]}}")
    message = shared.answer("bomb", timeout=100)
    assert message.get("error", {}).get("code") == -32600
    assert shared.call("envGet", key="HOME") == "/home/app"
    assert shared.check_sh("echo on") == "on\n"


def test_output_that_is_not_utf8_comes_unchanged(shared):
    assert shared.sh(r"printf '\xff\xfe\x00\xed\xa0\x80'").stdout == b"\xff\xfe\x00\xed\xa0\x80"


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\ude00\\ud83d"', '"\\ud83d"'])
def test_surrogates_in_content(shared, text):
    shared.send('{"jsonrpc":"2.0","id":%s,"method":"writeTextFile","params":{"path":"s","content":%s}}' % (text, text))
    number = json.loads(text)
    assert shared.answer(number)["result"] == {"ok": None}
    want = "".join("\ufffd" if "\ud800" <= unit <= "\udfff" else unit for unit in number)
    assert shared.call("readTextFile", path="s") == want


def test_no_error_is_a_plain_failure(shared):
    """What an application did wrong is a result; a protocol error would hide its class."""
    with pytest.raises(AppError) as caught:
        shared.call("readFile", path="/etc/shadow")
    assert caught.value.error["constructorName"] == "PermissionDenied"
    assert caught.value.error["message"] == "Permission denied (os error 13): readfile '/etc/shadow'"
