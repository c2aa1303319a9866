// SPDX-License-Identifier: Apache-2.0
// Files and folders from here to there and back, and all options of walk and expandGlob.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { sandbox } from "./sdk.mjs";

const options = { timeout: 60_000 };
const here = mkdtempSync(path.join(os.tmpdir(), "casemate-transfer-"));
after(() => rmSync(here, { recursive: true }));

const big = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) & 255));

function tree(name) {
  const top = path.join(here, name);
  mkdirSync(path.join(top, "sub", "deep"), { recursive: true });
  writeFileSync(path.join(top, "one.txt"), "1");
  writeFileSync(path.join(top, "empty"), "");
  writeFileSync(path.join(top, "sub", "big.bin"), big);
  writeFileSync(path.join(top, "sub", "deep", "é 😀"), "name");
  symlinkSync("one.txt", path.join(top, "link"));
  return top;
}

test("upload a file", options, async () => {
  const sb = await sandbox();
  await sb.fs.upload(path.join(tree("file"), "sub", "big.bin"), "up.bin");
  assert.ok(Buffer.from(await sb.fs.readFile("up.bin")).equals(big));
});

test("upload a folder", options, async () => {
  const sb = await sandbox();
  await sb.fs.mkdir("into");
  await sb.fs.upload(tree("folder"), "into");
  assert.equal(await sb.fs.readTextFile("into/folder/one.txt"), "1");
  assert.equal(await sb.fs.readTextFile("into/folder/empty"), "");
  assert.equal(await sb.fs.readTextFile("into/folder/sub/deep/é 😀"), "name");
  assert.ok(Buffer.from(await sb.fs.readFile("into/folder/sub/big.bin")).equals(big));
  assert.equal((await sb.fs.lstat("into/folder/link")).isSymlink, true);
});

test("download a file", options, async () => {
  const sb = await sandbox();
  await sb.fs.writeFile("down.bin", big);
  await sb.fs.download("down.bin", path.join(here, "down.bin"));
  assert.ok(readFileSync(path.join(here, "down.bin")).equals(big));
});

test("download a folder", options, async () => {
  const sb = await sandbox();
  await sb.sh`mkdir -p out/a/b && echo 1 >out/a/x && : >out/empty && ln -sfn a/x out/link && seq 50000 >out/a/b/numbers`;
  await sb.fs.download("out", here);
  assert.equal(readFileSync(path.join(here, "out/a/x"), "utf8"), "1\n");
  assert.equal(readFileSync(path.join(here, "out/empty"), "utf8"), "");
  assert.equal(readFileSync(path.join(here, "out/a/b/numbers"), "utf8").split("\n").length, 50001);
  assert.match(readlinkSync(path.join(here, "out/link")), /x$/);
});

async function names(entries) {
  const found = [];
  for await (const entry of entries) found.push(entry.path);
  return found.sort();
}

test("walk: every option", options, async () => {
  const sb = await sandbox();
  await sb.sh`mkdir -p w/a/b w/node_modules && touch w/x.ts w/y.js w/a/z.ts w/a/b/Q.TS w/node_modules/n.ts && ln -sfn a w/l && ln -sfn x.ts w/m`;
  const walk = async (more) => (await names(sb.fs.walk("w", more))).map((p) => p.replace(/^w\/?/, ""));
  const all = ["", "a", "a/b", "a/b/Q.TS", "a/z.ts", "l", "m", "node_modules", "node_modules/n.ts", "x.ts", "y.js"];
  assert.deepEqual(await walk({}), all);
  assert.deepEqual(await walk({ maxDepth: 0 }), [""]);
  assert.deepEqual(await walk({ maxDepth: 1 }), ["", "a", "l", "m", "node_modules", "x.ts", "y.js"]);
  assert.deepEqual(await walk({ includeDirs: false, includeSymlinks: false }),
    ["a/b/Q.TS", "a/z.ts", "node_modules/n.ts", "x.ts", "y.js"]);
  assert.deepEqual(await walk({ includeFiles: false, includeSymlinks: false }), ["", "a", "a/b", "node_modules"]);
  assert.deepEqual(await walk({ includeFiles: false, includeDirs: false }), ["l", "m"]);
  assert.deepEqual(await walk({ exts: ["ts"], includeSymlinks: false }), ["a/z.ts", "node_modules/n.ts", "x.ts"]);
  assert.deepEqual(await walk({ exts: [".js"] }), ["y.js"]);
  assert.deepEqual(await walk({ match: [/q\.ts$/i] }), ["a/b/Q.TS"]);
  assert.deepEqual(await walk({ skip: [/node_modules/, /\/a$/] }), ["", "l", "m", "x.ts", "y.js"]);
  const followed = await walk({ followSymlinks: true, canonicalize: false });
  assert.ok(followed.includes("l/z.ts") && followed.includes("l/b/Q.TS"));
  await assert.rejects(names(sb.fs.walk("w/none")), { code: "ENOENT" });
});

test("expandGlob: every option", options, async () => {
  const sb = await sandbox();
  await sb.sh`mkdir -p g/a/b && touch g/x.ts g/X.JS g/a/y.ts g/a/b/z.ts && ln -sfn a g/l`;
  const glob = async (pattern, more) =>
    (await names(sb.fs.expandGlob(pattern, { root: "g", ...more }))).map((p) => p.replace("/home/app/g/", ""));
  assert.deepEqual(await glob("*.ts"), ["x.ts"]);
  assert.deepEqual(await glob("**/*.ts"), ["a/b/z.ts", "a/y.ts", "x.ts"]);
  assert.deepEqual(await glob("**/*.ts", { globstar: false }), ["a/y.ts"]);
  assert.deepEqual(await glob("x.*", { caseInsensitive: true }), ["X.JS", "x.ts"]);
  assert.deepEqual(await glob("**/*.ts", { exclude: ["a/b"] }), ["a/y.ts", "x.ts"]);
  assert.deepEqual(await glob("*", { includeDirs: false }), ["X.JS", "l", "x.ts"].sort());
  assert.deepEqual(await glob("+(x|q).ts"), ["x.ts"]);
  assert.deepEqual(await glob("+(x|q).ts", { extended: false }), []);
  assert.ok((await glob("l/*.ts", { followSymlinks: true, canonicalize: false })).length > 0);
  assert.deepEqual(await glob("none/*"), []);
});
