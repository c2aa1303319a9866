# SPDX-License-Identifier: Apache-2.0
"""A host that speaks HTTP/2, and a sandbox with a client for it."""

import pytest
from harness import leaks
from harness.instance import Instance
from harness.origin_h2 import H2Origin
from harness.rpc import Sandbox
from http2_bench import SECRETS, equip


@pytest.fixture(scope="module")
def origin(authority):
    made = H2Origin(authority.issue("api.test", "two.test", "evil.test"), alpn=("h2", "http/1.1"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def instance(leaks_before, authority, origin, tmp_path_factory):
    flags = [f"--egress-ca={authority.cert}"]
    flags += [f"--egress-host={name}={origin.address}" for name in ("api.test", "two.test", "evil.test")]
    with Instance(tmp_path_factory.mktemp("state"), *flags) as running:
        yield running
    assert not leaks.since(leaks_before)


@pytest.fixture(scope="module")
def box(instance):
    with Sandbox(instance, allow_net=["api.test", "two.test"], secrets=SECRETS) as made:
        equip(made)
        yield made


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.check_sh("printenv S1").rstrip("\n")


@pytest.fixture(scope="module")
def p2(box) -> str:
    return box.check_sh("printenv S2").rstrip("\n")


@pytest.fixture(autouse=True)
def fresh_records(origin, instance):
    """Instead of the other files' bench, which is not needed here."""
    origin.forget()
    instance.audit.mark()
