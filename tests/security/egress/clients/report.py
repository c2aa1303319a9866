# SPDX-License-Identifier: Apache-2.0
"""Checks docs/clients.md by what the tests run: each client that passed must stand there."""

import pathlib
import re

DOCUMENT = pathlib.Path(__file__).resolve().parents[4] / "docs" / "clients.md"


def rows() -> dict[str, list[str]]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def note(client: str, version: str, bound: bool) -> None:
    """Fails unless the document has a row for the client, with yes for this kind of host, and the
    version that was run (its first number: updates come with the image)."""
    found = re.search(r"\d+(\.\d+)+|\d+", version)
    row = rows().get(client)
    assert row is not None, f"{DOCUMENT.name} has no row for {client}"
    assert found and row[0].split(".")[0] == found[0].split(".")[0], f"{client}: ran {version.strip()!r}"
    assert row[1 if bound else 2] == "yes", f"{client}: the document does not say that it works"
