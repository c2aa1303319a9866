# SPDX-License-Identifier: Apache-2.0
"""deno of the official client: programs, servers and REPLs, on the real deno."""

import asyncio
import contextlib
import time

import pytest
from faces import settle

PIPED = {"stdout": "piped", "stderr": "piped"}

pytestmark = pytest.mark.seconds(40)


async def run(sb, **options):
    return await settle(sb.deno.run(**PIPED, **options))


async def output(sb, **options):
    child = await run(sb, **options)
    out = await settle(child.stdout.read(-1))
    err = await settle(child.stderr.read(-1))
    return await settle(child.wait()), out.decode(), err.decode()


@contextlib.asynccontextmanager
async def repl_of(sb, **options):
    manager = await settle(sb.deno.repl(**options))
    if hasattr(manager, "__aenter__"):
        async with manager as repl:
            yield repl
    else:
        with manager as repl:
            yield repl


async def end(child):
    """The sync face has no kill of its own for these."""
    await settle(child.kill()) if hasattr(child, "kill") else child._bridge.run(child._async.kill())


async def test_code(sb):
    status, out, _ = await output(sb, code="const x: number = 42; console.log(x, Deno.args)", script_args=["a", "--b"])
    assert (status["code"], out) == (0, '42 [ "a", "--b" ]\n')


@pytest.mark.parametrize("extension, code", [
    ("js", "console.log(typeof import.meta.url)"), ("mjs", "console.log(typeof import.meta.url)"),
    ("cjs", "console.log(typeof require('path').join)"), ("ts", "enum E { A = 1 } console.log(typeof E.A as string)"),
    ("mts", "let s: string = 'x'; console.log(typeof import.meta.url)"),
    ("cts", "const p: any = require('path'); console.log(typeof p.join)"),
    ("jsx", "const h = (n) => n; const React = { createElement: h }; console.log(<i/>)"),
    ("tsx", "const h = (n: string) => n; const React = { createElement: h }; console.log(<i/>)")])
async def test_extensions(sb, extension, code):
    status, out, err = await output(sb, code=code, extension=extension)
    assert (status["code"], out.strip() in ("string", "number", "function", "i")) == (0, True), err


async def test_large_code(sb):
    """More than fits into an argument of a program."""
    text = "x" * 1_000_000
    assert (await output(sb, code=f"console.log('{text}'.length)"))[1] == "1000000\n"


async def test_an_entrypoint(sb):
    await settle(sb.fs.mkdir("project"))
    await settle(sb.fs.write_text_file("project/lib.ts", "export const v: number = 7;"))
    await settle(sb.fs.write_text_file("project/-main.ts", "import { v } from './lib.ts'; console.log(v, import.meta.main)"))
    assert (await output(sb, entrypoint="-main.ts", cwd="/home/app/project"))[1] == "7 true\n"
    status, _, err = await output(sb, entrypoint="none.ts")
    assert status["code"] == 1 and "none.ts" in err


async def test_input_and_environment(sb):
    code = "console.log(Deno.env.get('GIVEN'), await new Response(Deno.stdin.readable).text())"
    assert (await output(sb, code=code, stdin_data=[b"from outside"], env={"GIVEN": "1"}))[1] == "1 from outside\n"


async def test_an_exception_ends_it(sb):
    status, _, err = await output(sb, code="throw new RangeError('too far')")
    assert status["code"] == 1 and "RangeError: too far" in err


async def test_nothing_is_left_behind(sb):
    await output(sb, code="console.log(1)")
    assert not [e["name"] for e in await settle(sb.fs.read_dir("/tmp")) if e["name"].startswith("deno-")]


async def test_a_server(sb):
    child = await run(sb, code="Deno.serve({ port: 8123 }, (r) => new Response('ok', { headers: { x: new URL(r.url).pathname } }))")
    assert await settle(child.wait_http_ready()) is True
    response = await settle(child.fetch("https://example.com/abc"))
    assert (response.status_code, dict(response.headers)["x"]) == (200, "/abc")
    assert dict(response.headers)["content-type"] == "text/plain;charset=UTF-8"
    await end(child)


async def test_a_node_server(sb):
    child = await run(sb, code="import http from 'node:http'; http.createServer((_, r) => r.end('n')).listen(8124)", extension="mjs")
    assert await settle(child.wait_http_ready()) is True
    assert (await settle(child.fetch("http://x/"))).status_code == 200


async def test_no_server(sb):
    child = await run(sb, code="1")
    assert await settle(child.wait_http_ready()) is False


async def test_eval(sb):
    assert await settle(sb.deno.eval("1 + 2")) == 3


VALUES = [("const x: number = 42;", None), ("x * 2", 84), ("const x = 5; x", 5), ("undefined", None), ("null", None),
          ("'s\\u00e9\\n'", "sé\n"), ("({ a: [1, { b: true }] })", {"a": [1, {"b": True}]}), ("10n", "10"),
          ("await Promise.resolve(6)", 6), ("Promise.resolve(7)", 7), ("_", 7), ("NaN", None), ("() => 1", None),
          ("const c = {}; c.c = c; typeof c", "object"), ("import { join } from 'node:path'; join('a', 'b')", "a/b"),
          ("'x'.repeat(100000).length", 100000), ("'y'.repeat(100000)", "y" * 100000)]
THROWN = [("throw new TypeError('bad')", "'constructor_name': 'TypeError', 'message': 'bad'"),
          ("throw 3", "Uncaught 3"), ("nope.x", "ReferenceError"), ("let 5", "SyntaxError"),
          ("Promise.reject(new RangeError('r'))", "RangeError"), ("class Own extends Error {} throw new Own('o')", "Own")]


async def test_a_repl(sb):
    async with repl_of(sb) as repl:
        for code, value in VALUES:
            assert await settle(repl.eval(code)) == value, code
        for code, told in THROWN:
            with pytest.raises(Exception, match="Application Error") as caught:
                await settle(repl.eval(code))
            assert told in str(caught.value)
        assert await settle(repl.eval("x")) == 5
        await settle(repl.eval("const add = (a, b) => a + b; 1"))
        assert await settle(repl.call("add", [1, 2])) == 3
        assert await settle(repl.call("async (o: any) => Object.keys(o)", [{"k": 1}])) == ["k"]
        with pytest.raises(Exception, match="ReferenceError"):
            await settle(repl.call("missing", []))
        assert repl.pid > 1 and repl.returncode is None


async def test_evaluations_keep_their_order(sb):
    async with repl_of(sb, script_args=["q"]) as repl:
        assert await settle(repl.eval("Deno.args")) == ["q"]
        await settle(repl.eval("let n = 0; 0"))
        if hasattr(repl, "__aenter__"):
            values = await asyncio.gather(*[repl.eval("await new Promise((r) => setTimeout(r, 1)); ++n") for _ in range(50)])
        else:
            values = [repl.eval("await new Promise((r) => setTimeout(r, 1)); ++n") for _ in range(50)]
        assert values == list(range(1, 51))


async def test_a_repl_that_is_gone(sb):
    repl = await settle(sb.deno.repl())
    with pytest.raises(Exception):
        await settle(repl.eval("Deno.exit(7)"))
    assert (await settle(repl.wait()))["code"] == 7
    with pytest.raises(Exception):
        await settle(repl.eval("1"))
    await settle(repl.close())


async def test_a_busy_repl_is_closed(sb):
    from deno_sandbox.errors import ProcessAlreadyExited
    repl = await settle(sb.deno.repl())
    rpc = sb._rpc if not hasattr(sb, "_bridge") else None
    if rpc:
        pending = asyncio.ensure_future(repl.eval("for (;;) {}"))
        await asyncio.sleep(0.5)
    begin = time.monotonic()
    await settle(repl.close())
    assert time.monotonic() - begin < 5
    if rpc:
        with pytest.raises(ProcessAlreadyExited):
            await asyncio.wait_for(pending, 5)
