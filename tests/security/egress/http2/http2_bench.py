# SPDX-License-Identifier: Apache-2.0
"""What the tests of HTTP/2 share: the client that runs in the sandbox, and what may never come out there."""

import io
import json
import pathlib
import zipfile

import hpack
from egress_bench import S1, S2, forms_of

SECRETS = {
    "S1": {"hosts": ["api.test", "two.test"], "value": S1},
    "S2": {"hosts": ["two.test"], "value": S2},
}


def bundle(package) -> bytes:
    """A library of the tests, for the sandbox."""
    out = io.BytesIO()
    root = pathlib.Path(package.__file__).parent
    with zipfile.ZipFile(out, "w") as archive:
        for file in root.rglob("*.py"):
            archive.write(file, f"{package.__name__}/{file.relative_to(root)}")
    return out.getvalue()


def equip(box) -> None:
    """Puts the client into a sandbox."""
    box.write("/home/app/hpack.zip", bundle(hpack))
    box.write("/home/app/h2_client.py", (pathlib.Path(__file__).parent / "h2_client.py").read_bytes())


def curl(box, *args):
    return box.run("curl", "-sS", "-m", "10", "--http2", *args)


def without_value(text: bytes) -> None:
    for form in (*forms_of(S1), *forms_of(S2)):
        assert form not in text


def talk(box, code: str, *args: str, timeout: int = 40) -> dict:
    """Runs a client's script in the sandbox; what it puts into out comes back."""
    done = box.python("import json, sys, time\nfrom h2_client import *\nout = {}\n" + code +
                      "\nprint(json.dumps(out))", *args, timeout=timeout)
    assert done.code == 0, done.stderr.decode()
    without_value(done.stdout)
    return json.loads(done.text)
