# SPDX-License-Identifier: Apache-2.0
from faces import settle
from harness.fixtures import S1


async def _sh(sb, script: str) -> tuple[int, str]:
    child = await settle(sb.spawn("bash", args=["-c", script], stdout="piped", stderr="piped"))
    text = (await settle(child.stdout.read(-1))).decode()
    return (await settle(child.wait()))["code"], text


async def test_a_secret_is_a_placeholder_inside_and_the_value_at_its_host(face, bench):
    bench.origin.forget()
    async with face.create(allow_net=["api.test"],
                           secrets={"API_KEY": {"hosts": ["api.test"], "value": S1}}) as sb:
        code, inside = await _sh(sb, "printenv API_KEY")
        assert code == 0 and S1 not in inside
        code, text = await _sh(
            sb, 'curl -sSf -H "Authorization: Bearer $API_KEY" https://api.test/x')
        assert (code, text) == (0, "ok")
        assert bench.origin.last().header("Authorization") == f"Bearer {S1}"
        code, text = await _sh(sb, "python3 -c 'import os, urllib.request as u; "
                                   "print(u.urlopen(u.Request(\"https://api.test/y\", headers="
                                   "{\"x-api-key\": os.environ[\"API_KEY\"]})).read())'")
        assert (code, text) == (0, "b'ok'\n")
        assert bench.origin.last().header("x-api-key") == S1


async def test_a_host_that_is_not_listed(face, bench):
    bench.origin.forget()
    async with face.create(allow_net=["api.test"]) as sb:
        code, _ = await _sh(sb, "curl -sS -k -m 10 https://evil.test/")
        assert code != 0
    assert not bench.origin.requests
