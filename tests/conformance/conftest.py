# SPDX-License-Identifier: Apache-2.0
"""The official Python client, unmodified, in the release that this interpreter has. Its two faces, sync
and async, go through the same tests: what either returns is handed to settle()."""

import asyncio
import contextlib
import importlib.util
import inspect
import os

import pytest
from faces import Face
from recorder import Recorder

# An interpreter without the client has nothing to run here.
collect_ignore_glob = [] if importlib.util.find_spec("deno_sandbox") else ["test_*.py"]

_loop = asyncio.new_event_loop()
_recorder = Recorder()


def pytest_configure(config):
    config.addinivalue_line("markers", "unsupported: the client's methods in it are refused, by design or not built yet")
    if importlib.util.find_spec("deno_sandbox"):
        _recorder.watch_all()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    _recorder.test = (item.nodeid, item.get_closest_marker("unsupported") is not None)
    outcome = yield
    _recorder.test = None
    if outcome.excinfo:
        _recorder.failed(item.nodeid)


def pytest_sessionfinish():
    """CASEMATE_USED: where tools/compatibility finds what was used, and whether it worked."""
    if os.environ.get("CASEMATE_USED"):
        _recorder.write(os.environ["CASEMATE_USED"])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    _loop.run_until_complete(pyfuncitem.obj(**{n: pyfuncitem.funcargs[n] for n in names}))
    return True


@pytest.fixture(scope="module")
def environment(instance):
    before = dict(os.environ)
    os.environ.update(instance.env, NO_PROXY="127.0.0.1,localhost")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module", params=["sync", "async"])
def face(request, environment):
    import deno_sandbox

    async def make():
        return deno_sandbox.AsyncDenoDeploy()

    if request.param == "async":
        yield Face(_loop.run_until_complete(make()))
    else:
        yield Face(deno_sandbox.DenoDeploy())


@pytest.fixture(scope="module")
def sb(face):
    """A sandbox for the tests of a file that do not mind each other."""
    stack = contextlib.AsyncExitStack()

    async def enter():
        return await stack.enter_async_context(face.create(debug=True))

    yield _loop.run_until_complete(enter())
    _loop.run_until_complete(stack.aclose())
