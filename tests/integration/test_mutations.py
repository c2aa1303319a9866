# SPDX-License-Identifier: Apache-2.0
"""Calls made from api/openrpc.json and spoilt in one place. A param of a wrong type is always -32602 in the
documented form, naming the param; everything else is answered as documented; and nobody dies of it. The
seeds are fixed but for one, which the test's id tells; CASEMATE_SEED=N runs that one again."""

import json
import os
import random

import pytest

from harness import contract, mutate, rpc
from harness.rpc import RawSocket, Sandbox, frame

SEEDS = [1, 2, 3, int(os.environ.get("CASEMATE_SEED") or random.SystemRandom().randrange(1 << 32))]
CHANGES = 60  # of each method, for each seed
# Where a change would make later calls of the same sandbox impossible.
TAME = {"envSet": "key", "chmod": "path", "remove": "path", "rename": "oldPath", "chown": "path"}


@pytest.fixture(scope="module")
def victim(instance):
    with Sandbox(instance) as sandbox:
        yield sandbox


def base_params(sb: Sandbox, rng: random.Random) -> dict[str, dict]:
    """For each method that is built, params with which it works here."""
    sb.call("umask", mask=0o22)
    w = f"w{rng.getrandbits(64):x}"
    sb.call("mkdir", path=f"{w}/d", options={"recursive": True})
    for name in ("a", "b"):
        sb.call("writeTextFile", path=f"{w}/{name}", content="sand")
    handle = sb.call("open", path=f"{w}/b", options={"read": True, "write": True})["fileHandleId"]
    pid = sb.spawn("true", stdout="null", stderr="null", clearEnv=True)["pid"]
    sb.call("processWait", pid=pid)
    fresh = f"{w}/{rng.getrandbits(64):x}"
    known = {name: {"path": f"{w}/a"} for name in (
        "readFile", "readTextFile", "stat", "lstat", "realPath", "create")}
    known |= {name: {"fileHandleId": handle} for name in (
        "fileStat", "fileSync", "fileSyncData", "fileLock", "fileUnlock", "fileTruncate")}
    return known | {
        "abort": {"abortId": 3}, "readDir": {"path": w}, "readLink": {"path": f"{w}/a"},
        "chmod": {"path": f"{w}/a", "mode": 0o644}, "chown": {"path": f"{w}/a", "uid": None, "gid": None},
        "copyFile": {"fromPath": f"{w}/a", "toPath": f"{w}/c"}, "link": {"target": f"{w}/a", "path": fresh},
        "symlink": {"target": "a", "path": fresh, "options": {"type": "file"}},
        "rename": {"oldPath": f"{w}/c", "newPath": f"{w}/e"}, "remove": {"path": fresh, "options": {"recursive": True}},
        "mkdir": {"path": fresh, "options": {"recursive": True, "mode": 0o700}},
        "truncate": {"name": f"{w}/a", "length": 4}, "umask": {"mask": 0o22},
        "utime": {"path": f"{w}/a", "atime": 1, "mtime": "2026-03-04T05:06:07.089Z"},
        "makeTempDir": {"options": {"dir": w, "prefix": "p", "suffix": "s"}},
        "makeTempFile": {"options": {"dir": w, "prefix": "p", "suffix": "s"}},
        "walk": {"path": w, "maxDepth": 1, "exts": ["x"], "match": [{"source": "a", "flags": "i"}], "skip": []},
        "expandGlob": {"glob": f"{w}/[a-c]*", "root": ".", "exclude": [f"{w}/c"], "extended": True},
        "writeFile": {"path": f"{w}/a", "content": "c2FuZA==", "options": {"append": False, "mode": 0o644}},
        "writeTextFile": {"path": f"{w}/a", "content": "sand", "options": {"create": True}},
        "open": {"path": f"{w}/a", "options": {"read": True, "mode": 0o600}},
        "fileWrite": {"fileHandleId": handle, "data": "c2FuZA=="},
        "fileSeek": {"fileHandleId": handle, "offset": "0", "whence": 0},
        "fileRead": {"fileHandleId": handle, "length": 10},
        "fileUtime": {"fileHandleId": handle, "atime": 1, "mtime": 2}, "fileClose": {"fileHandleId": 12345},
        "envSet": {"key": "STAGE", "value": "x"}, "envGet": {"key": "STAGE"}, "envDelete": {"key": "STAGE"},
        "envToObject": {},
        "spawn": {"command": "true", "args": ["a", "b"], "env": {"A": "1"}, "clearEnv": True, "cwd": w,
                  "stdout": "null", "stderr": "null"},
        "processWait": {"pid": pid}, "processKill": {"pid": pid, "signal": "SIGTERM"},
    }


def send_with_id(sb: Sandbox, id_text: str, method: str, params: dict) -> None:
    sb.send('{"jsonrpc":"2.0","id":%s,"method":%s,"params":%s}'
            % (id_text, json.dumps(method), json.dumps(params)))


def check(method: str, params: dict, message: dict) -> None:
    contract.check_answer(method, message)
    code = message.get("error", {}).get("code")
    wrong = mutate.wrong(method, params)
    if mutate.has_nul_key(params):
        assert code == -32600, message
    elif wrong:
        assert code == -32602, f"{method} took {wrong}: {params!r:.500} {message!r:.500}"
        paths = {issue["path"][0] for issue in json.loads(message["error"]["data"]["message"])}
        assert paths == wrong, f"{method}: {wrong} are wrong, {paths} are named"
    elif mutate.has_nul(method, params):
        error = message["result"]["error"]
        assert (error["constructorName"], error["code"]) == ("TypeError", None), error
    else:
        assert code in (None, -32602), message


def spoilt(rng: random.Random, method: str, params: dict) -> dict:
    while True:
        changed = mutate.mutate(rng, method, params)
        member = TAME.get(method)
        if member is None or changed.get(member) == params[member] or mutate.wrong(method, changed):
            return changed


@pytest.mark.seconds(120)
@pytest.mark.parametrize("seed", SEEDS)
def test_spoilt_calls(victim, seed):
    rng = random.Random(seed)
    bases = base_params(victim, rng)
    assert set(bases) >= set(contract.BUILT) - {
        "spawnDeno", "spawnDenoRepl", "denoHttpWait", "denoReplCall", "denoReplClose", "denoReplEval", "exposeHttp",
        "fetch"}
    number = seed << 20
    for method in sorted(bases):
        for _ in range(CHANGES):
            params = spoilt(rng, method, bases[method])
            number += 1
            text = mutate.id_text(rng, number)
            victim.messages.clear()
            send_with_id(victim, text, method, params)
            # A lone surrogate in an id comes back as it was sent, too.
            message = victim.answer(json.loads(text))
            assert any(f'"id":{text},' in m for m in victim.messages), "the id's own text"
            check(method, params, message)
    out = victim.run("echo", "on", clearEnv=True)
    assert (out.code, out.stdout) == (0, b"on\n")


@pytest.mark.parametrize("depth", [50, 120, 400, 20000])
def test_deep_params(victim, depth):
    text = '{"a":' * depth + "1" + "}" * depth
    with Sandbox(victim.instance, id=victim.id) as other:
        other.send('{"jsonrpc":"2.0","id":1,"method":"envGet","params":{"key":"HOME","deep":%s}}' % text)
        if depth < contract.DOCUMENT["x-limits"]["depth"]:
            assert other.answer(1)["result"] == {"ok": "/home/app"}
        else:
            assert other.wait_closed().code == 4000
    assert victim.call("envGet", key="HOME") == "/home/app"


@pytest.mark.parametrize("seed", SEEDS)
def test_spoilt_text(victim, seed):
    """Bytes changed anywhere in a call: an answer, or the end of that one connection with a reason."""
    rng = random.Random(seed)
    good = b'{"jsonrpc":"2.0","id":7,"method":"envGet","params":{"key":"HOME","more":[1.5e3,"\\u00e9",null]}}'
    for _ in range(150):
        text = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            if rng.random() < 0.5:
                text[at] = rng.choice(b'\x00"{}[],:\\\x7f\x80\xff0aeE-+. \n')
            else:
                del text[at:at + rng.randrange(1, 9)]
                text = text or bytearray(b" ")
        with RawSocket(victim.instance) as sock:
            assert sock.upgrade(f"/api/v3/sandbox/{victim.id}/connect", config=None)[0] == 101
            sock.send(frame(rpc.TEXT, bytes(text)) + frame(rpc.TEXT, b"ping"))
            opcode, _, payload = sock.frame()
            if opcode == rpc.CLOSE:
                assert int.from_bytes(payload[:2], "big") in (4000, 4001, 1007), bytes(text)
                continue
            assert opcode == rpc.TEXT, bytes(text)
            if payload != b"pong":  # else it was a notification, or the answer comes after it
                answer = json.loads(payload)
                assert "result" in answer or not contract.check_failure(answer["error"]), bytes(text)
    assert victim.call("envGet", key="HOME") == "/home/app"
