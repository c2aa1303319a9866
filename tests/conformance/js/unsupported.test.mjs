// SPDX-License-Identifier: Apache-2.0
// What the client offers and this server does not: refused by name, at once, and the connection goes on. The
// tests' names begin with "not supported: ", by which docs/compatibility.md knows them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Client, sandbox, sdk } from "./sdk.mjs";

const options = { timeout: 30_000 };
const refused = (error) => {
  assert.ok(error.status === 501 || /501/.test(error.message), `${error}`);
  assert.match(`${error.message} ${error.code}`, /NOT_IMPLEMENTED|not offered by this server/);
  return true;
};

async function drain(value) {
  const result = await value;
  if (result?.[Symbol.asyncIterator]) for await (const _ of result);
}

// Values for the first parameters of any of them; which ones does not matter.
const client = new Client();
for (const service of ["apps", "revisions", "timelines", "layers", "volumes", "snapshots"]) {
  if (!client[service]) continue; // layers, in an older release
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(client[service]))) {
    if (name === "constructor") continue;
    test(`not supported: client.${service}.${name}`, options, async () => {
      // What takes one object has all that is ever asked for in it.
      const first = { slug: "x", region: "ord", capacity: "1GB", app: "x", assets: {} };
      const one = ["create"].includes(name) ? [first] : ["list"].includes(name) && service !== "revisions" && service !== "timelines" ? [{}] : ["x", first];
      await assert.rejects(async () => await drain(new Client()[service][name](...one)), refused);
    });
  }
}

test("not supported: Volume and Snapshot", options, async () => {
  await assert.rejects(sdk.Volume.create({ slug: "x", region: "ord", capacity: "1GB" }), refused);
  await assert.rejects(sdk.Volume.get("x"), refused);
  await assert.rejects(sdk.Snapshot.create("x", { slug: "x" }), refused);
  await assert.rejects(sdk.Snapshot.get("x"), refused);
});

test("not supported: exposing", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.exposeHttp({ port: 8000 }), refused);
  await assert.rejects(sb.exposeSsh(), refused);
  assert.equal(await sb.env.get("HOME"), "/home/app");
});

test("not supported: an editor in the browser", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.exposeVscode("/home/app"), (error) => /NotSupported|not supported|501/.test(`${error.name} ${error.message}`));
  assert.equal(await sb.env.get("HOME"), "/home/app");
});

test("not supported: deploying", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.deno.deploy("x", { entrypoint: "main.ts" }), refused);
  if (sb.deploy) await assert.rejects(sb.deploy("x", { entrypoint: "main.ts" }), refused);
});

// What is built is no longer refused: the description of the API tells.
const api = JSON.parse(readFileSync(new URL("../../../api/openrpc.json", import.meta.url), "utf8"));
const unbuilt = new Set(api.methods.filter((m) => m["x-not-supported"]).map((m) => m.name));
const notYet = {
  "deno.run": ["spawnDeno", (sb) => sb.deno.run({ code: "1" })],
  "deno.eval": ["spawnDenoRepl", (sb) => sb.deno.eval("1")],
  "deno.repl": ["spawnDenoRepl", (sb) => sb.deno.repl()],
  fetch: ["fetch", (sb) => sb.fetch("https://api.test/")],
};
for (const [name, [method, call]] of Object.entries(notYet)) {
  if (!unbuilt.has(method)) continue;
  test(`not supported: ${name}`, options, async () => {
    const sb = await sandbox();
    await assert.rejects(call(sb), { message: /is not supported/ });
    assert.equal(await sb.env.get("HOME"), "/home/app");
  });
}
