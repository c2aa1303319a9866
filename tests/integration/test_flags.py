# SPDX-License-Identifier: Apache-2.0
"""The command line of the service: what it takes, and how it says no."""

import json
import pathlib
import socket
import stat
import subprocess

import pytest
from harness.instance import Instance, build_dir
from harness.rpc import Sandbox
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("program", ["casemated", "casemate"])
def test_help_and_version(program):
    for flag in ("--help", "--version"):
        done = subprocess.run([build_dir() / program, flag], capture_output=True, text=True,
                              timeout=10)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() and not done.stderr


def fails(tmp_path, *flags) -> str:
    done = subprocess.run([build_dir() / "casemated", "--state", tmp_path / "s", *flags],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode not in (0, -11, -6), done
    assert done.stderr.strip()
    return done.stderr


@pytest.mark.parametrize("flags", [
    ("--nonsense",), ("--listen",), ("--dev", "--listen", "nonsense"),
    ("--dev", "--listen", "127.0.0.1:99999"), ("--dev", "--egress-host", "nonsense"),
    ("--dev", "--egress-host", "a.test=nowhere"), ("--dev", "--egress-ca", "/nonexistent"),
    ("--dev", "--min-memory", "x"), ("--dev", "--driver", "x"),
])
def test_bad_flags_are_told(tmp_path, flags):
    fails(tmp_path, *flags)


def test_no_open_address_without_being_told(tmp_path):
    fails(tmp_path, "--dev", "--listen", "0.0.0.0:0")


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = fails(tmp_path, "--dev", "--listen", "127.0.0.1:%d" % taken.getsockname()[1])
    assert "in use" in text.lower()


def test_state_is_private(instance):
    env = instance.state / "dev.env"
    assert stat.S_IMODE(env.stat().st_mode) & 0o077 == 0, "the token is for the owner only"
    assert instance.env["DENO_DEPLOY_TOKEN"].startswith("ddo_")
    assert instance.env["DENO_DEPLOY_ENDPOINT"] == instance.env["DENO_SANDBOX_ENDPOINT"]
    assert not instance.endpoint.endswith("/")


def test_logs_are_json_without_secrets(instance):
    from harness.fixtures import S1, SECRETS
    with Sandbox(instance, secrets=SECRETS) as sandbox:
        sandbox.check_sh("true")
    text = instance.log_file.read_text()
    for line in text.splitlines():
        assert isinstance(json.loads(line), dict), line
    assert S1 not in text and instance.token not in text


def test_min_memory(bench, tmp_path):
    with Instance(tmp_path / "s", "--min-memory", "128", *bench.flags) as small:
        with Sandbox(small, memory_mb=128) as sandbox:
            assert sandbox.check_sh("echo on") == "on\n"
        with pytest.raises(InvalidStatus):
            Sandbox(small, memory_mb=127)


def test_the_daemon_has_no_privileges(instance):
    status = pathlib.Path(f"/proc/{instance.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[1] != "0"
    assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"


def test_the_workers_have_no_privileges(instance, sandbox):
    from harness.instance import _status
    worker, = instance.workers()
    fields = _status(worker)
    assert fields["Uid"].split()[0] not in ("0", _status(instance.pid)["Uid"].split()[0])
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


@pytest.mark.parametrize("level, told", [("debug", {"debug", "info"}), ("error", set())])
def test_the_log_level_is_the_launchers_too(tmp_path, level, told):
    with Instance(tmp_path, f"--log-level={level}") as instance, Sandbox(instance) as box:
        assert box.sh("true").code == 0
    lines = [json.loads(line) for line in instance.log_file.read_text().splitlines() if line[:1] == "{"]
    assert {m["level"] for m in lines if m["program"] == "casemate-launcher"} == told, lines
