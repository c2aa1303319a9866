// SPDX-License-Identifier: Apache-2.0
// Which methods of the client the tests use, for docs/compatibility.md; the twin of recorder.py. Methods and
// getters are found by reflection; a use counts when it stands in a test file, not when the client calls itself.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach } from "node:test";
import { pathToFileURL } from "node:url";

const rows = {}; // row -> test -> outcome
let test;

function use(row) {
  // Error, use, the wrapper, then who called.
  const caller = new Error().stack.split("\n")[3] ?? "";
  if (test && caller.includes(".test.mjs")) rows[row][test.name] ??= test;
}

// What is called by the language or by the client's own classes only.
const unwatched = new Set(["constructor", "then", "length", "name", "prototype", "linkChild", "addListener", "removeListener"]);

function watch(owner, label) {
  for (const [key, found] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
    if (unwatched.has(key) || key.startsWith("_") || !found.configurable) continue;
    const row = `${label}.${key}`;
    const { get, value } = found;
    if (get) {
      found.get = function () {
        use(row);
        return get.call(this);
      };
    } else if (typeof value === "function") {
      found.value = function (...parameters) {
        use(row);
        return value.apply(this, parameters);
      };
    } else {
      continue;
    }
    rows[row] ??= {};
    Object.defineProperty(owner, key, found);
  }
}

// Classes that are not exported at the top: by the file that has them.
const hidden = {
  "fs.js": ["FsFile", "SandboxFsImpl"],
  "env.js": ["SandboxEnvImpl"],
  "deno.js": ["SandboxDenoImpl"],
  "command/mod.js": ["SandboxCommandBuilder", "SandboxCommandChild"],
};

export async function watchAll(root, sdk) {
  const classes = Object.entries(sdk).filter(([, v]) => typeof v === "function" && !/Error$/.test(v.name));
  for (const [file, names] of Object.entries(hidden)) {
    const module = await import(pathToFileURL(path.join(root, "esm", file)).href);
    for (const name of names) classes.push([name.replace(/Impl$/, ""), module[name]]);
  }
  const seen = new Set();
  for (const [name, cls] of classes) {
    if (seen.has(cls)) continue;
    seen.add(cls);
    watch(cls, name);
    watch(cls.prototype, name);
  }
  const client = new sdk.Client({ token: "ddo_none" });
  for (const name of ["apps", "volumes", "snapshots", "revisions", "timelines", "sandboxes", "layers"])
    if (client[name]) watch(Object.getPrototypeOf(client[name]), `client.${name}`);
}

beforeEach((context) => {
  // By convention: the client's methods in such a test are refused, by design or not built yet.
  test = { name: context.name, refused: context.name.startsWith("not supported: "), passed: true };
});
afterEach((context) => {
  if (test) test.passed = context.passed !== false && !context.error;
  test = undefined;
});
// CASEMATE_USED: a folder in which tools/compatibility finds what was used, and whether it worked.
process.on("exit", () => {
  if (!process.env.CASEMATE_USED) return;
  const name = path.basename(process.argv[1] ?? "none", ".mjs");
  const plain = Object.fromEntries(Object.entries(rows).map(([row, tests]) => [row, Object.values(tests)]));
  writeFileSync(path.join(process.env.CASEMATE_USED, `${name}.json`), JSON.stringify(plain, null, 1));
});
