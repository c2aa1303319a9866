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


@pytest.fixture(scope="module")
def victim(instance):
    with Sandbox(instance) as sandbox:
        yield sandbox


def send_with_id(sb: Sandbox, id_text: str, method: str, params: dict) -> None:
    sb.send('{"jsonrpc":"2.0","id":%s,"method":%s,"params":%s}'
            % (id_text, json.dumps(method), json.dumps(params)))


@pytest.mark.seconds(120)
@pytest.mark.parametrize("seed", SEEDS)
def test_spoilt_calls(victim, seed):
    rng = random.Random(seed)
    bases = mutate.base_params(victim, rng)
    assert set(bases) >= set(contract.BUILT) - mutate.LEFT_OUT
    number = seed << 20
    for method in sorted(bases):
        for _ in range(CHANGES):
            params = mutate.spoilt(rng, method, bases[method])
            number += 1
            text = mutate.id_text(rng, number)
            victim.messages.clear()
            send_with_id(victim, text, method, params)
            # A lone surrogate in an id comes back as it was sent, too.
            message = victim.answer(json.loads(text))
            assert any(f'"id":{text},' in m for m in victim.messages), "the id's own text"
            contract.check_answer(method, message)
            mutate.check(method, params, message)
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
