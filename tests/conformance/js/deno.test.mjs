// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { delay, sandbox, version } from "./sdk.mjs";

const options = { timeout: 60_000 };
const piped = { stdout: "piped", stderr: "piped" };

test("a program from its text", options, async () => {
  const sb = await sandbox();
  const p = await sb.deno.run({ code: "const x: number = 6; console.log(x * 7, Deno.args)", scriptArgs: ["a"], ...piped });
  const { status, stdoutText } = await p.output();
  assert.equal(status.code, 0);
  assert.equal(stdoutText, '42 [ "a" ]\n');
});

test("a program from a file, with a failure", options, async () => {
  const sb = await sandbox();
  await sb.fs.writeTextFile("fails.ts", "throw new RangeError('too far')");
  const p = await sb.deno.run({ entrypoint: "fails.ts", ...piped });
  const { status, stderrText } = await p.output();
  assert.equal(status.code, 1);
  assert.match(stderrText, /RangeError: too far/);
});

test("a server, asked from outside", options, async () => {
  const sb = await sandbox();
  const code = "Deno.serve({ port: 8200 }, async (r) => new Response(await r.text() + new URL(r.url).search, { status: 201 }))";
  await using p = await sb.deno.run({ code, ...piped });
  assert.equal(await p.httpReady, true);
  const r = await p.fetch("https://example.com/x?q=1", { method: "POST", body: "hello" });
  assert.equal(r.status, 201);
  assert.equal(await r.text(), "hello?q=1");
});

test("a program that serves nothing", options, async () => {
  const sb = await sandbox();
  const p = await sb.deno.run({ code: "1", ...piped });
  assert.equal(await p.httpReady, false);
  await p.status;
});

test("a program ended by a signal", options, async () => {
  const sb = await sandbox();
  const p = await sb.deno.run({ code: "setTimeout(() => {}, 60_000)", signal: AbortSignal.timeout(500), ...piped });
  assert.equal((await p.status).signal, "SIGTERM");
});

test("a watched program starts anew", { ...options, skip: version === "0.10.0" }, async () => {
  const sb = await sandbox();
  await sb.fs.writeTextFile("watched.ts", "console.log('first'); setTimeout(() => {}, 100_000)");
  await sb.fs.writeTextFile("beside.txt", "1");
  await using p = await sb.deno.run({ entrypoint: "watched.ts", watch: ["beside.txt"], ...piped });
  let restarts = 0;
  p.addEventListener("restart", () => restarts++);
  const reader = p.stdout.getReader();
  const text = async () => Buffer.from((await reader.read()).value).toString();
  assert.equal(await text(), "first\n");
  await delay(500);
  assert.equal(restarts, 0);
  await sb.fs.writeTextFile("watched.ts", "console.log('second'); setTimeout(() => {}, 100_000)");
  assert.equal(await text(), "second\n");
  for (let i = 0; i < 50 && restarts < 1; i++) await delay(100);
  assert.equal(restarts, 1);
  await delay(500);
  await sb.fs.writeTextFile("beside.txt", "2");
  for (let i = 0; i < 50 && restarts < 2; i++) await delay(100);
  assert.equal(restarts, 2);
});

test("eval", options, async () => {
  const sb = await sandbox();
  assert.equal(await sb.deno.eval("1 + 2"), 3);
  assert.deepEqual(await sb.deno.eval("({ a: [1] })"), { a: [1] });
  await assert.rejects(sb.deno.eval("throw new TypeError('bad')"), (error) => {
    assert.equal(error.constructor.name, "TypeError");
    assert.equal(error.message, "bad");
    return true;
  });
});

test("a REPL keeps what it was told", options, async () => {
  const sb = await sandbox();
  await using repl = await sb.deno.repl();
  assert.equal(await repl.eval("const x: number = 42; x"), 42);
  assert.equal(await repl.eval("x + 1"), 43);
  assert.equal(await repl.call("(a, b) => a * b", 6, 7), 42);
  await assert.rejects(repl.eval("syntax error"), { name: "SyntaxError" });
  const many = await Promise.all(Array.from({ length: 20 }, (_, i) => repl.eval(`${i}`)));
  assert.deepEqual(many, Array.from({ length: 20 }, (_, i) => i));
});

test("a REPL is closed", options, async () => {
  const sb = await sandbox();
  const repl = await sb.deno.repl();
  await repl.eval("1");
  await repl.close();
  assert.equal((await repl.status).code, 0);
  await assert.rejects(repl.eval("1"));
});
