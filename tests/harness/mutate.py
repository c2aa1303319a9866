# SPDX-License-Identifier: Apache-2.0
"""Calls that are wrong in one place, made from api/openrpc.json, and what the document says of each."""

import copy
import json
import random

from harness.contract import METHODS, violations

SAFE = 2**53
HOSTILE_NUMBERS = [0, -1, 1, 0.5, -0.0, 1e300, -1e300, SAFE, -SAFE, SAFE - 1, 2**31, 2**32, 2**63, 2**64, 10**40]
HOSTILE_TEXTS = ["", "\0", "no\0such", "\ud800", "\udfff\ud800", "no-such", "-1", "0x10", "9" * 30, "%s%n", "\u202e",
                 "../" * 5000 + "no-such", "../no-such", "no-such/../no-such", "no-such/" * 3000, "n" * 256,
                 "n" * (1 << 20), "/proc/self/mem", "/proc/1/root/no-such", "/proc/self/fd/3", "/dev/full",
                 "/dev/tty", "/sys/kernel/no-such", "file:///etc/passwd", "~", "é" * 2000]


def deep(depth: int):
    value = 1
    for i in range(depth):
        value = [value] if i % 2 else {"d": value}
    return value


def anything(rng: random.Random):
    """A value of any type, small or hostile."""
    return rng.choice([
        lambda: None, lambda: rng.random() < 0.5, lambda: rng.choice(HOSTILE_NUMBERS),
        lambda: rng.choice(HOSTILE_TEXTS), lambda: [], lambda: {}, lambda: deep(rng.randrange(1, 100)),
        lambda: [anything(rng) for _ in range(rng.randrange(4))],
        lambda: {rng.choice(("a", "path", "source", "__proto__", "", "\0")): anything(rng)},
    ])()


def places(value, at=()):
    """Every place in a document of params, the outermost left out."""
    if at:
        yield at
    if isinstance(value, (dict, list)):
        for key in (value if isinstance(value, dict) else range(len(value))):
            yield from places(value[key], (*at, key))


def _owner(params, place):
    for key in place[:-1]:
        params = params[key]
    return params


def mutate(rng: random.Random, method: str, params: dict) -> dict:
    """A copy with one change: a member replaced, gone, renamed, added, or an option that was not there."""
    params = copy.deepcopy(params)
    kind = rng.choice(("replace", "replace", "replace", "drop", "extra", "option"))
    options = [p["name"] for p in METHODS[method]["params"] if p["name"] not in params]
    if kind == "option" and options:
        params[rng.choice(options)] = anything(rng)
    elif kind == "extra" or not params:
        params[rng.choice(("stdin", "x", "", "no-such", "toString"))] = anything(rng)
    else:
        place = rng.choice(list(places(params)))
        owner = _owner(params, place)
        if kind == "drop":
            del owner[place[-1]]
        else:
            owner[place[-1]] = anything(rng)
    return params


def _without_nul(value):
    if isinstance(value, str):
        return value.replace("\0", "\1")
    if isinstance(value, list):
        return [_without_nul(v) for v in value]
    if isinstance(value, dict):
        return {k.replace("\0", "\1"): _without_nul(v) for k, v in value.items()}
    return value


def has_nul_key(value) -> bool:
    """Whether it can be held at all: the whole request is refused for such a key."""
    if isinstance(value, dict):
        return any("\0" in k or has_nul_key(v) for k, v in value.items())
    return isinstance(value, list) and any(map(has_nul_key, value))


def wrong(method: str, params: dict) -> set[str]:
    """Names of the params that are not of the type that the document tells; a NUL is another matter."""
    found = set()
    for p in METHODS[method]["params"]:
        if p["name"] not in params:
            if p["required"]:
                found.add(p["name"])
        elif violations(p["schema"], _without_nul(params[p["name"]])):
            found.add(p["name"])
    return found


def has_nul(method: str, params: dict) -> bool:
    """Whether nothing but a NUL is wrong with them."""
    return any(violations(p["schema"], params[p["name"]])
               for p in METHODS[method]["params"] if p["name"] in params)


def id_text(rng: random.Random, number: int) -> str:
    """An id as JSON text, of any kind that JSON-RPC allows; no two are equal."""
    return rng.choice([
        lambda: str(number), lambda: f"-{number + 1}", lambda: f"{number}.5", lambda: f"{number}e30",
        lambda: str(2**53 + 2 * number), lambda: json.dumps(f"id {number}"),
        lambda: f'"\\u00e9\\n{number}"', lambda: f'"\\ud800 {number}"',
    ])()


# Where a change would make later calls of the same sandbox impossible.
TAME = {"envSet": "key", "chmod": "path", "remove": "path", "rename": "oldPath", "chown": "path"}
# Methods that start or reach other programs, which have tests of their own.
LEFT_OUT = {"spawnDeno", "spawnDenoRepl", "denoHttpWait", "denoReplCall", "denoReplClose", "denoReplEval",
            "exposeHttp", "fetch"}


def base_params(sb, rng: random.Random) -> dict[str, dict]:
    """For each method that is built, params with which it works; sb is anything that has call() and spawn()."""
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


def spoilt(rng: random.Random, method: str, params: dict) -> dict:
    while True:
        changed = mutate(rng, method, params)
        member = TAME.get(method)
        if member is None or changed.get(member) == params[member] or wrong(method, changed):
            return changed


def check(method: str, params: dict, message: dict) -> None:
    """Whether the answer is the one that the document tells of these params."""
    code = message.get("error", {}).get("code")
    bad = wrong(method, params)
    if has_nul_key(params):
        assert code == -32600, message
    elif bad:
        assert code == -32602, f"{method} took {bad}: {params!r:.500} {message!r:.500}"
        paths = {issue["path"][0] for issue in json.loads(message["error"]["data"]["message"])}
        assert paths == bad, f"{method}: {bad} are wrong, {paths} are named"
    elif has_nul(method, params):
        error = message["result"]["error"]
        assert (error["constructorName"], error["code"]) == ("TypeError", None), error
    else:
        assert code in (None, -32602), message
