// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect, delay, sandbox, Sandbox, SandboxCommandError } from "./sdk.mjs";

const options = { timeout: 30_000 };

test("sh gives the text of standard output", options, async () => {
  const sb = await sandbox();
  assert.equal(await sb.sh`echo hi`.text(), "hi\n");
});

test("sh quotes what is interpolated", options, async () => {
  const sb = await sandbox();
  const nasty = "a b'; echo \"$HOME\" #";
  assert.equal(await sb.sh`printf %s ${nasty}`.text(), nasty);
});

test("sh gives JSON", options, async () => {
  const sb = await sandbox();
  assert.deepEqual(await sb.sh`echo ${'{"a":[1,null]}'}`.json(), { a: [1, null] });
});

test("sh throws with the exit code", options, async () => {
  const sb = await sandbox();
  await assert.rejects(async () => await sb.sh`exit 42`, (error) => {
    assert.ok(error instanceof SandboxCommandError);
    assert.equal(error.code, 42);
    return true;
  });
});

// The client's builder keeps only the last of several modifiers, so each test has one.
test("sh with sudo is root", options, async () => {
  const sb = await sandbox();
  await sb.sh`id -u > uid.txt`.sudo();
  assert.equal(await sb.fs.readTextFile("uid.txt"), "0\n");
  assert.equal(await sb.sh`id -un`.text(), "app\n");
});

test("sh ended by an abort signal has code 143", options, async () => {
  const sb = await sandbox();
  await assert.rejects(
    async () => await sb.sh`exec sleep 30`.signal(AbortSignal.timeout(300)),
    { code: 143 },
  );
});

test("spawn: output, status and both streams", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("bash", {
    args: ["-c", "echo out; echo err >&2; exit 3"],
    stdout: "piped",
    stderr: "piped",
  });
  assert.equal(typeof child.pid, "number");
  const { status, stdoutText, stderrText } = await child.output();
  assert.equal(stdoutText, "out\n");
  assert.equal(stderrText, "err\n");
  assert.equal(status.success, false);
  assert.equal(status.code, 3);
  assert.equal(status.signal, null);
});

test("a process that prints nothing", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("true", { stdout: "piped", stderr: "piped" });
  const { status, stdoutText, stderrText } = await child.output();
  assert.equal(status.success, true);
  assert.equal(stdoutText, "");
  assert.equal(stderrText, "");
});

test("stdout and stderr can be null", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("echo", { args: ["x"], stdout: "null", stderr: "null" });
  assert.equal(child.stdout, null);
  assert.equal(child.stderr, null);
  assert.equal((await child.status).code, 0);
});

test("stdin: written, closed, and echoed", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("cat", { stdin: "piped", stdout: "piped" });
  const writer = child.stdin.getWriter();
  const output = collect(child.stdout);
  await writer.write(new TextEncoder().encode("hello "));
  await writer.write(new TextEncoder().encode("world"));
  await writer.close();
  assert.equal((await output).toString(), "hello world");
  assert.equal((await child.status).code, 0);
});

test("8 MiB through cat come back unchanged", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("cat", { stdin: "piped", stdout: "piped" });
  const output = collect(child.stdout);
  const writer = child.stdin.getWriter();
  const chunk = new Uint8Array(65536).map((_, i) => (i * 7) & 255);
  for (let i = 0; i < 128; i++) await writer.write(chunk);
  await writer.close();
  const got = await output;
  assert.equal(got.length, 128 * 65536);
  for (let i = 0; i < 128; i++) {
    assert.equal(Buffer.compare(got.subarray(i * 65536, (i + 1) * 65536), chunk), 0);
  }
});

test("stdin of a child that exited: the writer fails and nothing hangs", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("true", { stdin: "piped" });
  await child.status;
  const writer = child.stdin.getWriter();
  writer.closed.catch(() => {});
  await assert.rejects(async () => {
    for (let i = 0; i < 200; i++) {
      await writer.write(new Uint8Array(1024));
      await delay(5);
    }
  });
});

test("env, clearEnv and cwd", options, async () => {
  const sb = await sandbox();
  let child = await sb.spawn("bash", {
    args: ["-c", "echo $MARK; pwd"],
    env: { MARK: "é\u{1f600}" },
    cwd: "/tmp",
    stdout: "piped",
  });
  assert.equal((await child.output()).stdoutText, "é\u{1f600}\n/tmp\n");
  child = await sb.spawn("/usr/bin/env", { clearEnv: true, env: { ONLY: "1" }, stdout: "piped" });
  assert.equal((await child.output()).stdoutText, "ONLY=1\n");
});

test("a command that does not exist", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.spawn("no-such-command"), { code: "ENOENT" });
  await assert.rejects(sb.spawn("/etc/passwd"), { code: "EACCES" });
  await assert.rejects(sb.spawn("true", { cwd: "/nowhere" }), { code: "ENOENT" });
});

test("kill: default signal, twice, and after the end", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("sleep", { args: ["60"] });
  await child.kill();
  const status = await child.status;
  assert.equal(status.signal, "SIGTERM");
  assert.equal(status.code, 143);
  await child.kill();
  await child.kill("SIGKILL");
});

test("kill with SIGKILL", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("sleep", { args: ["60"] });
  await child.kill("SIGKILL");
  const status = await child.status;
  assert.equal(status.signal, "SIGKILL");
  assert.equal(status.code, 137);
});

test("a pending wait delays no other call", options, async () => {
  const sb = await sandbox();
  const slow = await sb.spawn("sleep", { args: ["2"] });
  const begin = Date.now();
  assert.equal(await sb.sh`echo quick`.text(), "quick\n");
  assert.ok(Date.now() - begin < 1500);
  await slow.status;
});

test("break out of a stream whose process goes on and then exits", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("bash", {
    args: ["-c", "for i in $(seq 2000); do echo line $i; done; sleep 0.3; echo end"],
    stdout: "piped",
    stderr: "null",
  });
  for await (const _ of child.stdout) break;
  assert.equal((await child.status).code, 0);
  await delay(200);
  assert.equal(await sb.sh`echo alive`.text(), "alive\n");
});

test("fifty processes at once", options, async () => {
  const sb = await sandbox();
  const texts = await Promise.all(Array.from({ length: 50 }, (_, i) => sb.sh`echo ${i}`.text()));
  texts.forEach((text, i) => assert.equal(text, `${i}\n`));
});

test("two sandboxes streaming at once do not mix", options, async () => {
  const two = await Promise.all([Sandbox.create(), Sandbox.create()]);
  try {
    const outputs = await Promise.all(
      two.flatMap((sb, which) =>
        Array.from({ length: 4 }, async (_, n) => {
          const mark = `${"ab"[which]}${n}`;
          const child = await sb.spawn("bash", {
            args: ["-c", `for i in $(seq 3000); do echo ${mark}; done`],
            stdout: "piped",
          });
          return { mark, text: (await child.output()).stdoutText };
        })
      ),
    );
    for (const { mark, text } of outputs) assert.equal(text, `${mark}\n`.repeat(3000));
  } finally {
    await Promise.all(two.map((sb) => sb.close()));
  }
});
