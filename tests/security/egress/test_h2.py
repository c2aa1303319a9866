# SPDX-License-Identifier: Apache-2.0
"""The numbered cases over HTTP/2: what a client in the sandbox sends arrives as frames at the host, and
comes back so."""

import io
import json
import pathlib
import zipfile

import h2
import hpack
import hyperframe
import pytest
from egress_bench import S1, S2, forms_of
from harness import leaks
from harness.instance import Instance
from harness.origin_h2 import H2Origin
from harness.rpc import Sandbox

SECRETS = {
    "S1": {"hosts": ["api.test", "two.test"], "value": S1},
    "S2": {"hosts": ["two.test"], "value": S2},
}


def bundle() -> bytes:
    """The HTTP/2 library of the tests, for the sandbox."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for package in (h2, hpack, hyperframe):
            root = pathlib.Path(package.__file__).parent
            for file in root.rglob("*.py"):
                archive.write(file, f"{package.__name__}/{file.relative_to(root)}")
    return out.getvalue()


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
        made.write("/home/app/h2.zip", bundle())
        code = pathlib.Path(__file__).parent / "h2_client.py"
        made.write("/home/app/h2_client.py", code.read_bytes())
        yield made


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.check_sh("printenv S1").rstrip("\n")


@pytest.fixture(scope="module")
def p2(box) -> str:
    return box.check_sh("printenv S2").rstrip("\n")


@pytest.fixture(autouse=True)
def fresh(origin, instance):
    origin.forget()
    instance.audit.mark()


def curl(box, *args):
    return box.run("curl", "-sS", "-m", "10", "--http2", *args)


def without_value(text: bytes) -> None:
    for form in (*forms_of(S1), *forms_of(S2)):
        assert form not in text


def test_curl_speaks_http2(origin, box, p1):
    out = curl(box, "-w", "%{http_version}", "https://api.test/", "-H", f"x-key: {p1}", "-d", "a=1")
    assert out.code == 0, out.stderr
    assert out.text == "ok2"
    assert origin.last().header("x-key") == S1
    assert origin.last().body == b"a=1"
    assert "x-key" in origin.last().never_indexed


def test_case_64_echo_in_fields_body_and_trailer(origin, box, p1):
    out = curl(box, "-v", "https://api.test/fields", "-H", f"x-key: {p1}")
    assert out.code == 0, out.stderr
    assert out.text == f"body {p1}"
    seen = out.stdout + out.stderr
    without_value(seen)
    for line in (f"link: </{p1}>", f"x-echo: {p1}", f"set-cookie: k={p1}", f"x-trailer: {p1}"):
        assert line.encode() in seen, line
