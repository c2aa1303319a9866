// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { delay, sandbox } from "./sdk.mjs";

const options = { timeout: 30_000 };

test("bytes", options, async () => {
  const sb = await sandbox();
  const data = new Uint8Array([0, 1, 2, 255, 254, 10]);
  await sb.fs.writeFile("bytes.bin", data);
  assert.deepEqual(new Uint8Array(await sb.fs.readFile("bytes.bin")), data);
  assert.deepEqual(new Uint8Array(await sb.fs.readFile("/home/app/bytes.bin")), data);
});

test("text, with every kind of character", options, async () => {
  const sb = await sandbox();
  const text = 'plain é \u{1f600} \u0000 "quoted" \\ \r\n\t end';
  await sb.fs.writeTextFile("text.txt", text);
  assert.equal(await sb.fs.readTextFile("text.txt"), text);
});

test("an empty file", options, async () => {
  const sb = await sandbox();
  await sb.fs.writeFile("empty", new Uint8Array());
  assert.equal((await sb.fs.readFile("empty")).length, 0);
});

test("20 MB in one message each way", options, async () => {
  const sb = await sandbox();
  const data = randomBytes(20_000_000);
  await sb.fs.writeFile("big.bin", new Uint8Array(data));
  assert.equal(Buffer.compare(Buffer.from(await sb.fs.readFile("big.bin")), data), 0);
});

test("a stream as content", options, async () => {
  const sb = await sandbox();
  const parts = [randomBytes(70_000), randomBytes(1), randomBytes(300_000)];
  await sb.fs.writeFile("streamed.bin", ReadableStream.from(parts.map((p) => new Uint8Array(p))));
  const got = Buffer.from(await sb.fs.readFile("streamed.bin"));
  assert.equal(Buffer.compare(got, Buffer.concat(parts)), 0);
  await sb.fs.writeTextFile("streamed.txt", ReadableStream.from(["a", "é", "\u{1f600}"]));
  assert.equal(await sb.fs.readTextFile("streamed.txt"), "aé\u{1f600}");
});

test("a stream that fails fails the write", options, async () => {
  const sb = await sandbox();
  const broken = new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array([1]));
      setTimeout(() => controller.error(new RangeError("source broke")), 50);
    },
  });
  await assert.rejects(sb.fs.writeFile("broken.bin", broken), /source broke/);
});

test("append, create and createNew", options, async () => {
  const sb = await sandbox();
  await sb.fs.writeTextFile("modes.txt", "one");
  await sb.fs.writeTextFile("modes.txt", " two", { append: true });
  assert.equal(await sb.fs.readTextFile("modes.txt"), "one two");
  await assert.rejects(sb.fs.writeTextFile("modes.txt", "", { createNew: true }), { code: "EEXIST" });
  await assert.rejects(sb.fs.writeTextFile("absent.txt", "", { create: false }), { code: "ENOENT" });
  await sb.fs.writeTextFile("modes.txt", "x", { mode: 0o600 });
  assert.equal((await sb.fs.stat("modes.txt")).mode & 0o777, 0o600);
});

test("a missing file is NotFound with code ENOENT", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.fs.readFile("nf.txt"), (error) => {
    assert.equal(error.code, "ENOENT");
    assert.equal(error.constructor.name, "NotFound");
    assert.match(error.message, /nf\.txt/);
    return true;
  });
});

test("a directory cannot be read as a file", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.fs.readFile("/tmp"), { code: "EISDIR" });
});

test("mkdir, readDir, rename, remove", options, async () => {
  const sb = await sandbox();
  await sb.fs.mkdir("tree/a/b", { recursive: true });
  await assert.rejects(sb.fs.mkdir("tree"), { code: "EEXIST" });
  await assert.rejects(sb.fs.mkdir("no/parent"), { code: "ENOENT" });
  await sb.fs.mkdir("tree", { recursive: true });
  await sb.fs.writeTextFile("tree/file", "x");
  await sb.sh`ln -s file tree/link`;
  const entries = await Array.fromAsync(sb.fs.readDir("tree"));
  entries.sort((x, y) => x.name < y.name ? -1 : 1);
  assert.deepEqual(entries.map((e) => ({ ...e })), [
    { name: "a", isFile: false, isDirectory: true, isSymlink: false },
    { name: "file", isFile: true, isDirectory: false, isSymlink: false },
    { name: "link", isFile: false, isDirectory: false, isSymlink: true },
  ]);
  await sb.fs.rename("tree/file", "tree/renamed");
  await assert.rejects(sb.fs.stat("tree/file"), { code: "ENOENT" });
  await assert.rejects(sb.fs.remove("tree"), { code: "ENOTEMPTY" });
  await sb.fs.remove("tree", { recursive: true });
  await assert.rejects(sb.fs.remove("tree"), { code: "ENOENT" });
});

test("stat and lstat", options, async () => {
  const sb = await sandbox();
  await sb.fs.writeTextFile("target", "12345");
  await sb.sh`ln -sf target pointer`;
  const followed = await sb.fs.stat("pointer");
  assert.equal(followed.isFile, true);
  assert.equal(followed.size, 5);
  assert.equal(followed.uid, 1000);
  assert.ok(followed.mtime instanceof Date);
  assert.ok(Math.abs(Date.now() - followed.mtime.getTime()) < 60_000);
  const link = await sb.fs.lstat("pointer");
  assert.equal(link.isSymlink, true);
  assert.equal(link.isFile, false);
});

test("file calls are made as the user app", options, async () => {
  const sb = await sandbox();
  await assert.rejects(sb.fs.readTextFile("/etc/shadow"), { code: "EACCES" });
  await assert.rejects(sb.fs.writeTextFile("/etc/x", "x"), { code: "EACCES" });
});

test("an aborted write is an AbortError", options, async () => {
  const sb = await sandbox();
  const stopper = new AbortController();
  const endless = new ReadableStream({
    async pull(controller) {
      await delay(20);
      controller.enqueue(new Uint8Array(100));
    },
  });
  setTimeout(() => stopper.abort(), 200);
  await assert.rejects(sb.fs.writeFile("never", endless, { signal: stopper.signal }), (error) => {
    assert.ok(error instanceof DOMException);
    assert.equal(error.name, "AbortError");
    return true;
  });
  assert.equal(await sb.sh`echo alive`.text(), "alive\n");
});

test("links, copies, modes and times", options, async () => {
  const sb = await sandbox();
  await sb.fs.mkdir("more");
  await sb.fs.writeTextFile("more/a", "text", { mode: 0o640 });
  await sb.fs.copyFile("more/a", "more/b");
  assert.equal(await sb.fs.readTextFile("more/b"), "text");
  await sb.fs.link("more/a", "more/hard");
  assert.equal((await sb.fs.stat("more/a")).nlink, 2);
  await sb.fs.symlink("a", "more/soft");
  assert.equal(await sb.fs.readLink("more/soft"), "a");
  assert.equal(await sb.fs.realPath("more/soft"), "/home/app/more/a");
  await sb.fs.chmod("more/a", 0o755);
  assert.equal((await sb.fs.stat("more/a")).mode & 0o7777, 0o755);
  await sb.fs.truncate("more/a", 2);
  assert.equal(await sb.fs.readTextFile("more/a"), "te");
  const when = new Date("2026-01-02T03:04:05.678Z");
  await sb.fs.utime("more/b", when, when);
  assert.equal((await sb.fs.stat("more/b")).mtime.getTime(), when.getTime());
  await assert.rejects(sb.fs.chown("more/a", 0, null), { code: "EPERM" });
  assert.match(await sb.fs.makeTempDir({ prefix: "p_" }), /^\/tmp\/p_/);
  assert.match(await sb.fs.makeTempFile(), /^\/tmp\//);
  await sb.fs.remove("more", { recursive: true });
});

test("an open file", options, async () => {
  const sb = await sandbox();
  const file = await sb.fs.open("handle.txt", { read: true, write: true, create: true, truncate: true });
  const text = new TextEncoder().encode("0123456789");
  assert.equal(await file.write(text), 10);
  assert.equal(Number(await file.seek(2n, 0)), 2);
  const into = new Uint8Array(4);
  assert.equal(await file.read(into), 4);
  assert.equal(new TextDecoder().decode(into), "2345");
  assert.equal(Number(await file.seek(-1, 2)), 9);
  assert.equal(await file.read(into), 1);
  assert.equal(await file.read(into), null);
  assert.equal((await file.stat()).size, 10);
  await file.truncate(4);
  await file.sync();
  await file.syncData();
  await file.lock(true);
  await file.unlock();
  await file.close();
  assert.equal(await sb.fs.readTextFile("handle.txt"), "0123");
});

test("an open file as streams", options, async () => {
  const sb = await sandbox();
  const data = randomBytes(700_001);
  const to = await sb.fs.create("stream-handle.bin");
  await ReadableStream.from([new Uint8Array(data)]).pipeTo(to.writable);
  const from = await sb.fs.open("stream-handle.bin");
  assert.equal(Buffer.compare(Buffer.from(await new Response(from.readable).arrayBuffer()), data), 0);
  const empty = await sb.fs.create("empty-handle");
  assert.equal((await new Response(empty.readable).arrayBuffer()).byteLength, 0);
});

async function all(entries) {
  const found = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

test("walk", options, async () => {
  const sb = await sandbox();
  await sb.fs.mkdir("walked/a/b", { recursive: true });
  await sb.fs.writeTextFile("walked/a/x.ts", "");
  await sb.fs.writeTextFile("walked/a/b/y.js", "");
  await sb.fs.symlink("a", "walked/link");
  const paths = async (o) => (await all(sb.fs.walk("walked", o))).map((e) => e.path).sort();
  assert.deepEqual(await paths(), ["walked", "walked/a", "walked/a/b", "walked/a/b/y.js", "walked/a/x.ts", "walked/link"]);
  assert.deepEqual(await paths({ exts: ["ts"] }), ["walked/a/x.ts"]);
  assert.deepEqual(await paths({ match: [/Y\.JS$/i] }), ["walked/a/b/y.js"]);
  assert.deepEqual(await paths({ skip: [/\/b$/], includeSymlinks: false }), ["walked", "walked/a", "walked/a/x.ts"]);
  assert.deepEqual(await paths({ maxDepth: 0 }), ["walked"]);
  const [root] = await all(sb.fs.walk("walked"));
  assert.deepEqual([root.name, root.isDirectory, root.isFile, root.isSymlink], ["walked", true, false, false]);
  await assert.rejects(all(sb.fs.walk("absent")), (e) => e.code === "ENOENT");
});

test("walk left early", options, async () => {
  const sb = await sandbox();
  for (let i = 0; i < 20; i++) {
    for await (const entry of sb.fs.walk("/usr")) {
      assert.equal(entry.path, "/usr");
      break;
    }
  }
  assert.equal(await sb.fs.readTextFile("/etc/hostname") !== "", true);
});

test("walk a large tree", options, async () => {
  const sb = await sandbox();
  const count = Number(await sb.sh`find /usr/lib | wc -l`.text());
  assert.equal((await all(sb.fs.walk("/usr/lib"))).length, count);
});

test("expandGlob", options, async () => {
  const sb = await sandbox();
  await sb.fs.mkdir("globbed/a/b", { recursive: true });
  for (const name of ["a/x.ts", "a/b/y.ts", "a/b/Z.TS", "z.js"]) await sb.fs.writeTextFile("globbed/" + name, "");
  const paths = async (glob, o) => (await all(sb.fs.expandGlob(glob, o))).map((e) => e.path.replace("/home/app/", ""));
  assert.deepEqual(await paths("globbed/**/*.ts"), ["globbed/a/b/y.ts", "globbed/a/x.ts"]);
  assert.deepEqual(await paths("**/*.ts", { root: "globbed", caseInsensitive: true, exclude: ["a/x.ts"] }),
    ["globbed/a/b/Z.TS", "globbed/a/b/y.ts"]);
  assert.deepEqual(await paths("globbed/*"), ["globbed/a", "globbed/z.js"]);
  assert.deepEqual(await paths("globbed/*", { includeDirs: false }), ["globbed/z.js"]);
  assert.deepEqual(await paths("absent/*"), []);
});
