# SPDX-License-Identifier: Apache-2.0
"""Requests: what is swapped, what is refused, and that the client never sees a value."""

import base64
import sys
import tempfile
import time
import unittest
import urllib.parse

from bench import NAME, VALUE_1, VALUE_2, Authority, Harness, Origin, Response

PROGRAM = sys.argv.pop(1)
OTHER = "two.test"


def echo(c):
    while True:
        line, fields = c.head()
        body = c.body(fields)
        out = (line + "\n" + repr(fields) + "\n").encode() + body
        c.send(b"HTTP/1.1 200 OK\r\nX-Echo: " + fields.get("authorization", [""])[0].encode() +
               b"\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: %d\r\n\r\n" % len(out) +
               (b"" if line.startswith("HEAD") else out))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        authority = Authority(cls.folder.name)
        certificate = authority.leaf("all", [NAME, OTHER])
        cls.origin = Origin(echo, certificate)
        cls.plain = Origin(echo)
        secrets = {
            "KEY": {"hosts": [NAME], "value": VALUE_1},
            "PASSWORD": {"hosts": [NAME], "value": VALUE_2},
            "OTHER": {"hosts": [OTHER], "value": "o" * 50},
            # A value that reads like a placeholder, and one that has text of it.
            "NESTED": {"hosts": [NAME], "value": "csec_" + "a" * 60},
        }
        cls.h = Harness(PROGRAM, cls.folder.name + "/root.pem", secrets, {
            "api": (NAME, cls.origin.port, False),
            "plain": (NAME, cls.plain.port, True),
        }, cls.environment())
        cls.p = cls.h.placeholders["KEY"]
        cls.q = cls.h.placeholders["PASSWORD"]

    @classmethod
    def environment(cls):
        return {}

    @classmethod
    def tearDownClass(cls):
        seen = cls.h.seen
        code = cls.h.stop()
        cls.origin.close()
        cls.plain.close()
        cls.folder.cleanup()
        assert code == 0, code
        for value in (VALUE_1, VALUE_2, "o" * 50, "a" * 60):
            assert value.encode() not in seen, "a value reached the client"

    def setUp(self):
        while self.h.connections() > 0:
            time.sleep(0.005)
        self.h.drop_idle()
        self.origin.settle()
        self.plain.settle()
        self.h.forget_events()

    def sent(self, text):
        return text.encode() if isinstance(text, str) else text

    def assert_swapped(self, fields=(), target="/", wanted=""):
        r = self.h.get("api", target, fields)
        self.assertEqual(r.status, 200, r.body)
        self.assertIn(self.sent(wanted), self.origin.recorded)
        self.assertNotIn(self.p.encode(), self.origin.recorded)
        return r

    def assert_refused(self, status, fields=(), target="/", code=None, label="api", **more):
        r = self.h.get(label, target, fields, **more)
        self.assertEqual(r.status, status, r.body)
        self.assertEqual(self.origin.recorded, b"")
        self.assertEqual(self.plain.recorded, b"")
        self.assertNotIn(b"csec_", r.body)
        self.assertEqual(r.fields["connection"], ["close"])
        if code is not None:
            self.assertEqual(r.json().get("reason", r.json()["code"]), code)
        return r.json()


class Swapping(Case):
    def test_bearer(self):
        r = self.assert_swapped([f"Authorization: Bearer {self.p}"],
                                wanted=f"Authorization: Bearer {VALUE_1}\r\n")
        self.assertEqual(r.fields["x-echo"], ["Bearer " + self.p])  # taken out again
        self.assertNotIn("alt-svc", r.fields)
        self.assertIsNotNone(self.h.wait_event(ev="swap", secret="KEY", where="header"))
        self.assertIsNotNone(self.h.wait_event(ev="request", method="GET", path="/", status="200"))

    def test_any_header_any_number(self):
        for name in ("x-api-key", "Cookie", "private-token"):
            self.assert_swapped([f"{name}: a{self.p}b{self.p}{self.p}c"],
                                wanted=f"{name}: a{VALUE_1}b{VALUE_1}{VALUE_1}c\r\n")
        self.assert_swapped([f"A: {self.p}", f"B: {self.q}"],
                            wanted=f"A: {VALUE_1}\r\nB: {VALUE_2}\r\n")

    def test_single_pass(self):
        nested = self.h.placeholders["NESTED"]
        self.assert_swapped([f"A: {nested}"], wanted="A: csec_" + "a" * 60 + "\r\n")

    def test_basic(self):
        def blob(text):
            return base64.b64encode(text.encode()).decode()
        for scheme in ("Basic ", "bAsIc ", "Basic    "):
            for user, password in (("u", self.p), (self.p, ""), ("u", f"x{self.p}y{self.q}")):
                plain = f"{user}:{password}"
                wanted = plain.replace(self.p, VALUE_1).replace(self.q, VALUE_2)
                self.assert_swapped([f"Authorization: {scheme}{blob(plain)}"],
                                    wanted=f"Authorization: {scheme}{blob(wanted)}\r\n")
        self.assert_swapped([f"Authorization: Basic {blob('uu:' + self.p).rstrip('=')}"],
                            wanted=f"Authorization: Basic {blob('uu:' + VALUE_1)}\r\n")
        self.assertIsNotNone(self.h.wait_event(ev="swap", secret="KEY", where="basic"))

    def test_basic_that_is_none_stays(self):
        for text in ("!!!!", "abcde", "Zm9vOmJhcg==", ""):
            self.assert_swapped([f"Authorization: Basic {text}"],
                                wanted=f"Authorization: Basic {text}".rstrip() if not text
                                else f"Authorization: Basic {text}\r\n")

    def test_query(self):
        encoded = urllib.parse.quote(VALUE_2, safe="")
        self.assert_swapped(target=f"/v?a=1&key={self.q}&b={self.p}#"[:-1],
                            wanted=f"GET /v?a=1&key={encoded}&b={VALUE_1} HTTP/1.1\r\n")
        for form in (self.q.replace("c", "%63"), self.q.replace("_", "%5f"), self.q.replace("_", "%5F"),
                     "".join("%%%02x" % b for b in self.q.encode())):
            self.assert_swapped(target=f"/?k={form}&z=%41", wanted=f"GET /?k={encoded}&z=%41 HTTP/1.1\r\n")
        self.assertIsNotNone(self.h.wait_event(ev="request", path="/v"))

    def test_double_encoding_is_not_ours(self):
        twice = self.p.replace("_", "%255f")
        r = self.h.get("api", "/?k=" + twice)
        self.assertEqual(r.status, 200)
        self.assertIn(twice.encode(), self.origin.recorded)

    def test_nearly_a_placeholder_stays(self):
        broken = self.p[:20] + ("a" if self.p[20] != "a" else "b") + self.p[21:]
        for text in (self.p[:30], "csec_", "csec_csec_", broken):
            r = self.h.get("api", "/?q=" + text, [f"A: {text}"])
            self.assertEqual(r.status, 200)
            self.assertIn(f"A: {text}\r\n".encode(), self.origin.recorded)

    def test_keep_alive_and_pipelining(self):
        c = self.h.connect("api")
        one = f"GET /1 HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
        two = f"GET /2 HTTP/1.1\r\nHost: {NAME}\r\nA: {self.p}\r\n\r\n"
        c.send(one + two + one)
        for path in ("/1", "/2", "/1"):
            r = Response(c)
            self.assertIn(f"GET {path} ".encode(), r.body)
        self.assertEqual(self.origin.recorded.count(VALUE_1.encode()), 1)
        c.send(f"GET /4 HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")
        r = Response(c)
        self.assertEqual(r.fields["connection"], ["close"])
        self.assertEqual(c.to_end(), b"")
        c.close()

    def test_byte_by_byte(self):
        c = self.h.connect("api")
        for byte in f"GET / HTTP/1.1\r\nHost: {NAME}\r\nA: {self.p}\r\n\r\n".encode():
            c.send(bytes([byte]))
        self.assertEqual(Response(c).status, 200)
        self.assertIn(f"A: {VALUE_1}\r\n".encode(), self.origin.recorded)
        c.close()

    def test_hop_by_hop_ends_here(self):
        self.assert_swapped(["Connection: keep-alive, X-Gone", "X-Gone: 1", "Keep-Alive: timeout=5",
                             "TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "X-Stays: 1",
                             "Range: bytes=0-1", "Accept-Encoding: gzip, br"], wanted="X-Stays: 1")
        low = self.origin.recorded.lower()
        for gone in (b"x-gone", b"keep-alive", b"\r\nte:", b"upgrade", b"http2", b"range:", b"gzip"):
            self.assertNotIn(gone, low)
        self.assertIn(b"accept-encoding: identity", low)

    def test_host_spellings(self):
        for host in (NAME, NAME.upper(), NAME + ".", NAME + ":443", NAME + ".:443"):
            self.assertEqual(self.h.get("api", host=host).status, 200)
        for host in (NAME + ":8443", NAME + ":80", NAME + ":0443443"):
            self.assertIn(self.h.get("api", host=host).status, (400, 421))
        self.assertEqual(self.h.get("api", f"https://{NAME}:444/abs", host=NAME + ":444").status, 421)
        self.assertEqual(self.h.get("api", f"https://{NAME}/abs?x").status, 200)
        self.assertIn(b"GET /abs?x HTTP/1.1\r\n", self.origin.recorded)

    def test_head_and_old_clients(self):
        r = self.h.get("api", method="HEAD")
        self.assertNotEqual(r.fields["content-length"], ["0"])
        c = self.h.connect("api")
        c.send(f"GET / HTTP/1.0\r\nHost: {NAME}\r\nA: {self.p}\r\n\r\n")
        text = c.to_end()
        self.assertIn(b"200 OK", text)
        self.assertNotIn(b"chunked", text)
        c.close()


class Refusing(Case):
    def test_unknown_placeholder(self):
        # Well-formed: of another sandbox, that is of another harness.
        other = Harness(PROGRAM, self.folder.name + "/root.pem",
                        {"KEY": {"hosts": [NAME], "value": VALUE_1}}, {"api": (NAME, 1, False)})
        foreign = other.placeholders["KEY"]
        other.stop()
        error = self.assert_refused(403, [f"A: {foreign}"], code="placeholder_unknown")
        self.assertNotIn("secret", error)
        self.assertEqual(error["where"], "header")

    def test_bound_elsewhere(self):
        other = self.h.placeholders["OTHER"]
        for fields, target in (([f"A: {other}"], "/"), ([], f"/?k={other}")):
            error = self.assert_refused(403, fields, target, code="placeholder_not_for_host")
            self.assertEqual(error["secret"], "OTHER")
        self.assertIsNotNone(self.h.wait_event(ev="misuse", secret="OTHER", where="query"))

    def test_places_that_are_not_enabled(self):
        hidden = self.p.replace("_", "%5F")
        for place, fields, more in (
                ("path", [], {"target": f"/x/{self.p}/y"}), ("path", [], {"target": f"/{hidden}"}),
                ("header name", [f"{self.p}: x"], {}), ("method", [], {"method": self.p}),
                ("host", [], {"host": f"{self.p}.{NAME}"}),
                ("connection header", [f"Connection: {self.p}"], {})):
            target = more.pop("target", "/")
            error = self.assert_refused(403, fields, target, code="placeholder_not_enabled_here", **more)
            self.assertEqual((error["secret"], error["where"]), ("KEY", place))

    def test_misuse_spoils_the_whole_request(self):
        self.assert_refused(403, [f"Authorization: Bearer {self.p}"], f"/{self.p}")

    def test_plain_http(self):
        self.assert_refused(403, [f"A: {self.p}"], label="plain", code="placeholder_without_tls")
        self.assert_refused(403, [], f"/?{self.p}", label="plain")
        r = self.h.get("plain", "/ok", ["A: b"])
        self.assertEqual(r.status, 200)
        self.assertIn(b"GET /ok HTTP/1.1\r\n", self.plain.recorded)
        self.assertEqual(self.origin.recorded, b"")

    def test_wrong_host(self):
        for host in (OTHER, "api.test.evil.test", "xapi.test", NAME + ".x"):
            self.assert_refused(421, host=host)
        for host in (NAME + ":44x", NAME + ":443443", "u@" + NAME, NAME + "/", NAME + "%00"):
            self.assert_refused(400, host=host)
        self.assert_refused(421, target=f"https://{OTHER}/", host=OTHER)
        self.assert_refused(400, target=f"https://{OTHER}/")

    def test_method_connect(self):
        self.assert_refused(403, target=f"{NAME}:443", method="CONNECT")

    def test_smuggling(self):
        h = f"Host: {NAME}\r\n"
        heads = {
            "CL and TE": f"POST / HTTP/1.1\r\n{h}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "two CL": f"POST / HTTP/1.1\r\n{h}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            "negative CL": f"POST / HTTP/1.1\r\n{h}Content-Length: -1\r\n\r\n",
            "plus CL": f"POST / HTTP/1.1\r\n{h}Content-Length: +5\r\n\r\nabcde",
            "list CL": f"POST / HTTP/1.1\r\n{h}Content-Length: 5,5\r\n\r\nabcde",
            "hex CL": f"POST / HTTP/1.1\r\n{h}Content-Length: 0x5\r\n\r\nabcde",
            "TE identity": f"POST / HTTP/1.1\r\n{h}Transfer-Encoding: identity\r\n\r\n",
            "TE twice": f"POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "TE odd": f"POST / HTTP/1.1\r\n{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "bare LF": f"GET / HTTP/1.1\n{h}\n",
            "bare CR": f"GET / HTTP/1.1\r\n{h}A: b\rC: d\r\n\r\n",
            "folding": f"GET / HTTP/1.1\r\n{h}A: b\r\n c\r\n\r\n",
            "space before colon": f"GET / HTTP/1.1\r\n{h}A : b\r\n\r\n",
            "NUL": f"GET / HTTP/1.1\r\n{h}A: b\0c\r\n\r\n",
            "tab in name": f"GET / HTTP/1.1\r\n{h}A\tb: c\r\n\r\n",
            "two hosts": f"GET / HTTP/1.1\r\n{h}{h}\r\n",
            "empty host": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "no host": "GET / HTTP/1.1\r\n\r\n",
            "HTTP/0.9": "GET /\r\n\r\n",
        }
        for label, text in heads.items():
            with self.subTest(label):
                c = self.h.connect("api")
                c.send(text)
                r = Response(c)
                self.assertIn(r.status, (400, 501, 505), label)
                self.assertEqual(c.to_end(), b"")
                c.close()
                self.assertEqual(self.origin.recorded, b"", label)

    def test_broken_chunks(self):
        for chunk in ("0x5\r\nabcde\r\n", "zz\r\n", "1" * 17 + "\r\n", "5\r\nabcdeXX", "5 \r\nabcde\r\n"):
            with self.subTest(chunk):
                c = self.h.connect("api")
                c.send(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")
                self.assertEqual(Response(c).status, 400)
                c.close()
                self.assertNotIn(b"0\r\n\r\n", self.origin.recorded)

    def test_too_large(self):
        self.assert_refused(431, ["A: " + "x" * 70000])
        self.assert_refused(431, [f"A{i}: b" for i in range(101)])
        # 1600 placeholders of a value that would make megabytes of them.
        r = self.h.get("api", fields=[f"A: {self.p * 1000}"])
        self.assertEqual(r.status, 200)

    def test_audit_gone(self):
        h = Harness(PROGRAM, self.folder.name + "/root.pem",
                    {"KEY": {"hosts": [NAME], "value": VALUE_1}}, {"api": (NAME, self.origin.port, False)})
        c = h.connect("api")
        self.assertEqual(c.request().status, 200)
        h.process.stdin.write(b"f")
        h.process.stdin.flush()
        c.close()
        self.origin.recorded = b""
        with self.assertRaises((OSError, EOFError)):
            h.get("api", fields=["A: " + h.placeholders["KEY"]])
        self.assertEqual(self.origin.recorded, b"")
        h.stop()


class Hardened(Swapping):
    """All of it once more behind the filter."""

    @classmethod
    def environment(cls):
        return {"HARNESS_HARDEN": "1", "ASAN_OPTIONS": "detect_leaks=0"}


if __name__ == "__main__":
    unittest.main(verbosity=1)
