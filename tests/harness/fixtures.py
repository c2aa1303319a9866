# SPDX-License-Identifier: Apache-2.0
"""Fixtures of every suite; loaded by pytest.ini."""

import dataclasses
import os
import pathlib
import signal

import pytest

from harness import leaks
from harness.ca import Authority
from harness.instance import Instance
from harness.origin import Origin
from harness.rpc import Sandbox

# Names of the test bench; each is dialled at the recording origin.
BENCH = ("api.test", "two.test", "files.test", "a.pkg.test", "a.b.pkg.test", "pkg.test",
         "evilpkg.test", "pkg.test.evil.test", "evil.test", "rebind.test")

# Secrets of the test bench. Nothing but the origin may ever see these values.
S1 = "sk-canary-one-4f1d8a7be2c95036aa17d0e4b8c2795f"
S2 = "sk-canary-two-9be07c4415f84b6b8e02d3a6c7f1150d"
SECRETS = {
    "S1": {"hosts": ["api.test", "two.test"], "value": S1},
    "S2": {"hosts": ["two.test"], "value": S2},
}
ALLOWED = ["api.test", "two.test", "files.test", "*.pkg.test", "tcp.test:5432"]


@dataclasses.dataclass
class Bench:
    """The upstream side: one origin that all names lead to, and one that speaks first."""

    authority: Authority
    origin: Origin
    greeter: Origin
    flags: list[str]


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("these tests drive the real programs and must run as root")


class TookTooLong(Exception):
    pass


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """No test may hang the run: 60 seconds, its fixtures included, or what its marker says."""
    marker = item.get_closest_marker("seconds")
    limit = marker.args[0] if marker else 60

    def ring(*_):
        raise TookTooLong(f"over {limit} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def leaks_before():
    return leaks.snapshot()


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def bench(authority):
    origin = Origin(authority.issue("api.test", "two.test", "files.test", "*.pkg.test",
                                    "*.b.pkg.test", "pkg.test", "evilpkg.test", "evil.test",
                                    "pkg.test.evil.test", "rebind.test"))
    greeter = Origin(raw_greeting=b"READY tcp.test\n")
    flags = [f"--egress-ca={authority.cert}", f"--egress-host=tcp.test={greeter.address}"]
    flags += [f"--egress-host={name}={origin.address}" for name in BENCH]
    yield Bench(authority, origin, greeter, flags)
    origin.close()
    greeter.close()


@pytest.fixture(scope="module")
def instance(leaks_before, bench, tmp_path_factory):
    """A private instance for one test file; nothing of it may be left behind."""
    with Instance(tmp_path_factory.mktemp("state"), *bench.flags) as running:
        yield running
    assert not leaks.since(leaks_before)


@pytest.fixture(scope="module")
def shared(instance):
    """A sandbox for the tests of a file that do not mind each other."""
    with Sandbox(instance) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(instance):
    with Sandbox(instance) as fresh:
        yield fresh


@pytest.fixture
def state(tmp_path) -> pathlib.Path:
    return tmp_path / "state"
