# SPDX-License-Identifier: Apache-2.0
"""Every numbered case has a test of its number, or a reason here why it has none."""

import pathlib
import re

CASES = range(1, 87)

NOT_TESTED = {
    5: "bodies are no place of substitution",
    16: "bodies are no place of substitution",
    18: "bodies are no place of substitution",
    19: "placeholders are as long as their values, and bodies are not swapped",
    20: "bodies are not swapped, so nothing that signs them can break",
    72: "what a token endpoint hands out is passed on: there are no capture rules",
    73: "a session's cookie is passed on: there is no rule that strips it",
    80: "a policy does not change while its sandbox runs",
    85: "a day under random faults: see make soak and make fuzz",
    86: "a worker lives as long as its sandbox and is not upgraded in place",
}


def numbers_of_tests():
    folder = pathlib.Path(__file__).parent
    found = set()
    for file in folder.rglob("test_*.py"):
        for numbers in re.findall(r"def test_cases?((?:_\d\d)+)_", file.read_text()):
            found.update(int(n) for n in numbers.strip("_").split("_"))
    return found


def test_every_case_has_a_test_or_a_reason():
    missing = set(CASES) - numbers_of_tests() - set(NOT_TESTED)
    assert not missing, sorted(missing)
    assert not numbers_of_tests() & set(NOT_TESTED), "a tested case needs no reason"
