// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionEstablishmentError, delay, received, Sandbox } from "./sdk.mjs";

const options = { timeout: 30_000 };
const value = process.env.CASEMATE_BENCH_SECRET;

test("a secret is a placeholder inside and the value at its host", options, async () => {
  await using sb = await Sandbox.create({
    allowNet: ["api.test", "files.test"],
    secrets: { API_KEY: { hosts: ["api.test"], value } },
  });
  const inside = (await sb.sh`printenv API_KEY`.text()).trim();
  assert.notEqual(inside, value);
  assert.equal(await sb.env.get("API_KEY"), inside);
  const before = received().length;
  await sb.sh`curl -sSf -o /dev/null -H "Authorization: Bearer $API_KEY" https://api.test/bound`;
  await sb.sh`curl -sSf -o /dev/null -k -H "Authorization: Bearer $API_KEY" https://files.test/unbound`;
  await delay(100);
  const requests = received().slice(before);
  const sent = (target) =>
    requests.find((r) => r.target === target).headers
      .find(([name]) => name.toLowerCase() === "authorization")[1];
  assert.equal(sent("/bound"), `Bearer ${value}`);
  assert.equal(sent("/unbound"), `Bearer ${inside}`);
});

test("node inside trusts the sandbox's authority", options, async () => {
  await using sb = await Sandbox.create({
    allowNet: ["api.test"],
    secrets: { API_KEY: { hosts: ["api.test"], value } },
  });
  const code = "fetch('https://api.test/node', {headers: {'x-api-key': process.env.API_KEY}})" +
    ".then(r => r.text()).then(t => console.log(t))";
  assert.equal(await sb.sh`node -e ${code}`.text(), "ok\n");
  await delay(100);
  const request = received().find((r) => r.target === "/node");
  assert.equal(request.headers.find(([n]) => n === "x-api-key")[1], value);
});

test("a host that is not listed is refused", options, async () => {
  await using sb = await Sandbox.create({ allowNet: ["api.test"] });
  const result = await sb.sh`curl -sS -m 10 http://evil.test/`.noThrow().stdout("piped");
  assert.doesNotMatch(result.stdoutText ?? "", /^ok$/);
  const tls = await sb.sh`curl -sS -k -m 10 https://evil.test/never`.noThrow();
  assert.notEqual(tls.status.code, 0);
  await delay(100);
  assert.equal(received().filter((r) => r.target === "/never").length, 0);
});

test("no host listed: no network", options, async () => {
  await using sb = await Sandbox.create({ allowNet: [] });
  const result = await sb.sh`curl -sS -k -m 10 https://api.test/`.noThrow();
  assert.notEqual(result.status.code, 0);
});

test("a secret without hosts, or for a host that is not allowed, is refused", options, async () => {
  for (
    const config of [
      { secrets: { K: { hosts: [], value } } },
      { allowNet: ["files.test"], secrets: { K: { hosts: ["api.test"], value } } },
    ]
  ) {
    await assert.rejects(Sandbox.create(config), (error) => {
      assert.ok(error instanceof ConnectionEstablishmentError);
      assert.equal(error.status, 400);
      assert.equal(error.code, "INVALID_CONFIG");
      assert.ok(!error.message.includes(value));
      return true;
    });
  }
});
