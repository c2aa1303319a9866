# SPDX-License-Identifier: Apache-2.0
"""The audit trail: what stands in it, and what happens when it cannot be written."""

import dataclasses
import json
import os
import signal
import subprocess
import time

import pytest
from egress_bench import ALLOWED, S1, SECRETS, Box
from harness.instance import Instance, wait_until

DISK_BYTES = 96 * 1024


def told(events: list[dict]) -> int:
    """How many events these lines stand for."""
    return sum(1 + int(e.get("suppressed", 0)) for e in events)


def test_each_decision_is_told_with_its_names(lab, box):
    p1 = box.placeholder("S1")
    box.ok("https://api.test/told?not=this", "-H", f"x: {p1}")
    box.curl("https://evil.test/")
    box.ok("https://files.test/plain", "-k")
    request = lab.instance.audit.wait(ev="request", path="/told")
    swap = lab.instance.audit.wait(ev="swap", secret="S1", where="header")
    assert request["conn"] == swap["conn"]
    assert request["sandbox"] == box.id and request["method"] == "GET"
    assert int(request["bytes_up"]) > 80 and int(request["bytes_down"]) > 80
    assert 0 <= int(request["ms"]) < 5000
    assert request["name"] == "api.test" and request["port"] == 443 and request["ip"]
    assert lab.instance.audit.wait(ev="intercept", name="api.test")
    assert lab.instance.audit.wait(ev="conn_deny", name="evil.test")["reason"]
    passed = lab.instance.audit.wait(ev="passthrough", name="files.test")
    assert int(passed["bytes_up"]) > 0 and int(passed["bytes_down"]) > 0
    text = lab.instance.audit.file.read_text()
    assert p1 not in text and S1 not in text and "not=this" not in text


def test_a_flood_is_counted_to_the_last_one(lab, box):
    p1 = box.placeholder("S1")
    lab.forget()
    many = 400
    box.sandbox.check_sh(
        "for i in $(seq 400); do echo url=https://api.test/flood; echo output=/dev/null; done >c; "
        f"curl -sS -f -H 'x: {p1}' -K c")
    wait_until(lambda: told(lab.instance.audit.events(ev="swap", secret="S1")) >= many)
    assert told(lab.instance.audit.events(ev="swap", secret="S1")) == many
    wait_until(lambda: told(lab.instance.audit.events(ev="request")) >= many)
    assert told(lab.instance.audit.events(ev="request")) == many
    assert len(lab.instance.audit.events(ev="request")) < many, "the flood was one"


def casemate_audit(instance, *args: str) -> str:
    return subprocess.run([instance.build / "casemate", "audit", "--state", instance.state, *args],
                          check=True, capture_output=True, text=True, timeout=10).stdout


def test_the_command_shows_events_and_counts(lab):
    box = Box(lab, allow_net=ALLOWED, secrets=SECRETS)
    p1 = box.placeholder("S1")
    box.ok("https://api.test/one", "-H", f"x: {p1}")
    box.ok("https://api.test/two", "-H", f"x: {p1}")
    box.curl("https://two.test/", "-H", f"x: {box.placeholder('S3')}")
    box.ok("https://api.test/body", "-d", f"x={p1}")
    box.curl("https://files.test/", "-k")
    lab.instance.audit.wait(ev="passthrough", sandbox=box.id)
    shown = casemate_audit(lab.instance, "--sandbox", box.id, "--event", "swap").splitlines()
    assert len(shown) == 2 and all("api.test:443" in line and "secret=S1" in line for line in shown)
    lines = casemate_audit(lab.instance, "--sandbox", box.id, "--json").splitlines()
    assert {json.loads(line)["sandbox"] for line in lines} == {box.id}
    counts = [line.split() for line in casemate_audit(
        lab.instance, "--sandbox", box.id, "--secrets").splitlines()[1:]]
    assert [box.id, "S1", "2", "0", "1", "0"] in counts
    assert [box.id, "S3", "0", "0", "0", "1"] in counts
    box.close()


def audit_of(lab, state, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run([lab.instance.build / "casemate", "audit", "--state", state, *args],
                          capture_output=True, timeout=10)


HOSTILE = {"ts": "t", "ev": "request", "sandbox": "s", "name": "a b:1",
           "path": "/\x1b]0;x\x07\x9b2J\n\x7f\u202e\u2066\u061c name=\"forged\" \\"}


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_the_command_sends_no_control_bytes_to_a_terminal(lab, tmp_path, flag):
    lines = [json.dumps(HOSTILE, ensure_ascii=False), json.dumps(HOSTILE)]
    (tmp_path / "audit.jsonl").write_text("".join(line + "\n" for line in lines))
    done = audit_of(lab, tmp_path, *flag)
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.count(b"\n") == 2
    out = done.stdout.replace(b"\n", b"").decode()
    assert not [c for c in out if ord(c) < 0x20 or 0x7f <= ord(c) < 0xa0]
    if flag:
        assert [json.loads(line) for line in done.stdout.splitlines()] == [HOSTILE] * 2
    else:
        assert "\u202e" not in out and "\u2066" not in out and "\u061c" not in out
        assert out.count(r'"a b:1"') == 2 and out.count(r' name=\"forged\" \\" ') == 2


def test_the_command_tells_of_lines_that_it_cannot_read(lab, tmp_path):
    good = json.dumps({"ts": "t", "ev": "request", "sandbox": "s"})
    cut = good + "\n" + good[:-5]
    (tmp_path / "audit.jsonl").write_text("\n".join(["not json", good, "[]", "x" * 100000, cut]))
    done = audit_of(lab, tmp_path)
    told = done.stderr.decode().splitlines()
    assert done.returncode == 1 and done.stdout.count(b"request") == 2
    assert [line.split(" of ")[0] for line in told] == [f"casemate: line {n}" for n in (1, 3, 4)]
    assert "not an object" in told[1] and "longer than any event" in told[2]


@pytest.fixture
def own(lab, authority, tmp_path):
    """An instance that the test may stop, and whose files it may move."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o711)
    with Instance(state, f"--egress-ca={authority.cert}") as instance:
        yield dataclasses.replace(lab, instance=instance)


def test_the_file_may_be_rotated(own, tmp_path):
    """No event is lost or cut, and one who follows the trail reads on in the new file."""
    instance = own.instance
    file, old = instance.audit.file, instance.audit.file.with_suffix(".1")
    box = Box(own, allow_net=ALLOWED, secrets=SECRETS)
    shown = tmp_path / "shown"
    with shown.open("wb") as out:
        follower = subprocess.Popen([instance.build / "casemate", "audit", "--state",
                                     instance.state, "--json", "--event", "request", "--follow"],
                                    stdout=out)
    try:
        box.ok("https://api.test/before")
        instance.audit.wait(ev="request", path="/before")
        file.rename(old)
        box.ok("https://api.test/meanwhile")
        wait_until(lambda: b"/meanwhile" in old.read_bytes())
        instance.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "cannot reopen the audit file" in instance.log_file.read_text())
        box.ok("https://api.test/kept")
        wait_until(lambda: b"/kept" in old.read_bytes())
        file.touch()
        file.chmod(0o640)
        os.chown(file, old.stat().st_uid, old.stat().st_gid)
        instance.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "audit file reopened" in instance.log_file.read_text())
        box.ok("https://api.test/after")
        instance.audit.wait(ev="request", path="/after")
        assert b"/after" not in old.read_bytes() and b"/kept" not in file.read_bytes()
        wait_until(lambda: b"/after" in shown.read_bytes())
        assert [json.loads(line)["path"] for line in shown.read_bytes().splitlines()] == [
            "/before", "/meanwhile", "/kept", "/after"]
    finally:
        follower.kill()
        follower.wait()
    box.close()


def test_a_line_that_was_cut_does_not_swallow_the_next(own):
    instance = own.instance
    instance.stop()
    cut = b'{"ts":"2026-01-02T03:04:05.678Z","ev":"req'
    with instance.audit.file.open("ab") as f:
        f.write(cut)
    instance.start()
    box = Box(own, allow_net=ALLOWED, secrets=SECRETS)
    box.ok("https://api.test/later")
    instance.audit.wait(ev="request", path="/later")
    assert cut in instance.audit.file.read_bytes().splitlines()
    box.close()


@pytest.fixture
def small_disk(lab, authority, tmp_path):
    """An instance whose audit file is alone on a small disk."""
    disk, state = tmp_path / "disk", tmp_path / "state"
    disk.mkdir()
    state.mkdir()
    state.chmod(0o711)
    mounted = []
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", disk],
                       check=True)
        mounted.append(disk)
        (disk / "audit").touch()
        (state / "audit.jsonl").touch()
        subprocess.run(["mount", "--bind", disk / "audit", state / "audit.jsonl"], check=True)
        mounted.append(state / "audit.jsonl")
        with Instance(state, f"--egress-ca={authority.cert}") as instance:
            yield instance, disk
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", place], check=True)


def test_a_full_disk_stops_what_cannot_be_told(lab, small_disk):
    instance, disk = small_disk
    box = Box(dataclasses.replace(lab, instance=instance), allow_net=ALLOWED, secrets=SECRETS)
    p1 = box.placeholder("S1")
    path = "x" * 3000
    # More than the disk, the socket and the worker hold, below the rate at which it counts instead.
    script = (f"for i in $(seq 300); do curl -sS -f -m 5 -o /dev/null -H 'x: {p1}' "
              f"https://api.test/{path} || exit 9; sleep 0.01; done")
    out = box.sh(script, timeout=100)
    assert out.code == 9, "requests went on though nothing could be told of them"
    assert instance.log_file.read_text().count("audit file takes no line") == 1
    sent = len([r for r in lab.good.requests if r.target.endswith(path)])
    assert 0 < sent < 300

    # The service itself is alive, sandboxes run, and other sandboxes are made.
    began = time.monotonic()
    assert instance.listed(box.id)["status"] == "running"
    assert box.sh("echo here").text == "here\n"
    assert time.monotonic() - began < 2

    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
    wait_until(lambda: box.curl("-f", "https://api.test/again", "-H", f"x: {p1}").code == 0)
    lines = (disk / "audit").read_bytes().splitlines()
    events = [json.loads(line) for line in lines]
    swaps = told([e for e in events if e["ev"] == "swap"])
    assert swaps >= sent + 1, "what happened is told, also what was told of while the disk was full"
    assert "audit file takes lines again" in instance.log_file.read_text()
    box.close()


def test_a_policy_may_rather_go_on_with_a_full_disk(lab, small_disk):
    """`onAuditFailure` "drop": nothing is refused, and how much was not told of is told."""
    instance, disk = small_disk
    box = Box(dataclasses.replace(lab, instance=instance), allow_net=ALLOWED, secrets=SECRETS,
              onAuditFailure="drop")
    p1 = box.placeholder("S1")
    path = "d" * 3000
    # As many as stop a sandbox that would rather not: the test above.
    script = (f"for i in $(seq 300); do curl -sS -f -m 5 -o /dev/null -H 'x: {p1}' "
              f"https://api.test/{path} || exit 9; sleep 0.01; done")
    out = box.sh(script, timeout=100)
    assert out.code == 0, out.stderr
    assert "audit file takes no line" in instance.log_file.read_text()
    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)

    def is_told() -> bool:
        assert box.curl("-f", "https://api.test/again", "-H", f"x: {p1}").code == 0
        lines = (disk / "audit").read_bytes().splitlines()
        return sum(json.loads(line).get("dropped", 0) for line in lines if line.endswith(b"}")) > 0
    wait_until(is_told)
    box.close()
