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


