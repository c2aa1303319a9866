# SPDX-License-Identifier: Apache-2.0
"""What a sandbox is like from a program's side, with the official Python client as it comes from PyPI. The
client finds the service through DENO_DEPLOY_TOKEN, DENO_DEPLOY_ENDPOINT and DENO_SANDBOX_ENDPOINT.

Usage: demo.py ORIGIN-DIR STATE-DIR CASEMATE-PROGRAM
"""

import base64
import importlib.metadata
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
import urllib.parse

from deno_sandbox import DenoDeploy

API = "api.demo.test"
# Stands for the key that nobody in the sandbox may ever hold. New for each run.
KEY = "sk-demo-" + os.urandom(20).hex()

here = pathlib.Path(__file__).parent
failures: list[str] = []


def headline(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n## {text}")


def say(text: str) -> None:
    for line in text.rstrip("\n").splitlines() or [""]:
        print("   " + line, flush=True)


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        failures.append(otherwise)
        say(f"!! {otherwise}")


def run(sandbox, command: str, *args: str) -> tuple[int, str]:
    child = sandbox.spawn(command, args=list(args), stdout="piped", stderr="piped")
    text = child.stdout.read(-1) + child.stderr.read(-1)
    return child.wait()["code"], text.decode(errors="replace")


def show(sandbox, command: str, *args: str) -> str:
    say("$ " + shlex.join([command, *args]))
    code, text = run(sandbox, command, *args)
    say(text)
    expect(code == 0, f"ended with {code}")
    return text


def masked(text: str) -> str:
    return text[:6] + "…" if len(text) > 6 else text


def forms_of(key: str) -> list[str]:
    """The key as it could stand in loot, encoded or not."""
    shifted = [base64.b64encode(b"x" * n + key.encode()).decode()[4 * bool(n):-4] for n in range(3)]
    return [key, key[8:], key.encode().hex(), urllib.parse.quote(key), *shifted]


def work(sandbox) -> None:
    headline("2. Python, Node.js and a shell in it")
    show(sandbox, "python3", "-c", 'import platform; print(6 * 7, "says Python", platform.python_version())')
    show(sandbox, "node", "-e", 'console.log([3, 1, 2].sort(), "says Node.js", process.version)')
    show(sandbox, "bash", "-c", "echo Hello from $(whoami) on $(. /etc/os-release; echo $PRETTY_NAME), "
                                "$(nproc) CPUs, sudo gives $(sudo whoami)")
    sandbox.fs.write_text_file("note.txt", "files go in and out, too\n")
    say(f"note.txt holds: {sandbox.fs.read_text_file('note.txt')}")


def secret(sandbox, origin: pathlib.Path) -> None:
    headline("3. The API key: the sandbox holds a placeholder, the API receives the key")
    shown = show(sandbox, "bash", "-c", "echo $OPENAI_API_KEY").strip()
    expect(KEY not in shown, "the key is in the sandbox")
    show(sandbox, "bash", "-c", f'curl -sS https://{API}/v1/ask -H "Authorization: Bearer $OPENAI_API_KEY"')
    request = json.loads(origin.read_text().splitlines()[-1])
    got = request["headers"].get("Authorization", "").removeprefix("Bearer ")
    say(f"{API} received: {request['path']}, Authorization: Bearer {masked(got)}, which is the key: "
        f"{'yes' if got == KEY else 'NO'}")
    expect(got == KEY, "the API did not receive the key")


def refusal(sandbox, audit: pathlib.Path) -> None:
    headline("4. A host that is not on the list, and its line in the audit trail")
    say("$ curl http://collector.evil.test/")
    code, text = run(sandbox, "curl", "-sS", "-m", "10", "http://collector.evil.test/")
    say(text)
    expect(code != 0 or "not allowed" in text or "denied" in text or "code" in text,
           "the unlisted host answered")
    lines = []
    for _ in range(100):
        lines = [line for line in audit.read_text().splitlines()
                 if "collector.evil.test" in line and sandbox.id in line]
        if lines:
            break
        time.sleep(0.02)
    expect(bool(lines), "no line in the audit trail")
    say("audit: " + (lines[0] if lines else "nothing"))


def attack(sandbox, origin: pathlib.Path, port: str) -> None:
    headline("5. A prompt-injected agent, root in the sandbox, looks for the key")
    before = len(origin.read_text().splitlines())
    sandbox.fs.write_text_file("agent.py", (here / "agent.py").read_text())
    code, text = run(sandbox, "python3", "agent.py", port)
    expect(code == 0, f"the agent ended with {code}: {text[-500:]}")
    tried = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    stolen = 0
    for attempt in tried:
        got = any(form in attempt["loot"] or form in attempt["outcome"] for form in forms_of(KEY))
        stolen += got
        say(f"{'KEY STOLEN' if got else 'no key':>10}  {attempt['what']}: {attempt['outcome'][:88]}")
    expect(len(tried) >= 12, "not all attempts were made")
    expect(stolen == 0, "the key got into the sandbox")
    for line in origin.read_text().splitlines()[before:]:
        request = json.loads(line)
        expect(request["headers"].get("Host", "").startswith(API), "a request for another host came through")
    say(f"{len(tried)} attempts, {stolen} successful.")


def bill(sandbox, casemate: str) -> None:
    headline("6. What it cost")
    listed = subprocess.run([casemate, "list", "--json"], capture_output=True, text=True)
    expect(listed.returncode == 0, f"casemate list: {listed.stderr}")
    usage = next(s["usage"] for s in json.loads(listed.stdout) if s["id"] == sandbox.id)
    say(f"{usage['cpuSeconds']:.2f} CPU-seconds, {usage['memoryGibSeconds']:.2f} GiB-seconds of memory, "
        f"{usage['memoryBytes'] / 2**20:.0f} MiB held now   (casemate list)")


def main(origin: pathlib.Path, state: pathlib.Path, casemate: str) -> int:
    client = DenoDeploy()
    port = os.environ["DENO_SANDBOX_ENDPOINT"].rpartition(":")[2]
    say(f"client: deno-sandbox {importlib.metadata.version('deno-sandbox')} from PyPI, unmodified; "
        f"service: {os.environ['DENO_SANDBOX_ENDPOINT']}")
    headline("1. Create a sandbox that may reach one host, with a key bound to it")
    begin = time.monotonic()
    with client.sandbox.create(
        allow_net=[API],
        secrets={"OPENAI_API_KEY": {"hosts": [API], "value": KEY}},
    ) as sandbox:
        created = time.monotonic() - begin
        run(sandbox, "true")
        say(f"{sandbox.id}: created in {created * 1000:.0f} ms, first process done after "
            f"{(time.monotonic() - begin) * 1000:.0f} ms")
        requests = origin / "requests.jsonl"
        work(sandbox)
        secret(sandbox, requests)
        refusal(sandbox, state / "audit.jsonl")
        attack(sandbox, requests, port)
        bill(sandbox, casemate)
    headline("All as promised." if not failures else f"{len(failures)} things went wrong.")
    for failure in failures:
        say(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]))
