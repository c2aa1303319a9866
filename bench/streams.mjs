// SPDX-License-Identifier: Apache-2.0
// The official JavaScript client beside a server that only echoes, made of the client's own library.
//   streams.mjs read SDK MB     reads that much output of a process; prints the seconds
//   streams.mjs serve SDK MB    answers calls as the service would; prints its port
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const CHUNK = 48 * 1024;
const [what, root, megabytes] = process.argv.slice(2);
const bytes = Number(megabytes) << 20;

async function read() {
  const { Sandbox } = await import(
    pathToFileURL(path.join(root, "node_modules/@deno/sandbox/esm/mod.js")).href
  );
  const sandbox = await Sandbox.create();
  const start = process.hrtime.bigint();
  const child = await sandbox.spawn("head", {
    args: ["-c", `${megabytes}M`, "/dev/zero"],
    stdout: "piped",
    stderr: "null",
  });
  let got = 0;
  for await (const part of child.stdout) got += part.length;
  await child.status;
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (got !== bytes) throw new Error(`${got} bytes of ${bytes}`);
  await sandbox.close();
  console.log(JSON.stringify({ seconds }));
}

function serve() {
  const { WebSocketServer } = createRequire(path.join(root, "package.json"))("ws");
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", maxPayload: 0 });
  let last = 0;
  server.on("headers", (headers) => headers.push("x-deno-sandbox-id: sbx_ord_00000000000000000000"));
  server.on("listening", () => console.log(server.address().port));
  server.on("connection", (socket) => {
    const send = (text) => new Promise((resolve) => socket.send(text, resolve));
    const note = (event, streamId, more = "") =>
      send(`{"jsonrpc":"2.0","method":"$sandbox.stream.${event}","params":{"streamId":${streamId}${more}}}`);
    const answer = (id, ok) => send(JSON.stringify({ jsonrpc: "2.0", id, result: { ok } }));
    socket.on("message", async (raw) => {
      const text = raw.toString();
      if (text === "ping") return send("pong");
      const { id, method } = JSON.parse(text);
      if (method === "spawn") {
        return answer(id, { pid: 1, stdoutStreamId: ++last, stderrStreamId: null });
      }
      if (method !== "processWait") return answer(id, null);
      const stream = last;
      await note("start", stream);
      for (let left = bytes; left > 0; left -= CHUNK) {
        const data = Buffer.alloc(Math.min(left, CHUNK)).toString("base64");
        await note("enqueue", stream, `,"data":"${data}"`);
      }
      await note("end", stream);
      return answer(id, { success: true, code: 0, signal: null, oom: null });
    });
  });
}

await (what === "read" ? read() : serve());
