// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect, delay, received, sandbox, Sandbox } from "./sdk.mjs";

const options = { timeout: 30_000 };
const value = process.env.CASEMATE_BENCH_SECRET;

const failure = (sb, url, init, expected) =>
  assert.rejects(sb.fetch(url, init), (error) => {
    assert.equal(error.constructor.name, "TypeError", String(error));
    assert.match(error.message, expected);
    return true;
  });

test("a response: status, headers, body", options, async () => {
  const sb = await sandbox();
  const r = await sb.fetch("https://api.test/echo?x=1", { headers: { "X-Given": "one" } });
  assert.equal(r.status, 200);
  assert.equal(r.statusText, "OK");
  assert.equal(r.headers.get("content-type"), "application/json");
  const told = await r.json();
  assert.equal(told.target, "/echo?x=1");
  assert.deepEqual(told.headers.find(([n]) => n.toLowerCase() === "x-given"), ["x-given", "one"]);
});

test("a text as a body", options, async () => {
  const sb = await sandbox();
  const r = await sb.fetch("https://api.test/echo", { method: "POST", body: "grüße" });
  const told = await r.json();
  assert.equal(told.method, "POST");
  assert.equal(Buffer.from(told.body, "latin1").toString(), "grüße");
  const header = (name) => told.headers.find(([n]) => n.toLowerCase() === name)?.[1];
  assert.equal(header("content-type"), "text/plain;charset=UTF-8");
  assert.equal(header("content-length"), "7");
});

test("bytes as a body, and a large response", options, async () => {
  const sb = await sandbox();
  const r = await sb.fetch("https://api.test/sha256", { method: "PUT", body: new Uint8Array(3_000_000) });
  const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(3_000_000));
  assert.equal(await r.text(), Buffer.from(hash).toString("hex"));
  const big = await sb.fetch("https://api.test/big?n=5000000");
  assert.equal((await collect(big.body)).length, 5_000_000);
});

test("statuses without a body", options, async () => {
  const sb = await sandbox();
  for (const status of [204, 205, 304]) {
    const r = await sb.fetch(`https://api.test/status/${status}`);
    assert.equal(r.status, status);
    assert.equal(r.body, null);
  }
});

test("redirects", options, async () => {
  const sb = await sandbox();
  const url = "https://api.test/redirect?to=/echo";
  assert.equal((await (await sb.fetch(url)).json()).target, "/echo");
  const manual = await sb.fetch(url, { redirect: "manual" });
  assert.equal(manual.status, 302);
  assert.equal(manual.headers.get("location"), "/echo");
  assert.equal(await manual.text(), "");
});

test("many at once keep their bodies apart", options, async () => {
  const sb = await sandbox();
  const sizes = Array.from({ length: 20 }, (_, i) => 1000 + i * 7919);
  const texts = await Promise.all(
    sizes.map(async (n) => (await (await sb.fetch(`https://api.test/big?n=${n}`)).text()).length),
  );
  assert.deepEqual(texts, sizes);
});

test("abort before the head and in the body", options, async () => {
  const sb = await sandbox();
  const early = new AbortController();
  const call = sb.fetch("https://api.test/slow?ms=20000", { signal: early.signal });
  setTimeout(() => early.abort(), 300);
  await assert.rejects(call, { name: "AbortError" });
  const late = new AbortController();
  const r = await sb.fetch("https://api.test/sse?n=500&ms=50", { signal: late.signal });
  const reader = r.body.getReader();
  assert.ok((await reader.read()).value.length > 0);
  late.abort();
  await assert.rejects(async () => {
    while (!(await reader.read()).done);
  }, { name: "AbortError" });
});

test("leaving a body early hurts nobody", options, async () => {
  const sb = await sandbox();
  const r = await sb.fetch("https://api.test/sse?n=200&ms=20");
  for await (const _ of r.body) break;
  await delay(300);
  assert.equal(await (await sb.fetch("https://api.test/x")).text(), "ok");
});

test("failures are TypeErrors that say what happened", options, async () => {
  const sb = await sandbox();
  await failure(sb, "https://nowhere.test/", {}, /nowhere\.test/);
  await failure(sb, "https://api.test/reset", {}, /api\.test/);
  await failure(sb, "http://127.0.0.1:9/", {}, /127\.0\.0\.1/);
});

test("policy and secrets hold", options, async () => {
  await using sb = await Sandbox.create({
    allowNet: ["api.test"],
    secrets: { API_KEY: { hosts: ["api.test"], value } },
  });
  await failure(sb, "https://evil.test/", {}, /evil\.test:443: no rule allows it/);
  await failure(sb, "http://evil.test/", {}, /evil\.test/);
  await failure(sb, "https://api.test/redirect?to=https://evil.test/", {}, /evil\.test/);
  const inside = await sb.env.get("API_KEY");
  const r = await sb.fetch("https://api.test/echo", { headers: { authorization: `Bearer ${inside}` } });
  assert.ok(!(await r.text()).includes(value));
  await delay(100);
  const request = received().filter((q) => q.target === "/echo").at(-1);
  assert.equal(request.headers.find(([n]) => n.toLowerCase() === "authorization")[1], `Bearer ${value}`);
});
