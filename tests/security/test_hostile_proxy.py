# SPDX-License-Identifier: Apache-2.0
"""A sandbox whose casemate-proxy is the attacker's (hostile-proxy.c): what it tells casemated speaks
for no other sandbox, and no flood of it takes the audit trail from the others."""

import json
import pathlib
import subprocess
import time

import pytest
from harness import leaks
from harness.instance import REPO, Instance, build_dir
from harness.rpc import Sandbox

LINES_A_SECOND = 2048 + 128  # of one sandbox, and what one datagram may hold on top
LIE = "import socket, sys; socket.create_connection(('192.0.2.1', 80)).sendall(sys.argv[1].encode())"


@pytest.fixture(scope="module")
def hostile_build(tmp_path_factory) -> pathlib.Path:
    """A build directory like the real one, but for casemate-proxy."""
    folder = tmp_path_factory.mktemp("hostile-proxy")
    folder.chmod(0o755)
    for entry in build_dir().iterdir():
        if entry.name.startswith("casemate") and entry.is_file() and entry.name != "casemate-proxy":
            # Not links: a program may look for its companions beside its own real file.
            (folder / entry.name).write_bytes(entry.read_bytes())
            (folder / entry.name).chmod(0o755)
    (folder / "image").symlink_to((build_dir() / "image").resolve())
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-subj", "/CN=hostile", "-keyout", folder / "ca.key", "-out",
                    folder / "ca.pem"], check=True, capture_output=True)
    lines = "\n".join(json.dumps(line + "\n") for line in (folder / "ca.pem").read_text().splitlines())
    (folder / "ca.h").write_text(f"static const char ca_pem[] = {lines};\n")
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-static",
                    "-I", folder, "-I", REPO / "src", "-o", folder / "casemate-proxy",
                    pathlib.Path(__file__).parent / "hostile-proxy.c"], check=True)
    (folder / "casemate-proxy").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def daemon(leaks_before, bench, hostile_build, tmp_path_factory):
    with Instance(tmp_path_factory.mktemp("state"), *bench.flags, build=hostile_build) as instance:
        yield instance
    assert not leaks.since(leaks_before)


def tell(sandbox, lie: str) -> None:
    out = sandbox.python(LIE, lie, timeout=10)
    assert out.code == 0, out.stderr


def test_a_lie_in_the_name_of_another_is_told_as_its_own(daemon):
    with Sandbox(daemon) as liar:
        tell(liar, "s")
        assert daemon.audit.wait(ev="forged")["sandbox"] == liar.id


@pytest.mark.parametrize("lie", ["n", "r"])
def test_a_malformed_event_ends_the_sandbox_alone(daemon, lie):
    with Sandbox(daemon) as honest:
        liar = Sandbox(daemon)
        try:
            tell(liar, lie)
        except Exception:  # the sandbox may be gone before its program's end is told
            pass
        liar.wait_closed(10)
        assert daemon.listed(liar.id)["endReason"] == "fault"
        tell(honest, "-")


def test_nothing_of_it_is_a_command_to_a_terminal(daemon, hostile_build):
    with Sandbox(daemon) as liar:
        tell(liar, "e")
        daemon.audit.wait(ev="escape")
        shown = subprocess.run([hostile_build / "casemate", "audit", "--state", daemon.state],
                               capture_output=True, check=True).stdout.decode()
    assert "escape" in shown
    assert not [c for c in shown if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"]


def test_a_flood_is_held_back_and_the_others_are_heard(daemon):
    with Sandbox(daemon) as liar, Sandbox(daemon) as other:
        daemon.audit.mark()
        begin = time.monotonic()
        tell(liar, "f")
        time.sleep(3)
        tell(other, "s")
        assert daemon.audit.wait(ev="forged", timeout=2)["sandbox"] == other.id
        seconds = time.monotonic() - begin
        assert 100 < len(daemon.audit.events(ev="flood")) <= LINES_A_SECOND * (seconds + 1)
