# SPDX-License-Identifier: Apache-2.0
"""A network of its own for a test: a node, and an internet of documentation addresses (RFC 5737, RFC
3849) at the other end of a cable. Whatever is started while inside belongs to it; no packet can reach
anything real."""

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


class Network:
    """Two network namespaces joined by a cable: the node's, where the calling thread is, and one that
    stands for the internet, which owns the given addresses."""

    NODE, GATEWAY = "192.0.2.1", "192.0.2.254"
    NODE_SECOND = "192.0.2.3"  # on the same interface: the node talks to it from NODE
    NODE6, GATEWAY6 = "2001:db8:ffff::1", "2001:db8:ffff::2"

    def __init__(self, addresses: tuple[str, ...]):
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        self._internet = _open_net()
        _run("ip", "link", "set", "lo", "up")
        for address in addresses:
            _run("ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        self._node = _open_net()
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "far", "netns",
             f"/proc/{os.getpid()}/fd/{self._internet}")
        self._plug("cable", self.NODE, self.NODE6)
        _run("ip", "address", "add", f"{self.NODE_SECOND}/24", "dev", "cable")
        with self.internet():
            self._plug("far", self.GATEWAY, self.GATEWAY6)
        _run("ip", "route", "add", "default", "via", self.GATEWAY)
        _run("ip", "-6", "route", "add", "default", "via", self.GATEWAY6)

    @staticmethod
    def _plug(device: str, address: str, address6: str) -> None:
        _run("ip", "address", "add", f"{address}/24", "dev", device)
        _run("ip", "address", "add", f"{address6}/64", "dev", device, "nodad")
        _run("ip", "link", "set", device, "up")

    @contextlib.contextmanager
    def internet(self):
        """Sockets made inside belong to the internet."""
        _check(_libc.setns(self._internet, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(self._node, CLONE_NEWNET), "setns")

    def close(self) -> None:
        os.close(self._internet)
        os.close(self._node)


def _open_net() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def network(*addresses: str):
    """Moves the calling thread onto a node of its own, with a resolv.conf that names 127.0.0.1, and back
    at the end."""
    before = [(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), flag)
              for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))]
    cwd = os.getcwd()
    with tempfile.NamedTemporaryFile("w", prefix="resolv.conf.") as conf:
        conf.write("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        conf.flush()
        os.chmod(conf.name, 0o644)
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
        made = None
        try:
            _run("mount", "--make-rprivate", "/")
            _run("mount", "--bind", conf.name, str(pathlib.Path("/etc/resolv.conf").resolve()))
            made = Network(addresses)
            yield made
        finally:
            # Threads started meanwhile share our root and directory, with which none may change mounts.
            _check(_libc.unshare(CLONE_FS), "unshare")
            for fd, flag in before:
                _check(_libc.setns(fd, flag), "setns")
                os.close(fd)
            if made is not None:
                made.close()
            os.chdir(cwd)
