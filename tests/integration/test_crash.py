# SPDX-License-Identifier: Apache-2.0
"""kill -9 of each program: the sandbox concerned ends, or has no network until it has another worker;
others go on, and nothing is left behind."""

import os
import signal

import pytest
from harness import leaks
from harness.fixtures import ALLOWED
from harness.instance import Instance, alive, wait_until
from harness.rpc import Sandbox


@pytest.fixture
def fresh(leaks_before, bench, state):
    """An instance of its own, as the test may end it."""
    running = Instance(state, *bench.flags).start()
    yield running
    if running.process is not None:
        running.stop()
    assert not leaks.since(leaks_before)


def make(instance, pids):
    """A sandbox, and the process that is its own among pids()."""
    before = set(pids())
    sandbox = Sandbox(instance, allow_net=ALLOWED)
    return sandbox, (set(pids()) - before).pop()


def test_one_sandbox_s_init_dies(fresh):
    victim, pid = make(fresh, fresh.inits)
    other, _ = make(fresh, fresh.inits)
    os.kill(pid, signal.SIGKILL)
    end = victim.wait_closed()
    assert end.code in (1011, 1001, 1006, None), end
    assert other.check_sh("curl -sSkf https://files.test/") == "ok"
    wait_until(lambda: fresh.listed(victim.id)["status"] == "stopped")
    assert len(fresh.inits()) == 1
    assert len(fresh.workers()) == 1
    with Sandbox(fresh) as third:
        assert third.check_sh("echo on") == "on\n"


def test_one_sandbox_s_worker_dies(fresh):
    victim, pid = make(fresh, fresh.workers)
    other, others = make(fresh, fresh.workers)
    os.kill(pid, signal.SIGKILL)
    for sandbox in (other, victim):
        assert sandbox.check_sh("curl -sSkf https://files.test/") == "ok"
    assert others in fresh.workers() and pid not in fresh.workers()
    assert len(fresh.workers()) == 2 and len(fresh.inits()) == 2


def test_no_network_without_its_worker(fresh, bench):
    """Between the worker's death and the start of another nothing gets out: a process that hammers
    connections does not reach the origin meanwhile."""
    sandbox, worker = make(fresh, fresh.workers)
    assert sandbox.check_sh("curl -sSkf https://files.test/before") == "ok"
    sandbox.spawn("bash", "-c", "while :; do curl -sk -m 1 https://files.test/after; done",
                  stdout="null", stderr="null")
    bench.origin.wait_for(2)
    os.kill(fresh.launcher(), signal.SIGSTOP)  # nobody tidies up for a while
    try:
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not alive(worker))
        bench.origin.forget()
        with pytest.raises(AssertionError):
            wait_until(lambda: bench.origin.connections, timeout=2)
    finally:
        os.kill(fresh.launcher(), signal.SIGCONT)
    bench.origin.wait_for(1)


def test_the_launcher_dies(fresh):
    sandbox = Sandbox(fresh)
    os.kill(fresh.launcher(), signal.SIGKILL)
    sandbox.wait_closed()
    code = fresh.process.wait(20)
    fresh.process = None
    assert code != 0, "without a launcher the service cannot go on, and says so"
    fresh.start()  # tidies up what the launcher could not


def test_the_launcher_dies_and_init_does_not_care(fresh):
    """A stopped init stands for one that is taken over and ignores the end of its control socket."""
    sandbox = Sandbox(fresh)
    sandbox.check_sh("true")
    sandbox.spawn("sudo", "bash", "-c", "trap '' TERM HUP; while :; do :; done",
                  stdout="null", stderr="null")
    (init,) = fresh.inits()
    os.kill(init, signal.SIGSTOP)
    os.kill(fresh.launcher(), signal.SIGKILL)
    wait_until(lambda: not alive(init), timeout=5)
    fresh.process.wait(20)
    fresh.process = None
    fresh.start()


def test_the_daemon_dies_and_the_next_start_tidies_up(leaks_before, bench, state):
    with Instance(state, *bench.flags) as first:
        sandbox = Sandbox(first, stop_at_ms=4102444800000)
        sandbox.spawn("sleep", "1000", stdout="null", stderr="null")
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
        first.process = None
        with Instance(state, *bench.flags) as second:
            with Sandbox(second) as fresh_sandbox:
                assert fresh_sandbox.check_sh("echo on") == "on\n"
            wait_until(lambda: not second.inits())
    assert not leaks.since(leaks_before)


def test_the_daemon_and_the_launcher_die_and_the_next_start_tidies_up(leaks_before, bench, state):
    first = Instance(state, *bench.flags).start()
    Sandbox(first, stop_at_ms=4102444800000)
    launcher = first.launcher()
    os.kill(launcher, signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    first.process = None
    with Instance(state, *bench.flags) as second, Sandbox(second) as sandbox:
        assert sandbox.check_sh("echo on") == "on\n"
    assert not leaks.since(leaks_before)


def test_sigterm_with_sandboxes_running(leaks_before, bench, state):
    instance = Instance(state, *bench.flags).start()
    sandboxes = [Sandbox(instance) for _ in range(3)]
    for sandbox in sandboxes:
        sandbox.spawn("bash", "-c", "trap '' TERM; sleep 1000", stdout="null", stderr="null")
    assert instance.stop(timeout=20) == 0
    for sandbox in sandboxes:
        assert sandbox.wait_closed().code == 1001
    assert not leaks.since(leaks_before)


def test_two_instances_at_once(leaks_before, bench, tmp_path):
    with Instance(tmp_path / "a", *bench.flags) as a, Instance(tmp_path / "b", *bench.flags) as b:
        with Sandbox(a) as one, Sandbox(b) as two:
            assert one.check_sh("echo a") == "a\n"
            assert two.check_sh("echo b") == "b\n"
            a.stop()
            assert two.check_sh("echo still") == "still\n"
    assert not leaks.since(leaks_before)
