# SPDX-License-Identifier: Apache-2.0
"""fetch of the official client: it shows status and headers, and has no way to read a body."""

import pytest
from faces import settle
from harness.fixtures import S1


async def test_a_response(sb, bench):
    bench.origin.forget()
    r = await settle(sb.fetch("https://api.test/echo?x=1", headers={"X-Given": "one"}))
    assert (r.status_code, r.is_success) == (200, True)
    assert dict(r.headers)["content-type"] == "application/json"
    request = bench.origin.last()
    assert (request.method, request.target) == ("GET", "/echo?x=1")
    assert request.header("x-given") == "one"


async def test_another_method(sb, bench):
    bench.origin.forget()
    assert (await settle(sb.fetch("https://api.test/x", method="DELETE"))).status_code == 200
    assert bench.origin.last().method == "DELETE"


async def test_statuses(sb):
    for status in (204, 304, 404, 500):
        assert (await settle(sb.fetch(f"https://api.test/status/{status}"))).status_code == status


async def test_redirects(sb):
    to = "https://api.test/redirect?to=/status/404"
    assert (await settle(sb.fetch(to))).status_code == 404
    manual = await settle(sb.fetch(to, redirect="manual"))
    assert (manual.status_code, manual.is_redirect) == (302, True)
    assert dict(manual.headers)["location"] == "/status/404"


async def test_bodies_that_nobody_reads(sb):
    """The client never cancels them: they neither stop later calls nor count against them for ever."""
    for _ in range(5):
        r = await settle(sb.fetch("https://api.test/big?n=1000000"))
        assert r.status_code == 200
    assert await settle(sb.fs.read_text_file("/etc/hostname"))


@pytest.mark.parametrize("url, what", [
    ("https://nowhere.test:1/", "nowhere.test:1"), ("ftp://api.test/", "URL"), ("https://api.test/reset", "api.test"),
])
async def test_failures(sb, url, what):
    with pytest.raises(Exception, match=what) as caught:
        await settle(sb.fetch(url))
    assert "TypeError" in str(caught.value) + repr(getattr(caught.value, "args", ""))


async def test_a_host_that_is_not_allowed_and_a_secret(face, bench):
    bench.origin.forget()
    async with face.create(allow_net=["api.test"],
                           secrets={"API_KEY": {"hosts": ["api.test"], "value": S1}}) as sb:
        with pytest.raises(Exception, match="evil.test:443: no rule allows it"):
            await settle(sb.fetch("https://evil.test/"))
        inside = await settle(sb.env.get("API_KEY"))
        r = await settle(sb.fetch("https://api.test/x", headers={"Authorization": f"Bearer {inside}"}))
        assert r.status_code == 200
        assert bench.origin.last().header("authorization") == f"Bearer {S1}"
    assert not any(r.header("host") == "evil.test" for r in bench.origin.requests)


async def test_what_a_status_means(sb):
    fine = await settle(sb.fetch("https://api.test/status/204"))
    assert fine.raise_for_status() is None
    for status, client, server in ((404, True, False), (503, False, True)):
        r = await settle(sb.fetch(f"https://api.test/status/{status}"))
        assert (r.is_client_error, r.is_server_error, r.is_error, r.is_informational) == (client, server, True, False)
        assert not r.has_redirect_location
        with pytest.raises(KeyError):  # the client stumbles over its own message
            r.raise_for_status()
