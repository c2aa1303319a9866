// SPDX-License-Identifier: Apache-2.0
// Every form of sandbox.sh`…`, and how commands end. The client's builder keeps only the last of several
// modifiers, so each test has one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { delay, KillController, sandbox, SandboxCommandError } from "./sdk.mjs";

const options = { timeout: 30_000 };

test("sh: what is interpolated is one argument, an array is several", options, async () => {
  const sb = await sandbox();
  const words = ["a b", "c'd", 'e"f', "$HOME", "g\nh", "", "é😀", "*"];
  const text = await sb.sh`printf '%s|' ${words}`.text();
  assert.equal(text, words.map((w) => `${w}|`).join(""));
  assert.equal(await sb.sh`echo ${1} ${true} ${"x"}${"y"}`.text(), "1 true xy\n");
  assert.equal(await sb.sh`printf '[%s]' ${[]}`.text(), "[]");
  await assert.rejects(async () => await sb.sh`echo ${{ a: 1 }}`.text(), /objects/);
});

test("sh: pipes, redirections, loops and here documents are the shell's", options, async () => {
  const sb = await sandbox();
  const text = await sb.sh`
    for i in 1 2 3; do echo $i; done | sort -r >numbers
    cat <<END
$(paste -sd, numbers)
END`.text();
  assert.equal(text, "3,2,1\n");
});

test("sh: noThrow gives the status", options, async () => {
  const sb = await sandbox();
  const result = await sb.sh`exit 7`.noThrow();
  assert.equal(result.status.code, 7);
  assert.equal(result.status.success, false);
});

test("sh: result with piped output", options, async () => {
  const sb = await sandbox();
  const result = await sb.sh`echo out`.stdout("piped").result();
  assert.equal(result.stdoutText, "out\n");
  assert.deepEqual(result.stdout, new TextEncoder().encode("out\n"));
  assert.equal(result.status.success, true);
});

test("sh: the error has what went to a piped stderr", options, async () => {
  const sb = await sandbox();
  await assert.rejects(async () => await sb.sh`echo why >&2; exit 3`.stderr("piped").result(), (error) => {
    assert.ok(error instanceof SandboxCommandError);
    assert.equal(error.code, 3);
    assert.match(error.message, /why/);
    return true;
  });
});

test("sh: stdout can be null", options, async () => {
  const sb = await sandbox();
  const result = await sb.sh`echo unseen`.stdout("null").result();
  assert.equal(result.stdout ?? null, null);
});

test("sh: cwd and env", options, async () => {
  const sb = await sandbox();
  await sb.sh`pwd >/tmp/where`.cwd("/usr/share");
  assert.equal(await sb.fs.readTextFile("/tmp/where"), "/usr/share\n");
  await sb.sh`echo "$STAGE" >/tmp/stage`.env("STAGE", "a 'b' $c");
  assert.equal(await sb.fs.readTextFile("/tmp/stage"), "a 'b' $c\n");
});

test("sh: spawn gives a child to wait for", options, async () => {
  const sb = await sandbox();
  const child = await sb.sh`exit 5`.spawn();
  const { status } = await child.output();
  assert.equal(status.code, 5);
});

test("sh: a KillController ends a command with a signal of one's choice", options, async () => {
  const sb = await sandbox();
  const controller = new KillController();
  assert.equal(controller.signal.aborted, false);
  setTimeout(() => controller.kill("SIGKILL"), 300);
  await assert.rejects(async () => await sb.sh`exec sleep 30`.signal(controller.signal), { code: 137 });
  assert.equal(controller.signal.aborted, true);
  assert.equal(controller.signal.abortedExitCode, 137);
});

for (const [signal, number] of Object.entries({
  SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGUSR1: 10, SIGUSR2: 12, SIGALRM: 14, SIGTERM: 15,
})) {
  test(`kill with ${signal}, by name`, options, async () => {
    const sb = await sandbox();
    const child = await sb.spawn("sleep", { args: ["30"] });
    await child.kill(signal);
    const status = await child.status;
    assert.equal(status.code, 128 + number);
    assert.equal(status.signal, signal);
    assert.equal(status.success, false);
  });
}

test("a signal that the process takes for itself", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("bash", {
    args: ["-c", "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done"], stdout: "piped",
  });
  const reader = child.stdout.getReader();
  assert.equal(Buffer.from((await reader.read()).value).toString(), "ready\n");
  await child.kill("SIGUSR1");
  assert.equal(Buffer.from((await reader.read()).value).toString(), "got\n");
  assert.equal((await child.status).code, 9);
});

test("stopped and continued", options, async () => {
  const sb = await sandbox();
  const child = await sb.spawn("sleep", { args: ["2"] });
  await child.kill("SIGSTOP");
  // The signal is sent when kill is answered; the process stops when it next runs.
  while (!/\) T /.test(await sb.fs.readTextFile(`/proc/${child.pid}/stat`))) await delay(10);
  await child.kill("SIGCONT");
  assert.equal((await child.status).code, 0);
});
