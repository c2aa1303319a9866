// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Client,
  ConnectionClosedError,
  ConnectionEstablishmentError,
  delay,
  InvalidTokenError,
  Sandbox,
  sandbox,
} from "./sdk.mjs";

const options = { timeout: 30_000 };

test("the id has the form that connect wants", options, async () => {
  const sb = await sandbox();
  assert.match(sb.id, /^sbx_([a-z]{3})_[0-9a-hjkmnp-z]{20}$/);
});

test("environment: get, set, toObject, delete", options, async () => {
  const sb = await sandbox();
  await sb.env.set("A_B", "é=1");
  assert.equal(await sb.env.get("A_B"), "é=1");
  assert.equal(await sb.sh`printf %s "$A_B"`.text(), "é=1");
  const all = await sb.env.toObject();
  assert.equal(all.HOME, "/home/app");
  assert.equal(all.A_B, "é=1");
  await sb.env.delete("A_B");
  await sb.env.delete("A_B");
  assert.equal(await sb.env.get("A_B"), undefined);
});

test("environment keys that cannot be", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.env.set("", "x"), TypeError);
  await assert.rejects(sb.env.set("A=B", "x"), TypeError);
});

test("create with env", options, async () => {
  await using sb = await Sandbox.create({ env: { ONE: "1", TWO: "two words" } });
  assert.equal(await sb.sh`echo "$ONE $TWO"`.text(), "1 two words\n");
});

test("a second client sees the same sandbox, and its end changes nothing", options, async () => {
  const sb = await sandbox();
  const second = await Sandbox.connect(sb.id);
  assert.equal(second.id, sb.id);
  await second.fs.writeTextFile("from-second", "hello");
  await second.env.set("SHARED", "yes");
  await second.close();
  assert.equal(await sb.fs.readTextFile("from-second"), "hello");
  assert.equal(await sb.env.get("SHARED"), "yes");
});

test("a process outlives the client that started it", options, async () => {
  const sb = await sandbox();
  const second = await Sandbox.connect(sb.id);
  const child = await second.spawn("bash", {
    args: ["-c", "sleep 0.5; echo done > survived"],
    stdout: "null",
    stderr: "null",
  });
  assert.equal(typeof child.pid, "number");
  await second.close();
  await delay(1000);
  assert.equal(await sb.fs.readTextFile("survived"), "done\n");
});

test("a session ends with its creator", options, async () => {
  const sb = await Sandbox.create();
  const second = await Sandbox.connect(sb.id);
  await sb.close();
  await second.closed;
  await assert.rejects(Sandbox.connect(sb.id), (error) => {
    assert.ok(error instanceof ConnectionEstablishmentError);
    assert.equal(error.status, 404);
    return true;
  });
});

test("kill resolves, other clients see the close, connect then fails", options, async () => {
  const sb = await Sandbox.create({ timeout: "60s" });
  const second = await Sandbox.connect(sb.id);
  const pending = second.sh`sleep 60`.text();
  pending.catch(() => {});
  await sb.kill();
  await second.closed;
  await assert.rejects(pending, ConnectionClosedError);
  await assert.rejects(Sandbox.connect(sb.id), { status: 404 });
});

test("a duration: lives on without clients, and ends in time", options, async () => {
  const sb = await Sandbox.create({ timeout: "3s" });
  const begin = Date.now();
  await sb.close();
  await delay(500);
  const again = await Sandbox.connect(sb.id);
  assert.equal(await again.sh`echo here`.text(), "here\n");
  await again.closed;
  const life = Date.now() - begin;
  assert.ok(life > 1500 && life < 6000, `lived for ${life} ms`);
  await assert.rejects(Sandbox.connect(sb.id), { status: 404 });
});

test("extendTimeout tells the time that applies", options, async () => {
  await using sb = await Sandbox.create({ timeout: "5s" });
  const until = await sb.extendTimeout("30s");
  assert.ok(Math.abs(until.getTime() - Date.now() - 30_000) < 2000);
  await sb.kill();
});

test("a bad token", options, async () => {
  await assert.rejects(Sandbox.create({ token: "ddo_wrong" }), InvalidTokenError);
});

test("an id that is unknown, and one that cannot be", options, async () => {
  await assert.rejects(Sandbox.connect("sbx_ord_00000000000000000000"), { status: 404 });
  await assert.rejects(async () => await Sandbox.connect("nonsense"), TypeError);
});

test("labels and the list", options, async () => {
  await using sb = await Sandbox.create({ labels: { job: "prepare", "odd key": "é & =" } });
  const client = new Client();
  const found = await client.sandboxes.list({ labels: { job: "prepare", "odd key": "é & =" } });
  assert.deepEqual(found.map((s) => s.id), [sb.id]);
  assert.equal(found[0].status, "running");
  assert.deepEqual(await client.sandboxes.list({ labels: { job: "other" } }), []);
  await sb.close();
  await delay(500);
  const after = await client.sandboxes.list({ labels: { job: "prepare" } });
  assert.equal(after.find((s) => s.id === sb.id).status, "stopped");
});

test("idle for longer than two keep-alives", options, async () => {
  const sb = await sandbox();
  await delay(5000);
  assert.equal(await sb.sh`echo still`.text(), "still\n");
});
