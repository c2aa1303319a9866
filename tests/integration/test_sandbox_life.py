# SPDX-License-Identifier: Apache-2.0
"""How long a sandbox lives, and what clients are told at its end (protocol 3.5, 6)."""

import time

import pytest
from harness.instance import wait_until
from harness.rpc import Sandbox
from websockets.exceptions import InvalidStatus


def now_ms() -> int:
    return int(time.time() * 1000)


def gone(instance, sandbox_id: str) -> bool:
    try:
        Sandbox(instance, id=sandbox_id).close()
    except InvalidStatus as refused:
        assert refused.response.status_code == 404
        return True
    return False


def test_a_session_ends_when_its_creator_closes(instance):
    sandbox = Sandbox(instance)
    second = Sandbox(instance, id=sandbox.id)
    sandbox.close()
    end = second.wait_closed()
    assert (end.code, end.reason) == (1000, "session ended")
    assert gone(instance, sandbox.id)


def test_a_session_ends_when_its_creator_is_cut_off(instance):
    sandbox = Sandbox(instance)
    second = Sandbox(instance, id=sandbox.id)
    sandbox.ws.socket.close()
    assert second.wait_closed(10).code == 1000


def test_a_second_client_neither_ends_nor_keeps_it(instance):
    with Sandbox(instance) as sandbox:
        Sandbox(instance, id=sandbox.id).close()
        time.sleep(0.3)
        assert sandbox.check_sh("echo on") == "on\n"


def test_a_timed_sandbox_lives_without_clients_and_ends_in_time(instance):
    stop = now_ms() + 2500
    sandbox = Sandbox(instance, stop_at_ms=stop)
    sandbox.close()
    time.sleep(0.5)
    again = Sandbox(instance, id=sandbox.id)
    assert again.check_sh("echo on") == "on\n"
    end = again.wait_closed()
    assert (end.code, end.reason) == (1001, "sandbox timed out")
    assert -200 < now_ms() - stop < 2000
    assert gone(instance, sandbox.id)
    wait_until(lambda: instance.listed(sandbox.id)["status"] == "stopped")
    listed = instance.listed(sandbox.id)
    assert listed["stoppedAt"]
    assert listed["endReason"] == "timeout"


def test_extend(instance):
    sandbox = Sandbox(instance, stop_at_ms=now_ms() + 2000)
    later = now_ms() + 5000
    status, _, body = instance.request("PATCH", f"/api/v3/sandbox/{sandbox.id}",
                                       {"stop_at_ms": later})
    assert (status, body) == (200, {"stop_at_ms": later})
    status, _, body = instance.request("PATCH", f"/api/v3/sandbox/{sandbox.id}",
                                       {"stop_at_ms": now_ms() + 100})
    assert body == {"stop_at_ms": later}, "never earlier than it is"
    time.sleep(2.5)
    assert sandbox.check_sh("echo on") == "on\n"
    assert sandbox.wait_closed().code == 1001
    assert -200 < now_ms() - later < 2000


def test_extend_is_clamped_to_half_an_hour(instance):
    with Sandbox(instance, stop_at_ms=now_ms() + 60_000) as sandbox:
        _, _, body = instance.request("PATCH", f"/api/v3/sandbox/{sandbox.id}",
                                      {"stop_at_ms": now_ms() + 10**9})
        assert abs(body["stop_at_ms"] - now_ms() - 30 * 60_000) < 5000
        instance.request("DELETE", f"/api/v3/sandbox/{sandbox.id}")


def test_extending_a_session_leaves_its_rule(instance):
    with Sandbox(instance) as sandbox:
        wanted = now_ms() + 1000
        _, _, body = instance.request("PATCH", f"/api/v3/sandbox/{sandbox.id}",
                                      {"stop_at_ms": wanted})
        assert body == {"stop_at_ms": wanted}
        time.sleep(2)
        assert sandbox.check_sh("echo on") == "on\n"


@pytest.mark.parametrize("path", ["/api/v3/sandbox/", "/api/v3/sandboxes/"])
def test_kill(instance, path):
    sandbox = Sandbox(instance)
    second = Sandbox(instance, id=sandbox.id)
    pending = second.start("processWait", pid=second.spawn("sleep", "60", stdout="null",
                                                           stderr="null")["pid"])
    begin = time.monotonic()
    status, _, body = instance.request("DELETE", path + sandbox.id)
    assert 200 <= status < 300
    for client in (sandbox, second):
        end = client.wait_closed()
        assert (end.code, end.reason) == (1000, "sandbox killed")
    assert time.monotonic() - begin < 5
    assert pending not in second._answers
    assert gone(instance, sandbox.id)
    assert instance.request("DELETE", path + sandbox.id)[0] == 404
    assert instance.listed(sandbox.id)["endReason"] == "killed"


def test_python_clients_get_their_pending_calls_answered_before_the_close(instance):
    sandbox = Sandbox(instance, user_agent="Python/3.11 websockets/15.0")
    pid = sandbox.spawn("sleep", "60", stdout="null", stderr="null")["pid"]
    pending = sandbox.start("processWait", pid=pid)
    instance.request("DELETE", f"/api/v3/sandbox/{sandbox.id}")
    sandbox.wait_closed()
    assert sandbox._answers[pending]["error"]["code"] == 1
    assert sandbox._answers[pending]["error"]["message"] == "WebSocket connection closed"


def test_nothing_of_a_sandbox_is_left_when_it_ended(instance):
    from harness import leaks
    wait_until(lambda: not instance.inits(), what="the end of earlier sandboxes")
    before = leaks.snapshot()
    sandboxes = [Sandbox(instance) for _ in range(3)]
    assert len(instance.inits()) == 3
    assert len(instance.workers()) == 3
    for sandbox in sandboxes:
        sandbox.check_sh("head -c 1000000 /dev/zero > file; (sleep 100 &) > /dev/null 2>&1")
    for sandbox in sandboxes:
        sandbox.close()
    left = leaks.since(before)
    assert not left
    assert not list(instance.state.rglob("*.img")), "a disk was left behind"


def test_list(instance):
    with Sandbox(instance, labels={"job": "a", "n": "1"}) as one, Sandbox(
            instance, labels={"job": "b"}) as two:
        listed = {s["id"]: s for s in instance.list()}
        assert listed[one.id]["labels"] == {"job": "a", "n": "1"}
        assert listed[one.id]["status"] == listed[two.id]["status"] == "running"
        assert listed[one.id]["stoppedAt"] is None
        assert listed[one.id]["region"] == one.id.split("_")[1]
        ids = [s["id"] for s in instance.list()]
        assert ids.index(two.id) < ids.index(one.id), "newest first"
        _, _, found = instance.request("GET", "/api/v2/sandboxes?labels%5Bjob%5D=b")
        assert [s["id"] for s in found] == [two.id]
        _, _, found = instance.request(
            "GET", "/api/v3/sandboxes?labels=%7B%27job%27%3A+%27a%27%2C+%27n%27%3A+%271%27%7D")
        assert [s["id"] for s in found] == [one.id]


def test_usage_follows_the_work(instance):
    with Sandbox(instance) as sandbox:
        idle = instance.listed(sandbox.id)["usage"]
        sandbox.check_sh("timeout 2 sh -c 'while :; do :; done'; true")
        busy = instance.listed(sandbox.id)["usage"]
        assert 1.5 < busy["cpuSeconds"] - idle["cpuSeconds"] < 3.5
        sandbox.check_sh("python3 -c \"x = b'x' * (300 << 20); import time; time.sleep(2)\"")
        held = instance.listed(sandbox.id)["usage"]
        grown = held["memoryGibSeconds"] - busy["memoryGibSeconds"]
        assert 0.2 < grown < 4, grown
    wait_until(lambda: instance.listed(sandbox.id)["status"] == "stopped")
    final = instance.listed(sandbox.id)["usage"]
    assert final["cpuSeconds"] >= held["cpuSeconds"], "the end does not lose what was used"


def test_memory_bytes_is_what_is_held_now(instance):
    with Sandbox(instance) as sandbox:
        process = sandbox.spawn("python3", "-c", "x = b'x' * (200 << 20); import time; "
                                                 "time.sleep(60)", stdout="null", stderr="null")
        wait_until(lambda: instance.listed(sandbox.id)["usage"]["memoryBytes"] > 200 << 20)
        sandbox.call("processKill", pid=process["pid"], signal="SIGKILL")
        wait_until(lambda: instance.listed(sandbox.id)["usage"]["memoryBytes"] < 150 << 20)


def test_sandboxes_do_not_see_each_other_s_files_and_environment(instance):
    with Sandbox(instance) as one, Sandbox(instance) as two:
        one.write("/home/app/mine", b"1")
        one.call("envSet", key="MINE", value="1")
        assert two.sh("ls /home/app/mine").code != 0
        assert two.call("envGet", key="MINE") is None
        assert one.check_sh("hostname") != two.check_sh("hostname")
        assert one.check_sh("cat /etc/machine-id") != two.check_sh("cat /etc/machine-id")
