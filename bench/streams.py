# SPDX-License-Identifier: Apache-2.0
"""The official Python client beside a server that only echoes, made of the client's own library.

streams.py read MB     reads that much output of a process; prints the seconds
streams.py serve MB    answers calls as the service would; prints its port
"""

import asyncio
import base64
import json
import sys
import time

CHUNK = 48 * 1024


async def read(megabytes):
    from deno_sandbox import AsyncDenoDeploy

    async with AsyncDenoDeploy().sandbox.create() as sandbox:
        start = time.monotonic()
        child = await sandbox.spawn("head", args=["-c", f"{megabytes}M", "/dev/zero"], stdout="piped", stderr="null")
        waiting = asyncio.ensure_future(child.wait())
        got = 0
        while part := await child.stdout.read(1 << 20):
            got += len(part)
        await waiting
        seconds = time.monotonic() - start
        assert got == megabytes << 20, f"{got} bytes"
    print(json.dumps({"seconds": seconds}))


async def serve(megabytes):
    from websockets.asyncio.server import serve as listen

    async def answer(socket, number, ok):
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "result": {"ok": ok}}))

    async def note(socket, event, more=""):
        await socket.send(
            '{"jsonrpc":"2.0","method":"$sandbox.stream.%s","params":{"streamId":1%s}}' % (event, more))

    async def flow(socket, number):
        await note(socket, "start")
        left = megabytes << 20
        while left > 0:
            data = base64.b64encode(bytes(min(left, CHUNK))).decode()
            await note(socket, "enqueue", f',"data":"{data}"')
            left -= CHUNK
        await note(socket, "end")
        await answer(socket, number, {"success": True, "code": 0, "signal": None, "oom": None})

    async def talk(socket):
        async for text in socket:
            call = json.loads(text)
            if call["method"] == "spawn":
                await answer(socket, call["id"], {"pid": 1, "stdoutStreamId": 1, "stderrStreamId": None})
            elif call["method"] == "processWait":
                await flow(socket, call["id"])
            else:
                await answer(socket, call["id"], None)

    def name_sandbox(_, __, response):
        response.headers["x-deno-sandbox-id"] = "sbx_ord_00000000000000000000"

    async with listen(talk, "127.0.0.1", 0, compression=None, max_size=None, process_response=name_sandbox) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run({"read": read, "serve": serve}[sys.argv[1]](int(sys.argv[2])))
