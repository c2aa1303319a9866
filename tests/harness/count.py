# SPDX-License-Identifier: Apache-2.0
"""Sums JUnit files: `count.py FILE...` prints "passed failed skipped"; with --failed, the names of
what failed instead."""

import sys
import xml.etree.ElementTree as xml


def cases(file: str):
    """Yields (name, "passed" | "failed" | "skipped")."""
    for case in xml.parse(file).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else \
            "skipped" if "skipped" in kinds else "passed"
        yield f"{case.get('classname') or ''} {case.get('name')}".strip(), outcome


def main(arguments: list[str]) -> None:
    names = "--failed" in arguments
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for file in arguments:
        if file.startswith("--"):
            continue
        for name, outcome in cases(file):
            totals[outcome] += 1
            if names and outcome == "failed":
                print(name)
    if not names:
        print(*totals.values())


if __name__ == "__main__":
    main(sys.argv[1:])
