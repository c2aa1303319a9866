# SPDX-License-Identifier: Apache-2.0
"""What the client offers and this server does not: each is refused by name, at once, and the connection goes
on. A deployment platform is not what Casemate is; the rest is not built yet."""

import importlib
import inspect
import json
import pathlib

import pytest
from faces import settle

pytestmark = pytest.mark.unsupported

SERVICES = ("apps", "revisions", "timelines", "layers", "volumes", "snapshots")


def service_methods():
    for service in SERVICES:
        try:
            module = importlib.import_module(f"deno_sandbox.{service}")
        except ModuleNotFoundError:
            continue  # layers, in an older release
        for name in vars(getattr(module, service.capitalize())):
            if not name.startswith("_"):
                yield pytest.param(service, name, id=f"{service}.{name}")


def arguments(method) -> dict:
    """A value for each parameter that must be given; which one does not matter."""
    return {p.name: "x" for p in inspect.signature(method).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


async def drain(value):
    value = await settle(value)
    if hasattr(value, "__aiter__"):
        async for _ in value:
            pass
    elif inspect.isgenerator(value):
        for _ in value:
            pass
    return value


@pytest.mark.parametrize("service, name", list(service_methods()))
async def test_services(face, service, name):
    method = getattr(getattr(face.client, service), name)
    with pytest.raises(Exception) as caught:
        positional = ("x",) if (service, name) == ("revisions", "get") else ()
        await drain(method(*positional, **({} if positional else arguments(method))))
    assert "501" in str(caught.value)
    response = getattr(caught.value, "response", None)
    text = response.text if response is not None and response.is_stream_consumed else str(caught.value)
    assert "NOT_IMPLEMENTED" in text and "not offered by this server" in text


@pytest.mark.parametrize("name, params", [("expose_http", {"port": 8000}), ("expose_ssh", {})])
async def test_exposing(sb, name, params):
    with pytest.raises(Exception, match="501"):
        await settle(getattr(sb, name)(**params))
    assert await settle(sb.env.get("HOME")) == "/home/app"


async def test_download_is_no_method_of_the_protocol(sb):
    """The client calls a method that no server has."""
    from deno_sandbox.errors import UnknownRpcMethod
    with pytest.raises(UnknownRpcMethod):
        await settle(sb.fs.download("here", "/etc/hostname"))
    assert await settle(sb.env.get("HOME")) == "/home/app"


async def test_deploy(sb):
    with pytest.raises(Exception) as caught:
        await settle(sb.deno.deploy("app", entrypoint="main.ts"))
    assert "501" in str(caught.value)


# What is built is no longer refused: the description of the API tells.
DOCUMENT = json.loads((pathlib.Path(__file__).parents[2] / "api/openrpc.json").read_text())
UNBUILT = {m["name"] for m in DOCUMENT["methods"] if m.get("x-not-supported")}
NOT_YET = {name: call for name, (method, call) in {
    "fetch": ("fetch", lambda sb: sb.fetch("https://api.test/")),
    "deno.run": ("spawnDeno", lambda sb: sb.deno.run(code="1")),
    "deno.eval": ("spawnDenoRepl", lambda sb: sb.deno.eval("1")),
    "deno.repl": ("spawnDenoRepl", lambda sb: sb.deno.repl()),
}.items() if method in UNBUILT}


@pytest.mark.parametrize("name", list(NOT_YET))
async def test_not_built_yet(sb, name):
    with pytest.raises(Exception, match="NotSupported"):
        manager = NOT_YET[name](sb)
        if hasattr(manager, "__aenter__"):
            await manager.__aenter__()
        elif hasattr(manager, "__enter__"):
            manager.__enter__()
        else:
            await settle(manager)
    assert await settle(sb.env.get("HOME")) == "/home/app"
