# SPDX-License-Identifier: Apache-2.0
"""The method fetch, called as a client would, over harness.rpc."""

import base64
import dataclasses
import json

import pytest
from harness.rpc import AppError, Sandbox, Stream


@dataclasses.dataclass
class Response:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes | None
    stream: Stream | None

    def values(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n == name]

    def json(self):
        return json.loads(self.body)


def script(*steps) -> list[str]:
    """The header that makes the origin answer with these steps."""
    return ["x-script", base64.b64encode(json.dumps(steps).encode()).decode()]


def start(sandbox: Sandbox, url: str, **params) -> int:
    return sandbox.start("fetch", url=url, **{"method": "GET", "headers": [], "redirect": "follow",
                                              **params})


def finish(sandbox: Sandbox, call: int) -> Response:
    answer = sandbox.finish(call)
    number = answer["bodyStreamId"]
    stream = None
    if number is not None:
        sandbox.wait(lambda: number in sandbox.streams and sandbox.streams[number].ended,
                     what="the end of the body")
        stream = sandbox.streams[number]
    return Response(answer["status"], answer["statusText"], [tuple(h) for h in answer["headers"]],
                    bytes(stream.data) if stream else None, stream)


def fetch(sandbox: Sandbox, url: str, body: list[bytes] | None = None, **params) -> Response:
    if body is None:
        return finish(sandbox, start(sandbox, url, **params))
    number = sandbox.open_stream()
    call = start(sandbox, url, bodyStreamId=number, **params)
    for piece in body:
        sandbox.enqueue(number, piece)
    sandbox.end_stream(number)
    return finish(sandbox, call)


def refused(sandbox: Sandbox, url: str, body: list[bytes] | None = None, **params) -> str:
    """The message of the TypeError that the call ends with."""
    with pytest.raises(AppError) as caught:
        fetch(sandbox, url, body, **params)
    error = caught.value.error
    assert (error["constructorName"], error["code"]) == ("TypeError", None), error
    return error["message"]
