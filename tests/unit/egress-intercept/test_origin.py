# SPDX-License-Identifier: Apache-2.0
"""Connections to hosts: which are used again by later connections of the sandbox, and which must not be."""

import os
import ssl
import sys
import tempfile
import time
import unittest

from bench import NAME, VALUE_1, Authority, Harness, Origin, Response

PROGRAM = sys.argv.pop(1)
OTHER = "two.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.authority = Authority(cls.folder.name)
        cls.certificate = cls.authority.leaf("all", [NAME, OTHER])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def serve(self, serve, **more):
        """An origin that does this on each connection, and a proxy before it."""
        origin = Origin(serve, self.certificate)
        self.addCleanup(origin.close)
        for name, value in more.items():
            setattr(origin.context, name, value)
        h = Harness(PROGRAM, os.path.join(self.folder.name, "root.pem"),
                    {"KEY": {"hosts": [NAME, OTHER], "value": VALUE_1}},
                    {"api": (NAME, origin.port, False), "two": (OTHER, origin.port, False)})
        self.addCleanup(lambda: self.assertEqual(h.stop(), 0))
        return origin, h

    def get(self, h, label="api", **more):
        """One request on a connection of its own, which is over when this returns."""
        r = h.get(label, **more)
        while h.connections() > 0:
            time.sleep(0.005)
        return r


def answer(c):
    while True:
        line, fields = c.head()
        c.body(fields)
        c.send(OK if "/close" not in line else OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))


class Reuse(Case):
    def test_the_next_connection_of_the_sandbox_has_it(self):
        origin, h = self.serve(answer)
        for _ in range(4):
            self.assertEqual(self.get(h).status, 200)
        self.assertEqual(origin.connections, 1)

    def test_also_when_the_client_asked_for_the_end(self):
        origin, h = self.serve(answer)
        self.assertEqual(self.get(h, fields=["Connection: close"]).status, 200)
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(origin.connections, 1)

    def test_a_refused_request_does_not_spoil_it(self):
        origin, h = self.serve(answer)
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(self.get(h, host="evil.test").status, 421)
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(origin.connections, 1)

    def test_hosts_are_told_apart(self):
        origin, h = self.serve(answer)
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(self.get(h, "two").status, 200)
        self.assertEqual(origin.connections, 2)
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(self.get(h, "two").status, 200)
        self.assertEqual(origin.connections, 2)

    def test_two_at_once_are_two(self):
        origin, h = self.serve(answer)
        first, second = h.connect("api"), h.connect("api")
        self.assertEqual((first.request().status, second.request().status), (200, 200))
        self.assertEqual(origin.connections, 2)
        first.close()
        second.close()

    def test_no_more_than_eight_wait(self):
        origin, h = self.serve(answer)
        clients = [h.connect("api") for _ in range(12)]
        for c in clients:
            self.assertEqual(c.request().status, 200)
        for c in clients:
            c.close()
        deadline = time.monotonic() + 5
        while origin.active > 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual((origin.connections, origin.active), (12, 8))


class NoReuse(Case):
    def spoilt(self, serve, statuses=(200, 200), connections=2, pause=0.1, **more):
        origin, h = self.serve(serve)
        for status in statuses:
            r = self.get(h, **more)
            self.assertEqual(r.status, status, r.body)
            self.assertIn(r.body, (b"ok", b"") if status == 200 else (r.body,))
            time.sleep(pause)
        self.assertEqual(origin.connections, connections)
        return origin

    def test_the_host_says_close(self):
        self.spoilt(answer, target="/close")

    def test_bytes_after_the_answer(self):
        def serve(c):
            c.head()
            c.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
            c.to_end()
        self.spoilt(serve)

    def test_bytes_long_after_the_answer(self):
        def serve(c):
            c.head()
            c.send(OK)
            time.sleep(0.05)
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
            c.to_end()
        self.spoilt(serve, pause=0.2)

    def test_the_host_ends_it(self):
        def serve(c):
            c.head()
            c.send(OK)
        self.spoilt(serve, pause=0.2)

    def test_an_answer_before_the_body(self):
        def serve(c):
            c.head()
            c.send(OK)
            c.to_end()
        origin, h = self.serve(serve)
        c = h.connect("api")
        c.send(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 100000\r\n\r\nbegin")
        self.assertEqual(Response(c).status, 200)
        c.close()
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(origin.connections, 2)

    def test_a_client_that_leaves_in_the_middle(self):
        def serve(c):
            line, _ = c.head()
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalf" + bytes(5000) if "/half" in line else OK)
            c.to_end()
        origin, h = self.serve(serve)
        c = h.connect("api")
        c.send(f"GET /half HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        while b"half" not in c.rest:
            c.more()
        c.close()
        while h.connections() > 0:
            time.sleep(0.005)
        self.assertEqual(self.get(h).status, 200)
        self.assertEqual(origin.connections, 2)

    def test_a_safe_request_without_an_answer_is_tried_once_more(self):
        def serve(c):
            line, _ = c.head()
            if "/never" not in line:
                c.send(OK)
                c.head()
        origin, h = self.serve(serve)
        self.assertEqual(self.get(h).status, 200)
        r = self.get(h, target="/never")
        self.assertEqual((r.status, r.json()["code"]), (502, "UPSTREAM_FAILED"))
        self.assertEqual(origin.recorded.count(b"/never"), 2)
        self.assertEqual(origin.connections, 2)

    def test_no_other_request_is_tried_again(self):
        origin, h = self.serve(lambda c: c.head())
        for method, body in (("DELETE", b""), ("POST", b"b"), ("GET", b"b")):
            before = origin.recorded.count(b"/x")
            r = self.get(h, target="/x", method=method, body=body)
            self.assertEqual(r.status, 502)
            self.assertEqual(origin.recorded.count(b"/x") - before, 1)


class Sessions(Case):
    def resumed(self, version):
        seen = []

        def serve(c):
            seen.append(c.s.session_reused)
            answer(c)
        origin, h = self.serve(serve, maximum_version=version)
        for label in ("api", "api", "two", "two", "api"):
            self.assertEqual(self.get(h, label, target="/close").status, 200)
        self.assertEqual(seen, [False, True, False, True, True])
        self.assertEqual(origin.connections, 5)

    def test_tls_13(self):
        self.resumed(ssl.TLSVersion.TLSv1_3)

    def test_tls_12(self):
        self.resumed(ssl.TLSVersion.TLSv1_2)

    def test_a_host_that_forgot_them(self):
        origin, h = self.serve(answer)
        self.assertEqual(self.get(h, target="/close").status, 200)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        origin.context = context
        self.assertEqual(self.get(h, target="/close").status, 200)

    def test_a_resumed_handshake_vouches_for_its_host_alone(self):
        """The session of one host is not offered to the next, which holds a bad certificate."""
        origin, h = self.serve(answer)
        self.assertEqual(self.get(h, target="/close").status, 200)
        bad = self.authority.leaf("bad", ["evil.test"])
        origin.context.load_cert_chain(*bad)
        self.assertEqual(self.get(h, "two").status, 502)


if __name__ == "__main__":
    unittest.main(verbosity=1)
