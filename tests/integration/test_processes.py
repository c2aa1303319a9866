# SPDX-License-Identifier: Apache-2.0
"""Processes and streams as they stand on the wire (protocol 4 and 5.5)."""

import json
import time

import pytest
from harness.rpc import STREAM, AppError, Sandbox


def frames_of(sandbox, since: int):
    return [json.loads(m) for m in sandbox.messages[since:] if m != "pong"]


def test_no_stream_frame_before_process_wait(shared):
    process = shared.spawn("echo", "early")
    mark = len(shared.messages)
    time.sleep(1)
    assert not frames_of(shared, mark), "frames before processWait"
    assert shared.collect(process).stdout == b"early\n"


def test_order_of_start_data_end_and_the_answer(shared):
    mark = len(shared.messages)
    out = shared.run("bash", "-c", "echo one; echo two >&2")
    assert (out.stdout, out.stderr) == (b"one\n", b"two\n")
    kinds = [f.get("method", "answer") for f in frames_of(shared, mark)]
    assert kinds[0] == "answer"
    assert kinds.count(STREAM + "end") == 2
    assert kinds[-1] == "answer", "processWait is answered after its streams ended"


def test_the_gate_opens_by_itself_after_ten_seconds(shared):
    process = shared.spawn("echo", "valve")
    number = process["stdoutStreamId"]
    shared.wait(lambda: number in shared.streams and shared.streams[number].ended, 15)
    assert shared.streams[number].data == b"valve\n"
    shared.collect(process)


def test_stdin_is_taken_while_the_gate_is_shut(shared):
    data = b"x" * 3_000_000
    out = shared.run("cat", stdin=data)
    assert out.stdout == data


def test_cancel_before_start_means_no_frame_at_all(shared):
    process = shared.spawn("bash", "-c", "seq 1000", stderr="null")
    number = process["stdoutStreamId"]
    shared.notify(STREAM + "cancel", streamId=number, reason=None)
    assert shared.call("processWait", pid=process["pid"])["code"] == 0
    time.sleep(0.2)
    assert number not in shared.streams


def test_nothing_after_cancel(shared):
    process = shared.spawn("bash", "-c", "while :; do echo x; sleep 0.01; done", stderr="null")
    number = process["stdoutStreamId"]
    waiting = shared.start("processWait", pid=process["pid"])
    shared.wait(lambda: number in shared.streams and shared.streams[number].data)
    shared.notify(STREAM + "cancel", streamId=number, reason=None)
    shared.call("envGet", key="HOME")  # the daemon has seen the cancel
    size = len(shared.streams[number].data)
    time.sleep(0.5)
    assert len(shared.streams[number].data) == size
    assert not shared.streams[number].ended
    shared.call("processKill", pid=process["pid"], signal="SIGKILL")
    assert shared.finish(waiting)["signal"] == "SIGKILL"
    assert not shared.streams[number].ended


def test_stream_ids_are_unique_over_sandboxes(instance):
    with Sandbox(instance) as one, Sandbox(instance) as two:
        ids = []
        for sandbox in (one, two) * 5:
            process = sandbox.spawn("true")
            ids += [process["stdoutStreamId"], process["stderrStreamId"]]
            sandbox.collect(process)
        assert len(set(ids)) == len(ids)
        assert all(0 <= n < 2**53 for n in ids)


def test_exit_of_the_child_cancels_its_stdin(shared):
    number = shared.open_stream()
    shared.enqueue(number, b"early")
    process = shared.spawn("true", stdinStreamId=number)
    shared.collect(process)
    shared.enqueue(number, b"late")
    shared.wait(lambda: number in shared.cancelled, 5, "the cancel of the child's stdin")


def test_grandchild_that_holds_the_pipe(shared):
    process = shared.spawn("bash", "-c", "(sleep 2; echo late) & echo now; exit 7")
    begin = time.monotonic()
    status = shared.call("processWait", pid=process["pid"])
    assert status["code"] == 7
    assert time.monotonic() - begin < 1.5
    number = process["stdoutStreamId"]
    shared.wait(lambda: shared.streams[number].ended, 5)
    assert shared.streams[number].data == b"now\nlate\n"


@pytest.mark.parametrize("signal, code", [("SIGTERM", 143), ("SIGKILL", 137), ("SIGUSR1", 138),
                                          ("SIGINT", 130)])
def test_signals(shared, signal, code):
    process = shared.spawn("sleep", "60", stdout="null", stderr="null")
    shared.call("processKill", pid=process["pid"], signal=signal)
    status = shared.call("processWait", pid=process["pid"])
    assert status == {"success": False, "code": code, "signal": signal, "oom": None}


def test_dead_and_unknown_processes(shared):
    process = shared.spawn("true", stdout="null", stderr="null")
    assert shared.call("processWait", pid=process["pid"])["code"] == 0
    assert shared.call("processWait", pid=process["pid"])["code"] == 0, "repeatable"
    for pid in (process["pid"], 4_000_000, -1, 0, 1):
        with pytest.raises(AppError) as caught:
            shared.call("processKill", pid=pid)
        assert (caught.value.error["constructorName"], caught.value.error["code"]) == \
            ("TypeError", "ENOENT"), pid
    with pytest.raises(AppError) as caught:
        shared.call("processWait", pid=4_000_000)
    assert caught.value.error["code"] == "ENOENT"


@pytest.mark.parametrize("signal", ["SIGNOPE", "", "9", "SIGBREAK"])
def test_unknown_signal(shared, signal):
    process = shared.spawn("sleep", "60", stdout="null", stderr="null")
    with pytest.raises(AppError) as caught:
        shared.call("processKill", pid=process["pid"], signal=signal)
    assert (caught.value.error["constructorName"], caught.value.error["code"]) == ("TypeError", None)
    shared.call("processKill", pid=process["pid"], signal="SIGKILL")


def test_error_objects_have_all_nine_keys(shared):
    with pytest.raises(AppError) as caught:
        shared.call("readFile", path="nf")
    assert set(caught.value.error) == {"constructorName", "message", "code", "name", "stack", "cause",
                                       "errors", "error", "suppressed"}


def test_processes_see_themselves_in_the_right_place(shared):
    text = shared.check_sh("id -un; pwd; echo $HOME; umask; cat /proc/self/oom_score_adj; "
                           "readlink /proc/self/fd/0; ls /proc/self/fd | wc -l; ulimit -c")
    user, cwd, home, umask, _, stdin, fds, core = text.split()
    assert (user, cwd, home, umask, stdin) == ("app", "/home/app", "/home/app", "0022", "/dev/null")
    assert int(fds) <= 4, "descriptors leak into the process"


def test_other_connections_see_the_process(shared):
    process = shared.spawn("sleep", "60", stdout="null", stderr="null")
    with Sandbox(shared.instance, id=shared.id) as second:
        second.call("processKill", pid=process["pid"])
        assert second.call("processWait", pid=process["pid"])["signal"] == "SIGTERM"
    assert shared.call("processWait", pid=process["pid"])["signal"] == "SIGTERM"


def test_output_after_the_client_left_blocks_nobody(shared):
    with Sandbox(shared.instance, id=shared.id) as second:
        process = second.spawn("bash", "-c", "head -c 20000000 /dev/zero; touch finished")
        second.start("processWait", pid=process["pid"])
        time.sleep(0.1)
    shared.check_sh("for i in $(seq 100); do [ -e finished ] && exit 0; sleep 0.1; done; exit 1")


def test_a_slow_reader_stalls_only_itself(shared):
    """A client that does not read gets no more than it is owed; others go on, and memory is bounded."""
    from harness.rpc import RawSocket, frame, TEXT
    with RawSocket(shared.instance) as raw:
        assert raw.upgrade(f"/api/v3/sandbox/{shared.id}/connect", config=None)[0] == 101
        raw.send(frame(TEXT, b'{"jsonrpc":"2.0","id":1,"method":"spawn","params":{"command":"yes",'
                       b'"stdout":"piped","stderr":"null"}}'))
        pid = json.loads(raw.frame()[2])["result"]["ok"]["pid"]
        raw.send(frame(TEXT, b'{"jsonrpc":"2.0","id":2,"method":"processWait","params":{"pid":%d}}'
                       % pid))
        before = _memory(shared.instance.pid)
        time.sleep(2)
        begin = time.monotonic()
        assert shared.check_sh("echo quick") == "quick\n"
        assert time.monotonic() - begin < 1
        assert _memory(shared.instance.pid) - before < 64 << 20
    shared.call("processKill", pid=pid, signal="SIGKILL")


def _memory(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * 4096
