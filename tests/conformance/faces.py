# SPDX-License-Identifier: Apache-2.0
"""The client's two faces, made to look alike."""

import contextlib
import inspect


async def settle(value):
    return await value if inspect.isawaitable(value) else value


class Face:
    """One of the two APIs, made to look alike."""

    def __init__(self, client):
        self.client = client

    @contextlib.asynccontextmanager
    async def _enter(self, manager):
        if hasattr(manager, "__aenter__"):
            async with manager as entered:
                yield entered
        else:
            with manager as entered:
                yield entered

    def create(self, **options):
        return self._enter(self.client.sandbox.create(**options))

    def connect(self, sandbox_id: str):
        return self._enter(self.client.sandbox.connect(sandbox_id))
