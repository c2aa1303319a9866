# SPDX-License-Identifier: Apache-2.0
"""fetch is no way around anything: it obeys the policy, knows no secret, reaches no host service and not
the channel of casemate-init; and a helper that lies harms its own call at most."""

import pathlib
import socket
import subprocess
import threading

import pytest
from harness.fetching import fetch, finish, refused, script, start
from harness.fixtures import S1
from harness.instance import wait_until
from harness.rpc import AppError, Sandbox


@pytest.fixture(scope="module")
def strict(instance):
    with Sandbox(instance, allowNet=["api.test"],
                 secrets={"API_KEY": {"hosts": ["api.test"], "value": S1}}) as sandbox:
        yield sandbox


# Policy

@pytest.mark.parametrize("url", ["https://evil.test/", "http://evil.test/", "http://evil.test:8080/",
                                 "http://api.test.evil.test/", "https://93.184.216.34/"])
def test_a_host_that_no_rule_allows(strict, bench, url):
    bench.origin.forget()
    message = refused(strict, url)
    assert "no rule allows it" in message
    assert not bench.origin.connections


def test_it_is_audited_as_any_connection(strict):
    refused(strict, "https://evil.test/")
    assert "evil.test" in strict.check_sh("cat /run/casemate/denials.jsonl")


@pytest.mark.parametrize("url", [
    "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/",
    "http://192.168.1.1/", "http://[::ffff:10.0.0.1]/", "http://2852039166/", "http://0x0a000001/"])
def test_private_addresses(shared, url):
    assert refused(shared, url)


def test_a_redirect_is_judged_anew(strict, bench):
    bench.origin.forget()
    assert "evil.test" in refused(strict, "https://api.test/redirect?to=https://evil.test/x")
    assert not [r for r in bench.origin.requests if r.header("host") == "evil.test"]


def test_a_forged_host_header(strict, bench):
    bench.origin.forget()
    try:
        fetch(strict, "http://api.test/forged", headers=[["host", "evil.test"]])
    except AppError as refusal:
        assert refusal.error["constructorName"] == "TypeError"
    assert not [r for r in bench.origin.requests if r.header("host") == "evil.test"]


# The host

def test_the_loopback_is_the_sandboxs_own(shared):
    with socket.create_server(("127.0.0.1", 0)) as host:
        port = host.getsockname()[1]
        caught = threading.Event()
        host.settimeout(3)

        def accept():
            try:
                host.accept()
                caught.set()
            except OSError:
                pass

        listener = threading.Thread(target=accept)
        listener.start()
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert refused(shared, f"http://{name}:{port}/")
        listener.join()
        assert not caught.is_set()


def test_not_the_daemon(shared):
    host, port = shared.instance.address
    assert refused(shared, f"http://{host}:{port}/healthz")


@pytest.mark.parametrize("url", ["file:///etc/shadow", "unix:///x", "gopher://127.0.0.1:1/", "dict://x/",
                                 "ftp://x/", "data:text/plain,x", "scp://x/", "telnet://127.0.0.1:1/"])
def test_no_other_scheme(shared, url):
    assert "URL" in refused(shared, url)
    to = script(["send", f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"])
    assert "redirect" in refused(shared, "http://api.test/script", headers=[to])


# Secrets

def test_a_secret_is_swapped_on_its_way_and_back(strict, bench):
    bench.origin.forget()
    inside = strict.check_sh("printenv API_KEY").strip()
    r = fetch(strict, "https://api.test/echo", headers=[["authorization", f"Bearer {inside}"]])
    assert bench.origin.last().header("authorization") == f"Bearer {S1}"
    assert S1.encode() not in r.body and inside.encode() in r.body
    assert not any(S1 in str(message) for message in strict.messages)


def test_a_secret_goes_to_no_other_host_by_a_redirect(instance, bench):
    bench.origin.forget()
    with Sandbox(instance, allowNet=["api.test", "files.test"],
                 secrets={"API_KEY": {"hosts": ["api.test"], "value": S1}}) as sandbox:
        inside = sandbox.check_sh("printenv API_KEY").strip()
        try:
            fetch(sandbox, "https://api.test/redirect?to=https://files.test/there",
                  headers=[["x-key", inside]])
        except AppError:
            pass
    there = [r for r in bench.origin.requests if r.target == "/there"]
    assert S1 not in str(there)


# The helper

def running(sandbox, **params) -> list[str]:
    return sandbox.check_sh("grep -lx casemate-fetch /proc/[0-9]*/comm 2>/dev/null; true",
                            **params).split()


def test_what_the_helper_is(shared):
    call = start(shared, "http://api.test/slow?ms=1500")
    wait_until(lambda: running(shared), 5, "the helper")
    folder = str(pathlib.PurePath(running(shared)[0]).parent)
    status = dict(line.split(":\t", 1) for line in
                  shared.check_sh(f"cat {folder}/status").splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["1000"] * 4 and status["Gid"].split() == ["1000"] * 4
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert status["Seccomp"] == "2"
    kinds = {line.split("[")[0] for line in shared.check_sh(f"for f in {folder}/fd/*; do readlink $f; done").split("\n")}
    assert not any("control" in k for k in kinds)
    unix = shared.check_sh("cat /proc/net/unix | tail -n +2")
    held = shared.check_sh(f"readlink {folder}/fd/*; true")
    for line in unix.splitlines():
        assert f"socket:[{line.split()[6]}]" not in held, "a socket of casemate-init"
    assert shared.check_sh(f"tr '\\0' ' ' < {folder}/cmdline").strip() == "casemate-fetch"
    assert finish(shared, call).status == 200


def test_its_program_is_this_sandboxs_own_and_sealed(instance):
    """A lock on it is nobody else's, and nobody can change it, root inside included."""
    with Sandbox(instance) as one, Sandbox(instance) as two:
        inodes = []
        for sandbox in (one, two):
            call = start(sandbox, "http://api.test/slow?ms=1500")
            wait_until(lambda s=sandbox: running(s), 5, "the helper")
            exe = running(sandbox)[0].replace("comm", "exe")
            inodes.append(sandbox.check_sh(f"stat -Lc %d:%i {exe}"))
            assert sandbox.sh(f"sudo sh -c 'echo x >> {exe}'").code != 0
            assert sandbox.python(
                "import fcntl, os, sys\n"
                f"fd = os.open({exe!r}, os.O_RDONLY)\n"
                "sys.exit(0 if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & 15 == 15 else 1)").code == 0
            finish(sandbox, call)
        assert inodes[0] != inodes[1]


@pytest.fixture(scope="module")
def liar(instance, tmp_path_factory):
    library = tmp_path_factory.mktemp("hostile") / "hostile-fetch.so"
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-shared",
                    "-fPIC", "-o", library, pathlib.Path(__file__).parent / "hostile-fetch.c"], check=True)
    with Sandbox(instance) as sandbox:
        sandbox.write("/tmp/hostile-fetch.so", library.read_bytes())
        sandbox.call("envSet", key="LD_PRELOAD", value="/tmp/hostile-fetch.so")
        yield sandbox


ENDED = ["mute", "no-hello", "kind", "huge", "data-first", "end-first", "status", "status-101",
         "short-head", "junk-head", "junk-failure", "bite", "hello-flood", "hello-large"]


@pytest.mark.parametrize("lie", ENDED)
def test_a_lie_is_the_end_of_its_call(liar, lie):
    liar.call("envSet", key="LIE", value=lie)
    assert refused(liar, "http://api.test/x")
    assert liar.call("envGet", key="LIE") == lie


def test_a_header_that_would_be_two(liar):
    liar.call("envSet", key="LIE", value="split")
    assert fetch(liar, "http://api.test/x").headers == []


def test_text_that_would_be_json(liar):
    liar.call("envSet", key="LIE", value="inject")
    r = fetch(liar, "http://api.test/x")
    assert r.headers == [("x", 'y","bodyStreamId":1,"z":"\\')]
    assert r.stream.error is not None


def test_two_heads(liar):
    liar.call("envSet", key="LIE", value="twice")
    assert fetch(liar, "http://api.test/x").stream.error["constructorName"] == "TypeError"


def test_a_flood_is_bounded_and_stopped(liar):
    liar.call("envSet", key="LIE", value="flood")
    number = liar.finish(start(liar, "http://api.test/x", abortId=9))["bodyStreamId"]
    liar.wait(lambda: number in liar.streams and len(liar.streams[number].data) > 1_000_000)
    assert liar.call("envGet", key="LIE") == "flood", "others are served"
    honest = {"LD_PRELOAD": ""}
    memory = liar.check_sh("awk '/VmRSS/ {print $2}' /proc/1/status", env=honest)
    assert int(memory) < 40_000
    liar.call("abort", abortId=9)
    liar.wait(lambda: liar.streams[number].ended)
    wait_until(lambda: not running(liar, env=honest), 5, "the end of the helper")
