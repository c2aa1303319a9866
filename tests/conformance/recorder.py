# SPDX-License-Identifier: Apache-2.0
"""Which methods of the client the tests use, for docs/compatibility.md. Every public method and property of
the client's own classes is found by reflection; a use counts when it stands in a file of this folder, not when
the client calls itself. Nothing of the client changes but that it is watched."""

import functools
import importlib
import inspect
import json
import pathlib
import sys

FOLDER = str(pathlib.Path(__file__).parent)
# What of the client faces its user; the rest carries messages.
MODULES = ("apps", "env", "fs", "layers", "process", "revisions", "sandbox", "snapshots", "timelines", "volumes")
EXTRA = {"rpc": ("FetchResponse", "AsyncFetchResponse")}


def classes():
    for name in (*MODULES, *EXTRA):
        try:
            module = importlib.import_module(f"deno_sandbox.{name}")
        except ModuleNotFoundError:
            continue  # an older release
        for cls in vars(module).values():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__ or cls.__name__.startswith("_"):
                continue
            if issubclass(cls, (dict, BaseException)) or cls.__name__ not in EXTRA.get(name, (cls.__name__,)):
                continue
            yield cls


class Recorder:
    def __init__(self):
        self.methods: dict[str, dict[str, dict]] = {}  # row -> face -> test -> outcome
        self.test = None  # (id, whether it is of something that is refused)

    def use(self, row: str, face: str) -> None:
        if self.test and sys._getframe(2).f_code.co_filename.startswith(FOLDER):
            name, refused = self.test
            self.methods[row][face].setdefault(name, {"refused": refused, "passed": True})

    def failed(self, name: str) -> None:
        for faces in self.methods.values():
            for tests in faces.values():
                if name in tests:
                    tests[name]["passed"] = False

    def _watch(self, cls, name, member) -> None:
        row = f"{cls.__name__.removeprefix('Async')}.{name}"
        face = "async" if cls.__name__.startswith("Async") else "sync"
        self.methods.setdefault(row, {})[face] = {}
        if isinstance(member, property):
            def get(this):
                self.use(row, face)
                return member.fget(this)
            setattr(cls, name, property(get, member.fset, member.fdel))
            return

        @functools.wraps(member)
        def call(*args, **kwargs):
            self.use(row, face)
            return member(*args, **kwargs)
        setattr(cls, name, call)

    def watch_all(self) -> None:
        for cls in classes():
            for name, member in list(vars(cls).items()):
                if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    self._watch(cls, name, member)

    def write(self, file: str) -> None:
        rows = {row: {face: list(tests.values()) for face, tests in faces.items()}
                for row, faces in sorted(self.methods.items())}
        pathlib.Path(file).write_text(json.dumps(rows, indent=1))
