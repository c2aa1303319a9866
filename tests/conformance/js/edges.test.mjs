// SPDX-License-Identifier: Apache-2.0
// Processes at their edges: memory, what they do not read, how many there are; and the client's other doors.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, delay, sandbox, Sandbox, version } from "./sdk.mjs";

const options = { timeout: 60_000 };

test("out of memory is told", options, async () => {
  const sb = await Sandbox.create({ memory: "768MiB", memoryMb: 768 });
  try {
    const child = await sb.spawn("python3", {
      args: ["-c", "x = bytearray(2 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1"], stdout: "null", stderr: "null",
    });
    const status = await child.status;
    assert.equal(status.code, 137);
    assert.equal(status.signal, "SIGKILL");
    if (version !== "0.10.0") assert.equal(status.oom, true);
    assert.equal(await sb.sh`echo on`.text(), "on\n");
  } finally {
    await sb.close();
  }
});

test("stdin: without one the child reads an end", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("cat", { stdout: "piped" });
  assert.equal((await child.output()).stdoutText, "");
});

test("stdin: closed while the child goes on", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("bash", { args: ["-c", "cat; sleep 0.3; echo after"], stdin: "piped", stdout: "piped" });
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("before\n"));
  await writer.close();
  assert.equal((await child.output()).stdoutText, "before\nafter\n");
});

test("stdin: a child that never reads holds up nobody", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("sleep", { args: ["2"], stdin: "piped" });
  const writer = child.stdin.getWriter();
  const writing = (async () => {
    for (let i = 0; i < 100; i++) await writer.write(new Uint8Array(65536));
  })().catch(() => {});
  const begin = Date.now();
  assert.equal(await sb.sh`echo meanwhile`.text(), "meanwhile\n");
  assert.ok(Date.now() - begin < 1500);
  assert.equal((await child.status).code, 0);
  await writing;
});

test("both outputs at once, a megabyte each", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("bash", {
    args: ["-c", "for i in {1..2000}; do printf '%0500d' 1; printf '%0500d' 2 >&2; done"], stdout: "piped", stderr: "piped",
  });
  const { stdoutText, stderrText } = await child.output();
  assert.equal(stdoutText.length, 1_000_000);
  assert.equal(stderrText.length, 1_000_000);
  assert.ok(child.stdout && child.stderr);
});

test("two thousand short processes", options, async () => {
  const sb = await sandbox();
  for (let i = 0; i < 40; i++) {
    const all = await Promise.all(Array.from({ length: 50 }, async () => {
      const child = await sb.spawn("true", { stdout: "null", stderr: "null" });
      return (await child.status).code;
    }));
    assert.ok(all.every((code) => code === 0));
  }
  assert.ok(Number(await sb.sh`ls -d /proc/[0-9]* | wc -l`.text()) < 20);
});

test("umask: told, set, and used for later files", options, async () => {
  const sb = await sandbox();
  assert.equal(await sb.fs.umask(), 0o022);
  assert.equal(await sb.fs.umask(0o077), 0o022);
  await sb.fs.mkdir("masked");
  assert.equal((await sb.fs.stat("masked")).mode & 0o777, 0o700);
  assert.equal(await sb.fs.umask(0o022), 0o077);
});

test("utime of an open file", options, async () => {
  const sb = await sandbox();
  const file = await sb.fs.create("dated");
  const when = new Date("2024-05-06T07:08:09.500Z");
  await file.utime(when, when);
  assert.deepEqual((await file.stat()).mtime, when);
  await file.close();
});

test("client.sandboxes: create, connect, list", options, async () => {
  const client = new Client();
  const sb = await client.sandboxes.create({ labels: { door: "second" } });
  try {
    const again = await client.sandboxes.connect(sb.id);
    assert.equal(again.id, sb.id);
    await sb.fs.writeTextFile("shared", "x");
    assert.equal(await again.fs.readTextFile("shared"), "x");
    await again.close();
    const listed = await client.sandboxes.list({ labels: { door: "second" } });
    assert.deepEqual(listed.map((s) => s.id), [sb.id]);
  } finally {
    await sb.close();
  }
});

test("a child outlives its connection in a timed sandbox", options, async () => {
  const sb = await Sandbox.create({ timeout: "1m" });
  await sb.spawn("bash", { args: ["-c", "sleep 1; echo late >late.txt"], stdout: "piped", stderr: "piped" });
  await sb.close();
  const again = await Sandbox.connect(sb.id);
  await delay(1500);
  assert.equal(await again.fs.readTextFile("late.txt"), "late\n");
  await again.kill();
});

test("ssh and url are null where nothing was exposed", options, async () => {
  const sb = await sandbox();
  assert.equal(sb.ssh ?? null, null);
  assert.equal(sb.url ?? null, null);
});
