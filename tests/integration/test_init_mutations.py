# SPDX-License-Identifier: Apache-2.0
"""The spoilt calls of test_mutations.py, given to casemate-init alone in frames: so it runs with sanitizers,
which it does not in a sandbox, and its memory is seen to be let go at its end."""

import os
import random

import pytest
from harness import contract, mutate
from harness.guest import CANCEL, FAILURE, OK, Guest
from harness.instance import build_dir

INIT = str(build_dir() / "casemate-init")
SEED = int(os.environ.get("CASEMATE_SEED") or random.SystemRandom().randrange(1 << 32))

pytestmark = pytest.mark.skipif(not os.path.exists(INIT), reason=f"{INIT} is not built")


def answer(guest: Guest, channel, number: int) -> dict:
    """As a client would see it, but for the ids of streams, which the daemon adds."""
    guest.until(lambda: number in channel.results, 20)
    flags, streams, value = channel.results.pop(number)
    if flags & FAILURE:
        return {"jsonrpc": "2.0", "error": value}
    return {"jsonrpc": "2.0", "result": {"ok" if flags & OK else "error": value}, "streams": streams}


@pytest.mark.seconds(120)
@pytest.mark.parametrize("seed", [5, 6, SEED])
def test_spoilt_calls(seed):
    rng = random.Random(seed)
    guest = Guest(INIT)
    channel = guest.open(1)
    bases = mutate.base_params(channel, rng)
    for method in sorted(bases):
        for _ in range(40):
            params = mutate.spoilt(rng, method, bases[method])
            message = answer(guest, channel, channel.start(method, **params))
            streams = message.pop("streams", ())
            if not streams:
                contract.check_answer(method, message)
            for stream in streams:  # what a walk of / would yield is not wanted here
                if stream:
                    guest.send(CANCEL, channel.number, stream)
            mutate.check(method, params, message)
    assert channel.call("envGet", key="HOME") == "/home/app"
    assert guest.close() == 0
