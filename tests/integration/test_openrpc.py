# SPDX-License-Identifier: Apache-2.0
"""api/openrpc.json: it has init's methods and parameters and no others, and what it tells of results is
what comes."""

import base64
import importlib.machinery
import importlib.util
import json
import pathlib
import re

import pytest

from harness import contract
from harness.contract import BUILT, DOCUMENT, METHODS, violations
from harness.rpc import Sandbox

REPO = pathlib.Path(__file__).resolve().parents[2]


def load_tool():
    loader = importlib.machinery.SourceFileLoader("openrpc_tool", str(REPO / "tools/openrpc"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


TOOL = load_tool()
TABLES = TOOL.tables()


def test_it_has_what_init_has_and_nothing_else():
    assert TOOL.differences(DOCUMENT, TABLES) == [], "tools/openrpc --update"


@pytest.mark.parametrize("spoil", [
    lambda d: d["methods"].pop(),
    lambda d: d["methods"].append({"name": "zzz", "params": []}),
    lambda d: d["methods"].reverse(),
    lambda d: d["methods"][1]["params"].pop(),
    lambda d: d["methods"][1]["params"][0].update(required=False),
    lambda d: d["methods"][1]["params"][0].update(schema={"type": "number"}),
    lambda d: d["methods"][1].update({"x-not-supported": True}),
])
def test_the_comparison_finds_what_differs(spoil):
    document = TOOL.load()
    spoil(document)
    assert TOOL.differences(document, TABLES)


def test_it_is_openrpc():
    assert re.fullmatch(r"1\.3\.\d", DOCUMENT["openrpc"])
    assert DOCUMENT["info"]["title"] and DOCUMENT["info"]["version"]
    for method in METHODS.values():
        assert method["summary"] and method["paramStructure"] == "by-name"
        assert set(method["result"]) == {"name", "schema"}
        for p in method["params"]:
            assert {"name", "required", "schema"} <= set(p) <= {"name", "required", "schema", "description", "x-own-check"}
        for error in method["errors"]:
            assert error["$ref"].removeprefix("#/components/errors/") in DOCUMENT["components"]["errors"]


def test_every_reference_leads_somewhere():
    def visit(value):
        if isinstance(value, dict):
            if "$ref" in value and "/schemas/" in value["$ref"]:
                contract.resolve(value)
            value = value.values()
        if not isinstance(value, str) and hasattr(value, "__iter__"):
            for v in value:
                visit(v)
    visit(DOCUMENT)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "vscode"])
def test_its_examples_are_what_it_describes(name):
    method = METHODS[name]
    params = {p["name"]: p for p in method["params"]}
    assert method["examples"], "at least one"
    for example in method["examples"]:
        given = {p["name"]: p["value"] for p in example["params"]}
        assert set(given) <= set(params)
        assert {n for n, p in params.items() if p["required"]} <= set(given)
        for key, value in given.items():
            assert not violations(params[key]["schema"], value, key)
        assert not violations(method["result"]["schema"], example["result"]["value"], name)


def test_error_classes_are_those_of_init():
    source = (REPO / "src/init/errors.c").read_text()
    rows = dict(re.findall(r'\{(E[A-Z]+), "(\w+)"\}', source))
    assert len(rows) > 20
    assert DOCUMENT["x-errno-classes"] == {**rows, "*": "Error"}


# One call of each method that works, in an order in which it does; each answer is held to the document.
def calls(sb):
    number = {}

    def do(method, **params):
        message = sb.answer(sb.start(method, **params))
        contract.check_answer(method, message)
        assert "ok" in message.get("result", {}), message
        number[method] = message["result"]["ok"]
        return number[method]

    do("abort", abortId=1)
    do("writeTextFile", path="a", content="sand")
    do("writeFile", path="b", content="c2FuZA==")
    for method in ("readFile", "readTextFile", "stat", "lstat", "realPath"):
        do(method, path="a")
    do("chmod", path="a", mode=0o640)
    do("chown", path="a", uid=None, gid=None)
    do("copyFile", fromPath="a", toPath="c")
    do("link", target="a", path="d")
    do("symlink", target="a", path="e")
    do("readLink", path="e")
    do("mkdir", path="f")
    do("rename", oldPath="c", newPath="f/c")
    do("readDir", path="f")
    do("truncate", name="b", length=2)
    do("umask", mask=0o22)
    do("utime", path="b", atime=1, mtime="2026-03-04T05:06:07.089Z")
    do("makeTempDir")
    do("makeTempFile")
    do("remove", path="d")
    do("walk", path=".")
    do("expandGlob", glob="*")
    do("envSet", key="STAGE", value="test")
    do("envGet", key="STAGE")
    do("envGet", key="NO_SUCH")
    do("envToObject")
    do("envDelete", key="STAGE")
    do("create", path="g")
    handle = do("open", path="g", options={"read": True, "write": True})["fileHandleId"]
    do("fileWrite", fileHandleId=handle, data="c2FuZA==")
    do("fileSeek", fileHandleId=handle, offset="0", whence=0)
    do("fileRead", fileHandleId=handle, length=10)
    do("fileRead", fileHandleId=handle, length=10)
    for method in ("fileStat", "fileSync", "fileSyncData", "fileLock", "fileUnlock", "fileTruncate"):
        do(method, fileHandleId=handle)
    do("fileUtime", fileHandleId=handle, atime=1, mtime=2)
    do("fileClose", fileHandleId=handle)
    pid = do("spawn", command="sleep", args=["60"], stdout="piped", stderr="null")["pid"]
    do("processKill", pid=pid, signal="SIGINT")
    do("processWait", pid=pid)
    return set(number)


def test_notifications_are_as_described(instance):
    """A session with every kind of stream: what the server sent is in the document, in form and in direction."""
    notes = {(n["name"], n["from"]): n for n in DOCUMENT["x-notifications"]}
    with Sandbox(instance) as sb:
        sb.sh("echo out; echo err >&2")
        number = sb.call("walk", path="/etc/default")["streamId"]
        sb.wait(lambda: sb.streams.get(number) and sb.streams[number].ended)
        # A tree that is deeper than paths are long ends its stream with an error.
        sb.python("import os\nfor i in range(40):\n  os.mkdir('d' * 200); os.chdir('d' * 200)")
        deep = sb.call("walk", path=".")["streamId"]
        sb.wait(lambda: sb.streams.get(deep) and sb.streams[deep].ended)
        stdin = sb.open_stream()
        sb.collect(sb.spawn("true", stdinStreamId=stdin))
        sb.enqueue(stdin, b"too late")
        sb.wait(lambda: stdin in sb.cancelled)
        seen = set()
        for text in sb.messages:
            message = json.loads(text)
            if "id" in message:
                continue
            assert set(message) == {"jsonrpc", "method", "params"}
            note = notes[message["method"], "server"]
            params = {p["name"]: p["schema"] for p in note["params"]}
            assert set(message["params"]) == set(params)
            for key, value in message["params"].items():
                assert not violations(params[key], value, key)
            if message["method"].endswith("enqueue") and message["params"]["streamId"] == number:
                entry = json.loads(base64.b64decode(message["params"]["data"]))
                assert not violations(contract.SCHEMAS["Entry"], entry)
            seen.add(message["method"].removeprefix("$sandbox.stream."))
        assert seen == {"start", "enqueue", "end", "error", "cancel"}


# Their answers are held to the document where they are tested (docs/compatibility.md tells where).
ELSEWHERE = {"spawnDeno", "spawnDenoRepl", "denoHttpWait", "denoReplCall", "denoReplClose", "denoReplEval",
             "exposeHttp", "fetch"}


def test_results_are_as_described(shared):
    assert calls(shared) == set(BUILT) - ELSEWHERE


@pytest.mark.parametrize("name", [n for n in METHODS if n not in BUILT])
def test_what_is_not_supported_says_so(shared, name):
    message = shared.answer(shared.start(name))
    contract.check_answer(name, message)
    error = message["result"]["error"]
    assert (error["constructorName"], error["code"]) == ("NotSupported", "ENOTSUP")
    assert error["message"] == f"The method {name} is not supported"


def test_a_method_that_is_not_described_is_not_found(shared):
    for name in ("download", "Spawn", "spawn ", "", "__proto__", "$sandbox.stream.start"):
        error = shared.answer(shared.start(name))["error"]
        assert error == {"code": -32601, "message": "Method not found"}, name


# Calls that fail, with the class that the document tells of the method: all of them, and no others.
OPEN = {"path": "e/f", "options": {"createNew": True, "write": True}}
FAILURES = [
    ("chmod", {"path": "none", "mode": 0}, "NotFound"), ("chmod", {"path": "/etc", "mode": 0}, "PermissionDenied"),
    ("chown", {"path": "none", "uid": None}, "NotFound"), ("chown", {"path": "e", "uid": 0}, "PermissionDenied"),
    ("copyFile", {"fromPath": "none", "toPath": "x"}, "NotFound"),
    ("copyFile", {"fromPath": "e/f", "toPath": "e"}, "IsADirectory"),
    ("create", {"path": "none/x"}, "NotFound"), ("create", {"path": "/etc/x"}, "PermissionDenied"),
    ("envSet", {"key": "A=B", "value": ""}, "TypeError"),
    ("expandGlob", {"glob": "[z-a]"}, "SyntaxError"), ("expandGlob", {"glob": "*", "exclude": ["[z-a]"]}, "SyntaxError"),
    ("expandGlob", {"glob": "*/" * 70}, "RangeError"), ("expandGlob", {"glob": "*/../x"}, "NotSupported"),
    ("expandGlob", {"glob": "x" * 300}, "Error"),
    ("link", {"target": "none", "path": "x"}, "NotFound"), ("link", {"target": "e/f", "path": "e/f"}, "AlreadyExists"),
    ("mkdir", {"path": "e"}, "AlreadyExists"), ("mkdir", {"path": "none/x"}, "NotFound"),
    ("open", {"path": "none"}, "NotFound"), ("open", OPEN, "AlreadyExists"),
    ("open", {"path": "/etc/shadow"}, "PermissionDenied"),
    ("open", {"path": "e/f", "options": {"create": True}}, "TypeError"),
    ("processKill", {"pid": 999999}, "TypeError"), ("processWait", {"pid": 999999}, "NotFound"),
    ("readDir", {"path": "none"}, "NotFound"), ("readDir", {"path": "e/f"}, "NotADirectory"),
    ("readFile", {"path": "none"}, "NotFound"), ("readFile", {"path": "e"}, "IsADirectory"),
    ("readFile", {"path": "e/large"}, "RangeError"), ("readLink", {"path": "none"}, "NotFound"),
    ("readLink", {"path": "e/f"}, "TypeError"),
    ("readTextFile", {"path": "none"}, "NotFound"), ("readTextFile", {"path": "e"}, "IsADirectory"),
    ("readTextFile", {"path": "e/large"}, "RangeError"), ("realPath", {"path": "none"}, "NotFound"),
    ("remove", {"path": "none"}, "NotFound"), ("remove", {"path": "e"}, "Error"),
    ("rename", {"oldPath": "none", "newPath": "x"}, "NotFound"),
    ("spawn", {"command": "none", "stdout": "null", "stderr": "null"}, "NotFound"),
    ("spawn", {"command": "/etc/hostname", "stdout": "null", "stderr": "null"}, "PermissionDenied"),
    ("stat", {"path": "none"}, "NotFound"), ("lstat", {"path": "none"}, "NotFound"),
    ("symlink", {"target": "x", "path": "e"}, "AlreadyExists"), ("symlink", {"target": "x", "path": "none/x"}, "NotFound"),
    ("truncate", {"name": "none"}, "NotFound"), ("utime", {"path": "none", "atime": 1, "mtime": 1}, "NotFound"),
    ("walk", {"path": "none"}, "NotFound"), ("walk", {"path": "e", "match": [{"source": "(", "flags": ""}]}, "SyntaxError"),
    ("walk", {"path": "e", "exts": ["x"] * 2000}, "RangeError"),
    ("walk", {"path": "e", "match": [{"source": "a", "flags": "v"}]}, "NotSupported"),
    *((method, params, expected) for method in ("writeFile", "writeTextFile") for params, expected in (
        ({"path": "none/x", "content": ""}, "NotFound"), ({"path": "e", "content": ""}, "IsADirectory"),
        ({"path": "e/f", "content": "", "options": {"createNew": True}}, "AlreadyExists"))),
    *((name, {"fileHandleId": 9999, **more}, "BadResource") for name, more in {
        "fileClose": {}, "fileLock": {}, "fileRead": {"length": 1}, "fileSeek": {"offset": 0, "whence": 0}, "fileStat": {},
        "fileSync": {}, "fileSyncData": {}, "fileTruncate": {}, "fileUnlock": {}, "fileUtime": {"atime": 1, "mtime": 1},
        "fileWrite": {"data": ""}}.items()),
]


def test_failures_are_as_described(instance):
    with Sandbox(instance) as sb:
        sb.check_sh("mkdir e && touch e/f && truncate -s 200M e/large")
        seen, other = {}, []
        for method, params, expected in FAILURES:
            message = sb.answer(sb.start(method, **params))
            contract.check_answer(method, message)
            found = message.get("result", {}).get("error", {}).get("constructorName")
            seen.setdefault(method, set()).add(found)
            if found != expected:
                other.append((method, params, message))
        assert not other
    told = {n: set(m["x-error-classes"]) for n, m in BUILT.items() if m["x-error-classes"] and n not in ELSEWHERE}
    assert seen == told
