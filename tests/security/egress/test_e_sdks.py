# SPDX-License-Identifier: Apache-2.0
"""Case 83: the libraries of two language models, as published, stream an answer from their own hosts'
names. The key is in the environment as its placeholder, and nothing else is configured."""

import dataclasses
import json
import os
import pathlib

import pytest
from clients import web
from clients.report import note
from harness import leaks
from harness.instance import Instance
from harness.rpc import Sandbox

CACHE = pathlib.Path(os.environ.get("CASEMATE_CACHE", "/var/cache/casemate"))
OPENAI_KEY = "sk-proj-canary-5b1f0d6c9a4e4f7fb0a18c53e2d7649081fa22c6d3"
ANTHROPIC_KEY = "sk-ant-api03-canary-77c2e90fb4a14d0d8c5be8630f92d1ae54b7"
VALUES = {"OPENAI_API_KEY": ("api.openai.com", OPENAI_KEY),
          "ANTHROPIC_API_KEY": ("api.anthropic.com", ANTHROPIC_KEY)}

# Each program prints one JSON object an event, with the time at which it came.
JS = {
    "openai": "import OpenAI from 'openai';"
              "const s = await new OpenAI().chat.completions.create({model: 'm', stream: true, "
              "messages: [{role: 'user', content: 'hello'}]});"
              "for await (const e of s) tell(e.choices[0].delta.content);",
    "anthropic": "import Anthropic from '@anthropic-ai/sdk';"
                 "const s = new Anthropic().messages.stream({model: 'm', max_tokens: 9, "
                 "messages: [{role: 'user', content: 'hello'}]});"
                 "for await (const e of s) if (e.type === 'content_block_delta') tell(e.delta.text);",
}
JS_TELL = "const tell = t => console.log(JSON.stringify([performance.now(), t]));\n"
PYTHON = {
    "openai": "from openai import OpenAI\n"
              "for e in OpenAI().chat.completions.create(model='m', stream=True, "
              "messages=[{'role': 'user', 'content': 'hello'}]): tell(e.choices[0].delta.content)\n",
    "anthropic": "from anthropic import Anthropic\n"
                 "with Anthropic().messages.stream(model='m', max_tokens=9, "
                 "messages=[{'role': 'user', 'content': 'hello'}]) as s:\n"
                 "    for text in s.text_stream: tell(text)\n",
}
PYTHON_TELL = ("import json, time\n"
               "def tell(t): print(json.dumps([time.monotonic() * 1000, t]), flush=True)\n")
RUNTIMES = {
    "node": ("f.mjs", JS_TELL, JS, "node f.mjs"),
    "deno": ("f.mjs", JS_TELL, JS, "deno run -q -A f.mjs"),
    "python": ("f.py", PYTHON_TELL, PYTHON, "PYTHONPATH=/home/app/python python3 f.py"),
}
PACKAGES = {"openai": "openai", "anthropic": "@anthropic-ai/sdk"}


@dataclasses.dataclass
class Place:
    sandbox: Sandbox
    sites: dict


# The first one puts some 30 MB into the sandbox.
pytestmark = pytest.mark.seconds(120)


@pytest.fixture(autouse=True)
def fresh_records():
    """The bench of the other files, which records, is not needed here."""


@pytest.fixture(scope="module")
def place(leaks_before, authority, tmp_path_factory):
    wanted = {host: value for host, value in VALUES.values()}
    with web.sites(authority, wanted, tmp_path_factory.mktemp) as sites:
        flags = [f"--egress-ca={authority.cert}"]
        flags += [f"--egress-host={name}={site.address}" for name, site in sites.items()]
        with Instance(tmp_path_factory.mktemp("state"), *flags) as instance:
            with Sandbox(instance, allow_net=list(wanted), secrets={
                    name: {"hosts": [host], "value": value}
                    for name, (host, value) in VALUES.items()}) as sandbox:
                web.unpack(sandbox, "python", CACHE / "python" / "clients", ("/bin/uv",))
                web.unpack(sandbox, "js", CACHE / "npm" / "sdks", (".ts", ".map", ".mts", ".cts"))
                yield Place(sandbox, sites)
    assert not leaks.since(leaks_before)


def version(sandbox: Sandbox, runtime: str, library: str) -> str:
    if runtime == "python":
        return sandbox.check_sh(f"PYTHONPATH=/home/app/python python3 -c 'import {library}; "
                                f"print({library}.__version__)'")
    manifest = sandbox.read(f"/home/app/js/node_modules/{PACKAGES[library]}/package.json")
    return json.loads(manifest)["version"]


@pytest.mark.parametrize("library", ["openai", "anthropic"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_case_83_streaming(place, runtime, library):
    variable = f"{library.upper()}_API_KEY"
    host, value = VALUES[variable]
    name, tell, programs, command = RUNTIMES[runtime]
    site = place.sites[host]
    site.heads.clear()
    place.sandbox.write(f"/home/app/js/{name}", (tell + programs[library]).encode())
    out = place.sandbox.sh(f"cd /home/app/js && {command}", timeout=50)
    assert out.code == 0, out
    events = [json.loads(line) for line in out.text.splitlines()]
    placeholder = place.sandbox.check_sh(f"printenv {variable}").strip()
    assert placeholder != value
    # The host answered with the key that it was given; what came back is the placeholder.
    assert "".join(text for _, text in events) == "".join(
        f"word{n} " for n in range(web.EVENTS - 1)) + placeholder
    assert any(value.encode() in head for head in site.heads)
    assert value.encode() not in out.stdout + out.stderr
    # Event by event: a stream that was gathered first would come all at once. On a busy machine one may
    # wait for the next.
    gaps = [after[0] - before[0] for before, after in zip(events, events[1:])]
    assert len(events) == web.EVENTS
    assert sum(gap > web.EVENT_PAUSE_S * 1000 / 2 for gap in gaps) >= web.EVENTS // 2, gaps
    note(f"{library} SDK, {runtime}", version(place.sandbox, runtime, library), bound=True)


def test_case_83_the_keys_are_nowhere_inside(place):
    """After all of it: in no file and no environment of the sandbox."""
    assert all(key.encode() in b"".join(site.heads) for site, key in (
        (place.sites["api.openai.com"], OPENAI_KEY), (place.sites["api.anthropic.com"], ANTHROPIC_KEY)))
    for value in (OPENAI_KEY, ANTHROPIC_KEY):
        # Put together inside, so that the search does not find itself.
        half = len(value) // 2
        script = (f"a='{value[:half]}'; b='{value[half:]}'; "
                  "sudo grep -rlF \"$a$b\" /home /tmp /var /etc /run 2>/dev/null; "
                  "sudo cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -cF \"$a$b\"; true")
        assert place.sandbox.check_sh(script).split() == ["0"]
