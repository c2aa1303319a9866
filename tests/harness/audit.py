# SPDX-License-Identifier: Apache-2.0
"""Reads the audit trail of an instance."""

import json
import pathlib
import time


class Audit:
    def __init__(self, file: pathlib.Path):
        self.file = file
        self._start = 0

    def mark(self) -> None:
        """Later reads begin here."""
        self._start = self.file.stat().st_size if self.file.exists() else 0

    def events(self, **match) -> list[dict]:
        if not self.file.exists():
            return []
        with self.file.open("rb") as f:
            f.seek(self._start)
            lines = f.read().splitlines()
        events = [json.loads(line) for line in lines if line.endswith(b"}")]
        return [e for e in events if all(e.get(k) == v for k, v in match.items())]

    def wait(self, timeout: float = 5, **match) -> dict:
        """The first event with these members; AssertionError if none comes."""
        end = time.monotonic() + timeout
        while True:
            found = self.events(**match)
            if found:
                return found[0]
            assert time.monotonic() < end, f"no audit event {match}; there are {self.events()}"
            time.sleep(0.02)
