# SPDX-License-Identifier: Apache-2.0
"""casemate-init over its data channel, without daemon or launcher (harness/guest.py). Needs root."""

import base64
import json
import os
import pathlib
import struct
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


@pytest.fixture(scope="module")
def guest():
    guest = Guest(INIT, trust=(b"-- BUNDLE --", b"-- CA --\n"))
    yield guest
    assert guest.close() == 0


@pytest.fixture
def own():
    """A guest that the test may disturb."""
    guest = Guest(INIT)
    yield guest
    assert guest.close() == 0


numbers = iter(range(1, 1 << 30))
RSS_MAX = (40 << 20) * (10 if "ASAN_OPTIONS" in os.environ else 1)


@pytest.fixture
def ch(guest):
    channel = guest.open(next(numbers))
    yield channel
    guest.send(g.CLOSE, channel.number, 0)


def code(failure):
    return failure.value.value["code"]


def sh(ch, text, **more):
    status, out, err = ch.run("bash", "-c", text, **more)
    assert status["success"], err
    return out.decode()


# Set-up.


def test_set_up(ch):
    assert sh(ch, "cat /etc/ssl/certs/ca-certificates.crt") == "-- BUNDLE --\n-- CA --\n"
    assert sh(ch, "cat /etc/casemate/ca.pem") == "-- CA --\n"
    assert len(sh(ch, "cat /etc/machine-id")) == 33
    assert sh(ch, "getent hosts $(cat /etc/hostname)").split()[0].startswith("127.")
    assert sh(ch, "echo $SETUP_NAME") == "set up\n"


def test_what_a_process_is(ch):
    assert sh(ch, "id -u; id -G; pwd; umask") == "1000\n1000 4242\n/home/app\n0022\n"
    assert sh(ch, "ls /proc/self/fd") == "0\n1\n2\n3\n"
    status = sh(ch, "cat /proc/self/status")
    for name in ("SigBlk", "SigIgn", "CapEff", "CapPrm", "CapInh"):
        assert f"{name}:\t0000000000000000\n" in status
    assert sh(ch, "echo to the device >/dev/stdout") == "to the device\n"


def test_init_is_out_of_reach(ch):
    assert sh(ch, "kill -9 1 2>/dev/null; cat /proc/1/environ /proc/1/maps 2>/dev/null; ls /proc/1/fd/ 2>/dev/null; echo") == "\n"


# The list of refusals.

DENIALS = "/run/casemate/denials.jsonl"


def deny(guest, **event):
    text = json.dumps({"ts": "2026-01-02T03:04:05.678Z", **event}, separators=(",", ":"))
    guest.send(g.DENIAL, 0, 0, text.encode())


def test_denials(own):
    ch = own.open()
    deny(own, ev="conn_deny", conn=7, port=443, name="evil.test", ip="198.18.0.9", reason="no rule allows it")
    deny(own, ev="conn_deny", conn=8, port=22, ip="10.0.0.1", reason="private address")
    deny(own, ev="misuse", name="api.test", secret="S1", where="body", path="/p", reason="not here")
    deny(own, ev="swap", name="api.test", secret="S1")
    for text in (b"", b"{", b"[]", b'"conn_deny"', b'{"ev":7}', b"\0" * 100, b'{"ev":"conn_deny","x":"\xff"}'):
        own.send(g.DENIAL, 0, 0, text)
    lines = [json.loads(line) for line in sh(ch, f"cat {DENIALS}").splitlines()]
    assert lines == [
        {"ts": "2026-01-02T03:04:05.678Z", "what": "connection", "host": "evil.test", "port": 443,
         "reason": "no rule allows it", "conn": 7},
        {"ts": "2026-01-02T03:04:05.678Z", "what": "connection", "host": "10.0.0.1", "port": 22,
         "reason": "private address", "conn": 8},
        {"ts": "2026-01-02T03:04:05.678Z", "what": "secret", "host": "api.test", "reason": "not here",
         "secret": "S1"}]
    assert sh(ch, f"stat -c '%u %a' {DENIALS} /run/casemate") == "0 644\n0 755\n"
    assert sh(ch, f"echo x >> {DENIALS} 2>/dev/null || echo no") == "no\n"


def test_denials_are_bounded(own):
    ch = own.open()
    for n in range(1200):
        deny(own, ev="conn_deny", conn=n, reason="x" * 1000)
    sizes = [int(size) for size in sh(ch, f"stat -c %s {DENIALS} {DENIALS}.1").split()]
    assert max(sizes) <= 1 << 20 and sum(sizes) > 1 << 20
    last = json.loads(sh(ch, f"tail -n 1 {DENIALS}"))
    assert last["conn"] == 1199
    deny(own, ev="conn_deny", reason="x" * 60000)
    assert json.loads(sh(ch, f"tail -n 1 {DENIALS}")) == last


def test_counts_of_secrets(own):
    ch = own.open()
    for text in (b'{"S1":{"swapped":1,"seen":0,"refused":0}}\n', b'{"S1":{"swapped":2,"seen":0,"refused":0}}\n',
                 b"[]", b"{", b""):
        own.send(g.COUNTS, 0, 0, text)
    assert json.loads(sh(ch, "cat /run/casemate/secrets.json"))["S1"]["swapped"] == 2
    assert sh(ch, "stat -c '%u %a' /run/casemate/secrets.json") == "0 644\n"
    assert sh(ch, "ls /run/casemate/secrets.json*") == "/run/casemate/secrets.json\n"


@pytest.mark.parametrize("trap", ["ln -s /etc/victim {}", "mkfifo {}", "mkdir {}", "mknod {} c 1 3"])
def test_denials_follow_nothing(own, trap):
    ch = own.open()
    root = f"/proc/{own.pid_of_init()}/root"
    os.makedirs(f"{root}/run/casemate", exist_ok=True)
    assert os.system(trap.format(root + DENIALS)) == 0
    deny(own, ev="conn_deny", reason="x")
    assert sh(ch, "cat /etc/victim 2>/dev/null; echo alive") == "alive\n"


# Processes.


def test_spawn_errors(ch):
    with pytest.raises(Failure) as e:
        ch.spawn("no-such-program")
    assert e.value.value["message"] == "No such file or directory (os error 2): spawn 'no-such-program'"
    assert (e.value.value["constructorName"], code(e)) == ("NotFound", "ENOENT")
    with pytest.raises(Failure) as e:
        ch.spawn("/etc/passwd")
    assert (e.value.value["constructorName"], code(e)) == ("PermissionDenied", "EACCES")
    with pytest.raises(Failure) as e:
        ch.spawn("true", cwd="/nope")
    assert code(e) == "ENOENT"
    with pytest.raises(Failure) as e:
        ch.spawn("true", env={"A=B": "x"})
    assert (e.value.value["constructorName"], code(e)) == ("TypeError", None)
    with pytest.raises(Failure) as e:
        ch.spawn("a\0b")
    assert (e.value.value["constructorName"], code(e)) == ("TypeError", None)


def test_exit_and_signal(ch):
    p = ch.spawn("sleep", "100", stdout="null", stderr="null")
    assert p["streams"] == (0, 0)
    waiting = ch.start("processWait", pid=p["pid"])
    assert ch.call("processKill", pid=p["pid"]) is None
    expected = {"success": False, "code": 143, "signal": "SIGTERM", "oom": None}
    assert ch.finish(waiting) == expected
    assert ch.call("processWait", pid=p["pid"]) == expected, "repeatable"
    for pid in (p["pid"], 999999, -1):
        with pytest.raises(Failure) as e:
            ch.call("processKill", pid=pid)
        assert (e.value.value["constructorName"], code(e)) == ("TypeError", "ENOENT")
    with pytest.raises(Failure) as e:
        ch.call("processKill", pid=1, signal="SIGEMT")
    assert (e.value.value["constructorName"], code(e)) == ("TypeError", None)
    with pytest.raises(Failure) as e:
        ch.call("processWait", pid=999999)
    assert code(e) == "ENOENT"


def test_oom_counter(own):
    ch = own.open()
    p = ch.spawn("sleep", "100")
    own.set_memory_events("low 0\noom_kill 1\n")
    ch.call("processKill", pid=p["pid"], signal="SIGKILL")
    assert ch.call("processWait", pid=p["pid"])["oom"] == "high-confidence"
    p = ch.spawn("sleep", "100")
    ch.call("processKill", pid=p["pid"], signal="SIGKILL")
    assert ch.call("processWait", pid=p["pid"])["oom"] is None


def test_environment_of_a_process(ch):
    status, out, _ = ch.run("/usr/bin/env", clearEnv=True, env={"ONLY": "this"})
    assert out == b"ONLY=this\n"
    assert ch.run("env", clearEnv=True)[1] == b""
    ch.call("envSet", key="FRAME_TEST", value="é\ud83d\ude00")
    assert ch.run("bash", "-c", "echo $FRAME_TEST$X", env={"X": "x"})[1].decode() == "é😀x\n"
    assert ch.call("envGet", key="FRAME_TEST") == "é😀"
    ch.call("envDelete", key="FRAME_TEST")
    assert ch.call("envGet", key="FRAME_TEST") is None
    assert ch.call("envToObject")["HOME"] == "/home/app"


def test_output_waits_for_process_wait(ch):
    p = ch.spawn("echo", "early")
    ch.guest.idle(0.5)
    assert not ch.streams
    assert ch.call("processWait", pid=p["pid"])["code"] == 0
    assert ch.streams[p["streams"][0]].data == b"early\n"
    assert all(ch.streams[n].ended for n in p["streams"]), "ends come before the answer"


def test_the_valve(ch):
    p = ch.spawn("echo", "valve")
    ch.guest.until(lambda: p["streams"][0] in ch.streams and ch.streams[p["streams"][0]].ended, 13)


def test_much_output(ch):
    status, out, err = ch.run("bash", "-c", "head -c 20000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    assert (len(out), len(err), status["code"]) == (20_000_000, 3_000_000, 0)


def test_grandchild_does_not_delay_the_answer(ch):
    p = ch.spawn("bash", "-c", "echo now; (sleep 1; echo later) &")
    begin = time.monotonic()
    assert ch.call("processWait", pid=p["pid"])["code"] == 0
    assert time.monotonic() - begin < 0.8
    out = ch.streams[p["streams"][0]]
    assert out.data == b"now\n" and not out.ended
    ch.guest.until(lambda: out.ended)
    assert out.data == b"now\nlater\n"


def test_cancel(ch):
    p = ch.spawn("bash", "-c", "for i in $(seq 200000); do echo $i; done; exit 7", stderr="null")
    number = p["streams"][0]
    waiting = ch.start("processWait", pid=p["pid"])
    ch.guest.until(lambda: number in ch.streams and ch.streams[number].data)
    ch.guest.send(g.CANCEL, ch.number, number)
    ch.call("envGet", key="X")
    mark = len(ch.log)
    assert ch.finish(waiting)["code"] == 7
    ch.guest.idle(0.3)
    assert not [f for f in ch.log[mark:] if f[0] in (g.DATA, g.END)]


def test_cancel_before_start(ch):
    p = ch.spawn("echo", "x", stderr="null")
    ch.guest.send(g.CANCEL, ch.number, p["streams"][0])
    assert ch.call("processWait", pid=p["pid"])["code"] == 0
    assert not ch.streams


def test_kill_a_process_of_root(own):
    ch = own.open()
    # A set-uid interpreter stands for sudo.
    root = pathlib.Path(f"/proc/{init_pid(own)}/root/usr/bin/as-root")
    root.write_bytes(pathlib.Path("/usr/bin/python3").read_bytes())
    root.chmod(0o4755)
    p = ch.spawn("as-root", "-c", "import os, time; os.setresuid(0, 0, 0); print('up', flush=True); time.sleep(100)")
    ch.start("processWait", pid=p["pid"])
    own.until(lambda: p["streams"][0] in ch.streams and ch.streams[p["streams"][0]].data == b"up\n")
    assert sh(ch, f"kill -9 {p['pid']} 2>/dev/null || echo refused") == "refused\n"
    ch.call("processKill", pid=p["pid"])
    assert ch.call("processWait", pid=p["pid"])["signal"] == "SIGTERM"


# Credit.


def test_credit_is_never_passed_and_others_go_on(own):
    slow, fast = own.open(1), own.open(2)
    slow.auto_credit = False
    p = slow.spawn("bash", "-c", "yes | head -c 10000000", stderr="null")
    waiting = slow.start("processWait", pid=p["pid"])
    own.until(lambda: slow.credit < 2000)
    begin = time.monotonic()
    assert len(fast.run("head", "-c", "5000000", "/dev/zero")[1]) == 5_000_000
    assert time.monotonic() - begin < 5
    assert waiting not in slow.results
    for size in (1, 100, 20, 5000, 70000):
        slow.give(size)
        own.idle(0.05)
    slow.auto_credit = True
    slow.give(1 << 20)
    assert slow.finish(waiting)["code"] == 0
    assert len(slow.streams[p["streams"][0]].data) == 10_000_000


def test_daemon_that_does_not_read(own):
    ch = own.open()
    ch.give(1 << 40)
    p = ch.spawn("bash", "-c", "yes & yes & yes & yes")
    ch.message({"id": 0, "method": "processWait", "params": {"pid": p["pid"]}}, g.CALL, 99)
    time.sleep(1)
    rss = int(pathlib.Path(f"/proc/{init_pid(own)}/statm").read_text().split()[1]) * 4096
    assert rss < RSS_MAX
    ch.call("processKill", pid=p["pid"], signal="SIGKILL")


def init_pid(guest):
    parent = guest.process.pid
    return int(pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


# Standard input.


def test_stdin(ch):
    ch.note("start", 5)
    ch.push(5, b"before ")
    p = ch.spawn("cat", stdinStreamId=5)
    ch.push(5, b"")
    ch.push(5, b"after")
    ch.note("end", 5)
    assert ch.call("processWait", pid=p["pid"])["code"] == 0
    assert ch.streams[p["streams"][0]].data == b"before after"
    assert not ch.refused


def test_stdin_beyond_memory(ch):
    piece = os.urandom(60_000)
    big = (1 << 53) - 1
    ch.note("start", big)
    p = ch.spawn("bash", "-c", "sleep 1; exec sha256sum", stdinStreamId=big)
    for _ in range(400):
        ch.push(big, piece)
    ch.call("envGet", key="X")
    rss = int(pathlib.Path(f"/proc/{init_pid(ch.guest)}/statm").read_text().split()[1]) * 4096
    assert rss < RSS_MAX
    ch.note("end", big)
    import hashlib

    assert ch.call("processWait", pid=p["pid"])["code"] == 0
    assert ch.streams[p["streams"][0]].data.split()[0].decode() == hashlib.sha256(piece * 400).hexdigest()


def test_closed_stdin_is_refused_once(ch):
    ch.note("start", 1)
    p = ch.spawn("bash", "-c", "exec <&-; sleep 0.5", stdinStreamId=1)
    ch.guest.until(lambda: 1 in ch.refused)
    assert ch.refused == {1: None}
    ch.push(1, b"x")
    ch.note("end", 1)
    assert ch.call("processWait", pid=p["pid"])["code"] == 0
    assert sum(f[0] == g.REFUSE for f in ch.log) == 1
    ch.note("start", 2)
    p = ch.spawn("sleep", "0.1", stdinStreamId=2)
    ch.guest.until(lambda: 2 in ch.refused)
    ch.note("start", 3)
    with pytest.raises(Failure):
        ch.spawn("nope", stdinStreamId=3)
    ch.guest.until(lambda: 3 in ch.refused)


def test_held_streams_are_bounded(ch):
    ch.note("start", 1)
    for _ in range(66):
        ch.push(1, bytes(1 << 20))
        if ch.refused:
            break
    ch.guest.until(lambda: 1 in ch.refused)
    with pytest.raises(Failure):
        ch.call("writeFile", path="x", contentStreamId=1)


# Files.


def test_write_and_read(ch):
    data = bytes(range(256)) * 1000
    ch.call("writeFile", path="f.bin", content=base64.b64encode(data).decode())
    assert base64.b64decode(ch.call("readFile", path="f.bin")) == data
    assert sh(ch, "stat -c '%u %g %a' f.bin") == "1000 1000 644\n"
    ch.call("writeTextFile", path="/home/app/t", content="é\n", options={"mode": 0o600})
    ch.call("writeTextFile", path="t", content="more", options={"append": True, "mode": 0o640})
    assert ch.call("readTextFile", path="t") == "é\nmore"
    assert ch.call("stat", path="t")["mode"] == 0o100640
    for options, name in (({"createNew": True}, "AlreadyExists"), ):
        with pytest.raises(Failure) as e:
            ch.call("writeTextFile", path="t", content="", options=options)
        assert e.value.value["constructorName"] == name
    with pytest.raises(Failure) as e:
        ch.call("writeTextFile", path="none", content="", options={"create": False})
    assert code(e) == "ENOENT"
    with pytest.raises(Failure) as e:
        ch.call("writeFile", path="none", content="a===")
    assert code(e) == -32602


def test_text_that_is_not_utf8(ch):
    ch.call("writeFile", path="bad", content=base64.b64encode(b"a\xff\x00b\xe2\x82").decode())
    text = ch.call("readTextFile", path="bad")
    assert text.startswith("a\ufffd\0b\ufffd")


def test_lone_surrogates(ch):
    text = rb'{"jsonrpc":"2.0","id":1,"method":"writeTextFile","params":{"path":"s","content":"a\ud800\udc00b\ud800c\udc00d\\ud800"}}'
    ch.next_call = 500
    ch.message(text, g.CALL, 499)
    assert ch.finish(499) is None
    assert ch.call("readTextFile", path="s") == "a\U00010000b\ufffdc\ufffdd\\ud800"


def test_files_act_as_app(ch):
    for method, params in (("writeTextFile", {"path": "/etc/x", "content": ""}), ("readFile", {"path": "/etc/shadow"}),
                           ("remove", {"path": "/etc/passwd"}), ("mkdir", {"path": "/usr/d"}),
                           ("readDir", {"path": "/root"}), ("chown", {"path": ".", "uid": 0})):
        with pytest.raises(Failure) as e:
            ch.call(method, **params)
        assert e.value.value["constructorName"] == "PermissionDenied"


def test_special_files_do_not_block(ch):
    sh(ch, "rm -f fifo; mkfifo fifo")
    for path in ("fifo", "/dev/null", "/dev/zero", "/home/app"):
        with pytest.raises(Failure) as e:
            ch.call("readFile", path=path)
        assert code(e) in ("ENOTSUP", "EISDIR")
    with pytest.raises(Failure):
        ch.call("writeTextFile", path="fifo", content="x")
    assert ch.call("readTextFile", path="/proc/version").startswith("Linux")


def test_files_that_do_not_tell_their_size_are_bounded(ch):
    # Of a size of none, and half a terabyte to read.
    pid = ch.call("spawn", command="sleep", args=["100"], stdout="null", stderr="null")["pid"]
    start = time.monotonic()
    for method in ("readTextFile", "readFile"):
        with pytest.raises(Failure) as e:
            ch.call(method, path=f"/proc/{pid}/pagemap")
        assert e.value.value["constructorName"] == "RangeError"
    assert time.monotonic() - start < 20
    ch.call("processKill", pid=pid)


def test_nobody_waits_for_a_lease(ch):
    take = "import fcntl, os, signal, time; signal.signal(signal.SIGIO, signal.SIG_IGN)\n" \
        "fd = os.open('leased', os.O_RDWR | os.O_CREAT); os.ftruncate(fd, 5)\n" \
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n" \
        "open('taken', 'w').close(); time.sleep(60)"
    pid = ch.call("spawn", command="python3", args=["-c", take], stdout="null", stderr="null")["pid"]
    end = time.monotonic() + 10
    while "taken" not in [e["name"] for e in ch.call("readDir", path=".")]:
        assert time.monotonic() < end
    start = time.monotonic()
    for method, params in (("truncate", {"name": "leased"}), ("readFile", {"path": "leased"}), ("open", {"path": "leased"}),
                           ("writeTextFile", {"path": "leased", "content": "x"})):
        with pytest.raises(Failure) as e:
            ch.call(method, **params)
        assert e.value.value["constructorName"] == "WouldBlock"
    assert time.monotonic() - start < 5
    assert ch.call("stat", path="leased")["size"] == 5
    ch.call("processKill", pid=pid, signal="SIGKILL")
    ch.call("processWait", pid=pid)
    ch.call("truncate", name="leased", length=3)
    assert ch.call("stat", path="leased")["size"] == 3


def test_write_from_a_stream(ch):
    ch.note("start", 1)
    ch.push(1, b"early ")
    n = ch.start("writeFile", path="stream", contentStreamId=1, options=None)
    time.sleep(0.1)
    ch.push(1, b"late")
    ch.guest.idle(0.1)
    assert n not in ch.results
    ch.note("end", 1)
    assert ch.finish(n) is None
    assert ch.call("readTextFile", path="stream") == "early late"
    ch.note("start", 2)
    ch.note("end", 2)
    assert ch.call("writeTextFile", path="empty", contentStreamId=2) is None
    for error, name in (("boom", "Error"), ({"constructorName": "RangeError", "message": "boom"}, "RangeError")):
        ch.note("start", 3)
        ch.note("error", 3, error=error)
        with pytest.raises(Failure) as e:
            ch.call("writeFile", path="stream", contentStreamId=3)
        assert (e.value.value["constructorName"], e.value.value["message"]) == (name, "boom")
    ch.note("start", 4)
    with pytest.raises(Failure) as e:
        ch.call("writeFile", path="/nope/x", contentStreamId=4)
    ch.guest.until(lambda: 4 in ch.refused)


def test_abort(ch):
    ch.note("start", 1)
    n = ch.start("writeFile", path="aborted", contentStreamId=1, abortId=7)
    assert ch.call("abort", abortId=8) is None
    assert ch.call("abort", abortId=7) is None
    with pytest.raises(Failure) as e:
        ch.finish(n)
    assert e.value.value["name"] == "AbortError"
    assert (e.value.value["constructorName"], code(e)) == ("DOMException", None)
    assert len(e.value.value) == 9


def test_directories(ch):
    with pytest.raises(Failure) as e:
        ch.call("mkdir", path="d/e")
    assert code(e) == "ENOENT"
    ch.call("mkdir", path="d/e/", options={"recursive": True, "mode": 0o700})
    ch.call("mkdir", path="d/e", options={"recursive": True})
    with pytest.raises(Failure) as e:
        ch.call("mkdir", path="d/e")
    assert e.value.value["constructorName"] == "AlreadyExists"
    ch.call("writeTextFile", path="d/f", content="12345")
    ch.call("symlink", target="f", path="d/l")
    entries = {i["name"]: i for i in ch.call("readDir", path="d")}
    assert {n: (i["isFile"], i["isDirectory"], i["isSymlink"]) for n, i in entries.items()} == {
        "e": (False, True, False), "f": (True, False, False), "l": (False, False, True)}
    assert ch.call("lstat", path="d/l")["isSymlink"] and ch.call("stat", path="d/l")["size"] == 5
    assert len(ch.call("stat", path="d")) == 21
    ch.call("rename", oldPath="d/f", newPath="d/g")
    with pytest.raises(Failure) as e:
        ch.call("rename", oldPath="d/f", newPath="d/g")
    assert e.value.value["message"] == "No such file or directory (os error 2): rename 'd/f' -> 'd/g'"
    with pytest.raises(Failure) as e:
        ch.call("remove", path="d")
    assert code(e) == "ENOTEMPTY"
    ch.call("remove", path="d", options={"recursive": True})
    with pytest.raises(Failure):
        ch.call("stat", path="d")
    with pytest.raises(Failure) as e:
        ch.call("remove", path="d", options={"recursive": True})
    assert code(e) == "ENOENT"


def test_remove_a_large_tree_without_following_links(ch):
    sh(ch, "set -e; mkdir keep tree; touch keep/me; ln -s ../keep tree/link; cd tree; "
           "for i in $(seq 300); do mkdir -p $i/a/b/c; touch $i/a/{1..20} $i/a/b/x; done; "
           "d=deep; for i in $(seq 200); do mkdir $d; cd $d; done")
    ch.call("remove", path="tree", options={"recursive": True})
    with pytest.raises(Failure):
        ch.call("lstat", path="tree")
    assert ch.call("stat", path="keep/me")["isFile"]


def test_attributes_and_links(ch):
    sh(ch, "rm -f a b c h l")
    ch.call("writeTextFile", path="a", content="hello")
    ch.call("chmod", path="a", mode=0o751)
    ch.call("copyFile", fromPath="a", toPath="b")
    assert ch.call("stat", path="b")["mode"] == 0o100751 and ch.call("readTextFile", path="b") == "hello"
    ch.call("copyFile", fromPath="a", toPath="a")
    assert ch.call("readTextFile", path="a") == "hello"
    ch.call("link", target="a", path="h")
    assert ch.call("stat", path="h")["nlink"] == 2
    ch.call("symlink", target="a", path="l", options={"type": "file"})
    assert ch.call("readLink", path="l") == "a" and ch.call("realPath", path="l") == "/home/app/a"
    ch.call("truncate", name="a", length=2)
    assert ch.call("readTextFile", path="a") == "he"
    ch.call("truncate", name="a", length=None)
    assert ch.call("stat", path="a")["size"] == 0
    ch.call("utime", path="a", atime="2026-01-02T03:04:05.678Z", mtime=1.5)
    info = ch.call("stat", path="a")
    assert (info["atime"], info["mtime"]) == ("2026-01-02T03:04:05.678Z", "1970-01-01T00:00:01.500Z")
    with pytest.raises(Failure) as e:
        ch.call("utime", path="a", atime="yesterday", mtime=0)
    assert code(e) == -32602
    ch.call("chown", path="a", uid=None, gid=4242)
    assert ch.call("stat", path="a")["gid"] == 4242
    assert ch.call("umask", mask=0o077) == 0o022
    assert ch.call("umask") == 0o077
    assert sh(ch, "umask") == "0077\n"
    assert ch.call("umask", mask=0o022) == 0o077
    d = ch.call("makeTempDir", options={"prefix": "p_"})
    f = ch.call("makeTempFile", options={"dir": d, "suffix": ".x"})
    assert d.startswith("/tmp/p_") and f.startswith(d + "/") and f.endswith(".x")
    assert ch.call("stat", path=d)["mode"] & 0o777 == 0o700 and ch.call("stat", path=f)["mode"] & 0o777 == 0o600


def test_large_results_come_in_pieces(ch):
    data = os.urandom(3_000_000)
    ch.call("writeFile", path="large", content=base64.b64encode(data).decode())
    p = ch.spawn("bash", "-c", "yes | head -c 3000000")
    waiting = ch.start("processWait", pid=p["pid"])
    assert base64.b64decode(ch.call("readFile", path="large")) == data
    assert ch.finish(waiting)["code"] == 0


def test_result_over_the_limit(guest):
    ch = guest.open(next(numbers), family=2, message_max=1 << 20)
    sh(ch, "head -c 1000000 /dev/zero >z; truncate -s 2T sparse")
    for method in ("readFile", "readTextFile"):
        for path in ("z", "sparse"):
            with pytest.raises(Failure) as e:
                ch.call(method, path=path)
            assert e.value.value["constructorName"] == "RangeError"
    ch.call("remove", path="sparse")
    sh(ch, "mkdir -p many; cd many; seq -f %0200g 8000 | xargs touch")
    with pytest.raises(Failure) as e:
        ch.call("readDir", path="many")
    assert e.value.value["constructorName"] == "RangeError"
    ch.call("remove", path="many", options={"recursive": True})


# RPC.


def test_method_not_found_and_not_supported(ch):
    with pytest.raises(Failure) as e:
        ch.call("download", localPath="a", sandboxPath="b")
    assert e.value.value == {"code": -32601, "message": "Method not found"}
    with pytest.raises(Failure) as e:
        ch.call("exposeHttp", domain="x", port=80)
    assert (e.value.value["constructorName"], code(e)) == ("NotSupported", "ENOTSUP")
    assert "exposeHttp" in e.value.value["message"] and len(e.value.value) == 9


def test_invalid_params(ch):
    with pytest.raises(Failure) as e:
        ch.call("readTextFile")
    failure = e.value.value
    assert (failure["code"], failure["message"]) == (-32602, "Invalid params")
    assert failure["data"]["constructorName"] == "ZodError"
    assert json.loads(failure["data"]["message"]) == [
        {"expected": "string", "code": "invalid_type", "path": ["path"],
         "message": "Invalid input: expected string, received undefined"}]
    with pytest.raises(Failure) as e:
        ch.call("spawn", command="x", args=["a", 1], env={"A": 1}, stdout="file", stderr="null", cwd=None)
    issues = json.loads(e.value.value["data"]["message"])
    assert [i["path"] for i in issues] == [["args", "1"], ["env", "A"], ["stdout"]]
    for text in (b"{", b"[]", b"{}", b'{"method":"stat","method":"stat"}', b'{"method":1}'):
        ch.message(text, g.CALL, 400)
        with pytest.raises(Failure) as e:
            ch.finish(400)
        assert code(e) == -32600
    ch.message(b'{"method":"envGet","params":{"key":"A","x":123456789012345678901234567890}}', g.CALL, 401)
    assert ch.finish(401) is None
    ch.message(b"{}", g.NOTE)
    ch.message(b"[", g.NOTE)
    ch.message(b"ping", g.DROP)
    assert ch.call("envGet", key="NOPE") is None


def test_two_channels_are_apart(guest):
    a, b = guest.open(next(numbers)), guest.open(next(numbers))
    a.note("start", 1)
    b.note("start", 1)
    a.push(1, b"of a")
    b.push(1, b"of b")
    b.note("end", 1)
    a.note("end", 1)
    na = a.start("writeFile", path="of-a", contentStreamId=1)
    nb = b.start("writeFile", path="of-b", contentStreamId=1)
    a.finish(na), b.finish(nb)
    assert (b.call("readTextFile", path="of-a"), a.call("readTextFile", path="of-b")) == ("of a", "of b")
    p = a.spawn("bash", "-c", "exit 3")
    assert b.call("processWait", pid=p["pid"])["code"] == 3


# Endings.


def test_closed_channel_keeps_its_processes(own):
    ch = own.open(1)
    p = ch.spawn("bash", "-c", "head -c 1000000 /dev/zero; sleep 0.2; echo done >finished; exit 5")
    ch.start("processWait", pid=p["pid"])
    ch.note("start", 9)
    ch.start("writeFile", path="half", contentStreamId=9)
    own.send(g.CLOSE, 1, 0)
    other = own.open(2)
    assert other.call("processWait", pid=p["pid"])["code"] == 5
    assert other.call("readTextFile", path="finished") == "done\n"


def test_new_data_channel(own):
    ch = own.open(1)
    p = ch.spawn("bash", "-c", "head -c 1000000 /dev/zero; sleep 0.5; exit 6")
    ch.start("processWait", pid=p["pid"])
    ch.call("envSet", key="KEPT", value="yes")
    own.connect()
    ch = own.open(1)
    assert ch.call("envGet", key="KEPT") == "yes"
    assert ch.call("processWait", pid=p["pid"])["code"] == 6


@pytest.mark.parametrize("frame", [
    struct.pack("<IBBHIQ", 1 << 20, 6, 0, 0, 1, 0),
    struct.pack("<IBBHIQ", 0, 99, 0, 0, 1, 0),
    struct.pack("<IBBHIQ", 0, g.MESSAGE, 0, 0, 1, 0),
    struct.pack("<IBBHIQ", 0, g.MESSAGE, g.CALL | g.NOTE, 0, 1, 0),
    struct.pack("<IBBHIQ", 0, g.OPEN, 0, 0, 1, 0),
    struct.pack("<IBBHIQ", 0, g.RESULT, 0, 0, 1, 0),
])
def test_broken_frames_end_the_data_channel_only(own, frame):
    ch = own.open(1)
    ch.call("envSet", key="KEPT", value="yes")
    own.data.sendall(frame)
    with pytest.raises((EOFError, ConnectionError)):
        own.idle(5)
    own.connect()
    assert own.open(1).call("envGet", key="KEPT") == "yes"


def test_orphans_are_reaped(ch):
    sh(ch, "for i in $(seq 50); do (sleep 0.1 & ) ; done")
    ch.guest.idle(0.5)
    assert "Z" not in sh(ch, "cut -d' ' -f3 /proc/[0-9]*/stat")


def test_many_processes_at_once(ch):
    calls = [ch.start("spawn", command="bash", args=["-c", f"echo {i}; exit {i % 256}"], stdout="piped", stderr="null")
             for i in range(200)]
    started = [ch.finish(n) for n in calls]
    waits = [ch.start("processWait", pid=p["pid"]) for p in started]
    for i, (p, n) in enumerate(zip(started, waits)):
        assert ch.finish(n)["code"] == i % 256
        assert ch.streams[p["streams"][0]].data == b"%d\n" % i
