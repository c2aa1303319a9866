# SPDX-License-Identifier: Apache-2.0
"""A network of its own for a test: namespaces with nothing but loopback, on which documentation
addresses (RFC 5737, RFC 3849) stand for the internet, and a resolver that the tests script. Whatever is
started while inside belongs to it; no packet can reach anything real."""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import tempfile

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def network(*addresses: str):
    """Moves the calling thread into fresh network and mount namespaces, and back at the end."""
    before = [(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), flag)
              for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))]
    cwd = os.getcwd()
    with tempfile.NamedTemporaryFile("w", prefix="resolv.conf.") as conf:
        conf.write("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        conf.flush()
        os.chmod(conf.name, 0o644)
        _check(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
        try:
            _run("mount", "--make-rprivate", "/")
            target = pathlib.Path("/etc/resolv.conf").resolve()
            _run("mount", "--bind", conf.name, str(target))
            _run("ip", "link", "set", "lo", "up")
            for address in addresses:
                _run("ip", "address", "add", address, "dev", "lo", *(
                    ["nodad"] if ":" in address else []))
            yield
        finally:
            # Threads started meanwhile share our root and directory, with which none may change mounts.
            _check(_libc.unshare(CLONE_FS), "unshare")
            for fd, flag in before:
                _check(_libc.setns(fd, flag), "setns")
                os.close(fd)
            os.chdir(cwd)
