# SPDX-License-Identifier: Apache-2.0
"""Runs a command against a private instance: `python -m harness.with_instance COMMAND...` (from
tests/). The command gets the variables that the official clients read, and of the test bench
CASEMATE_BENCH_CA, CASEMATE_BENCH_REQUESTS (a file with what the origin received, one JSON object a
line)."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from harness import fixtures, leaks
from harness.ca import Authority
from harness.instance import Instance
from harness.origin import Origin


def _publish(origin: Origin, file: pathlib.Path, stop: threading.Event) -> None:
    written = 0
    with file.open("a") as out:
        while not stop.wait(0.01):
            for request in origin.requests[written:]:
                out.write(json.dumps({"method": request.method, "target": request.target,
                                      "headers": request.headers,
                                      "body": request.body.decode("latin-1")}) + "\n")
                out.flush()
                written += 1


def main(command: list[str]) -> int:
    before = leaks.snapshot()
    with tempfile.TemporaryDirectory(prefix="casemate-test-") as temp:
        top = pathlib.Path(temp)
        top.chmod(0o755)
        authority = Authority(top / "ca")
        origin = Origin(authority.issue("api.test", "files.test", "evil.test"))
        flags = [f"--egress-ca={authority.cert}"]
        flags += [f"--egress-host={n}={origin.address}" for n in ("api.test", "files.test", "evil.test")]
        received = top / "requests.jsonl"
        received.touch()
        stop = threading.Event()
        threading.Thread(target=_publish, args=(origin, received, stop), daemon=True).start()
        with Instance(top / "state", *flags) as instance:
            code = subprocess.run(command, env={
                **os.environ, **instance.env, "NO_PROXY": "127.0.0.1,localhost",
                "CASEMATE_BENCH_CA": str(authority.cert),
                "CASEMATE_BENCH_REQUESTS": str(received),
                "CASEMATE_BENCH_SECRET": fixtures.S1}).returncode
            if code != 0:
                print(instance.log_tail(), file=sys.stderr)
        time.sleep(0.05)
        stop.set()
        origin.close()
    left = leaks.since(before)
    for thing in sorted(left):
        print(f"left behind: {thing}", file=sys.stderr)
    return code or (1 if left else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
