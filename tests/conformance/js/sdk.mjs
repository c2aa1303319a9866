// SPDX-License-Identifier: Apache-2.0
// The official client, unmodified, in the release under test: CASEMATE_JS_SDK is the folder it was
// installed in. The endpoint and the token are in the variables that the client itself reads.
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { after } from "node:test";
import { watchAll } from "./recorder.mjs";

const root = path.join(process.env.CASEMATE_JS_SDK, "node_modules/@deno/sandbox");
export const version = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")).version;
export const sdk = await import(pathToFileURL(path.join(root, "esm/mod.js")).href);
await watchAll(root, sdk);
export const {
  Sandbox,
  Client,
  KillController,
  SandboxCommandError,
  ConnectionClosedError,
  ConnectionEstablishmentError,
  InvalidTokenError,
  RpcError,
} = sdk;

// A sandbox for the tests of one file that do not mind each other.
let shared;
export function sandbox() {
  shared ??= Sandbox.create();
  return shared;
}
after(async () => {
  if (shared) await (await shared).close();
});

export const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

// What the origin of the test bench received so far.
export function received() {
  return readFileSync(process.env.CASEMATE_BENCH_REQUESTS, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}
