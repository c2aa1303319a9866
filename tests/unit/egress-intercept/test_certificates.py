# SPDX-License-Identifier: Apache-2.0
"""Both sides' certificates: a host that does not prove its name gets no byte; our authority is narrow."""

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest
import warnings

from bench import NAME, VALUE_1, Authority, Harness, Origin, Response

PROGRAM = sys.argv.pop(1)
WILD = "*.wild.test"


def answer(c):
    while True:
        _, fields = c.head()
        c.body(fields)
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Upstream(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.good = Authority(cls.folder.name)
        cls.bad = Authority(cls.folder.name, "bad")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def harness(self, port, roots="root.pem"):
        h = Harness(PROGRAM, os.path.join(self.folder.name, roots),
                    {"KEY": {"hosts": [NAME], "value": VALUE_1}}, {"api": (NAME, port, False)})
        self.addCleanup(h.stop)
        return h

    def refused(self, certificate, words):
        origin = Origin(answer, certificate)
        self.addCleanup(origin.close)
        h = self.harness(origin.port)
        r = h.get("api", "/", ["Authorization: Bearer " + h.placeholders["KEY"]])
        self.assertEqual(r.status, 502)
        error = r.json()
        self.assertEqual(error["code"], "UPSTREAM_TLS_ERROR")
        self.assertIn(words, error["message"])
        self.assertEqual(origin.recorded, b"")
        event = h.wait_event(ev="upstream_tls_error")
        self.assertIn(words, event["reason"])

    def test_expired(self):
        self.refused(self.good.leaf("expired", [NAME], expired=True), "expired")

    def test_wrong_name(self):
        self.refused(self.good.leaf("wrong", ["evil.test", "*." + NAME]), "hostname mismatch")

    def test_partial_wildcard(self):
        self.refused(self.good.leaf("partial", ["a*.test"]), "hostname mismatch")

    def test_unknown_authority(self):
        self.refused(self.bad.leaf("other", [NAME]), "unable to get local issuer")

    def test_self_signed(self):
        self.refused((self.bad.folder + "/bad.pem", self.bad.folder + "/bad.key"), "self-signed")

    def test_old_version(self):
        certificate = self.good.leaf("old", [NAME])
        origin = Origin(answer, certificate)
        self.addCleanup(origin.close)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            origin.context.minimum_version = ssl.TLSVersion.TLSv1
            origin.context.maximum_version = ssl.TLSVersion.TLSv1_1
        origin.context.set_ciphers("ALL:@SECLEVEL=0")
        h = self.harness(origin.port)
        self.assertEqual(h.get("api").status, 502)
        self.assertEqual(origin.recorded, b"")

    def test_unreachable(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        h = self.harness(port)
        r = h.get("api")
        self.assertEqual((r.status, r.json()["code"]), (502, "UPSTREAM_UNREACHABLE"))

    def test_no_tls_there(self):
        origin = Origin(lambda c: c.send(b"HTTP/1.1 200 OK\r\n\r\n"))
        self.addCleanup(origin.close)
        self.assertEqual(self.harness(origin.port).get("api").status, 502)

    def test_bad_block_among_the_roots(self):
        with open(self.good.folder + "/root.pem") as f:
            root = f.read()
        with open(self.good.folder + "/blocks.pem", "w") as f:
            f.write("-----BEGIN CERTIFICATE-----\nMIIBgarbage!\n-----END CERTIFICATE-----\n"
                    "-----BEGIN CERTIFICATE-----\nMIIBcut\n" + root)
        origin = Origin(answer, self.good.leaf("mixed", [NAME]))
        self.addCleanup(origin.close)
        self.assertEqual(self.harness(origin.port, "blocks.pem").get("api").status, 200)


class Ours(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        authority = Authority(cls.folder.name)
        cls.long = "l" * 60 + ".wild.test"
        names = [NAME, cls.long, "evil.test", *[f"n{i}.wild.test" for i in range(30)]]
        cls.origin = Origin(answer, authority.leaf("all", names))
        targets = {name: (name, cls.origin.port, False) for name in names[:30]}
        cls.h = Harness(PROGRAM, cls.folder.name + "/root.pem",
                        {"KEY": {"hosts": [NAME, WILD, NAME + ":8443"], "value": VALUE_1}}, targets)

    @classmethod
    def tearDownClass(cls):
        cls.h.stop()
        cls.origin.close()
        cls.folder.cleanup()

    def text(self, pem):
        return subprocess.run(["openssl", "x509", "-noout", "-text", "-nameopt", "oneline,show_type"],
                              input=pem.encode(), capture_output=True, check=True).stdout.decode()

    def test_authority(self):
        text = self.text(self.h.ca)
        self.assertIn("Subject: O = UTF8STRING:Casemate, CN = UTF8STRING:Casemate egress CA\n", text)
        self.assertIn("CA:TRUE, pathlen:0", text)
        self.assertIn("X509v3 Key Usage: critical\n                Certificate Sign\n", text)
        self.assertIn("X509v3 Name Constraints: critical", text)
        self.assertEqual(text.count("DNS:"), 2)
        self.assertIn(f"DNS:{NAME}\n", text)
        self.assertIn("DNS:wild.test\n", text)
        self.assertIn("prime256v1", text)

    def test_leaf(self):
        c = self.h.connect(NAME)
        text = self.text(ssl.DER_cert_to_PEM_cert(c.s.getpeercert(True)))
        self.assertIn(f"CN = UTF8STRING:{NAME}\n", text)
        self.assertIn("TLS Web Server Authentication", text)
        self.assertEqual(text.count("DNS:"), 1)
        self.assertEqual(c.s.selected_alpn_protocol(), "http/1.1")
        c.close()

    def test_long_name_has_no_subject(self):
        c = self.h.connect(self.long)
        text = self.text(ssl.DER_cert_to_PEM_cert(c.s.getpeercert(True)))
        self.assertIn("Subject: \n", text)
        self.assertIn("X509v3 Subject Alternative Name: critical", text)
        self.assertEqual(c.request(host=self.long).status, 200)
        c.close()

    def test_strict_clients(self):
        context = ssl.create_default_context(cadata=self.h.ca)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        s = context.wrap_socket(self.h.raw(NAME), server_hostname=NAME)
        s.close()

    def test_constraint_holds(self):
        # Even if a leaf for another name were made, no client would take it.
        with self.assertRaises(ssl.SSLCertVerificationError) as caught:
            self.h.connect("evil.test")
        self.assertIn("permitted subtree violation", str(caught.exception))

    def test_alpn_of_others_only(self):
        with self.assertRaises(ssl.SSLError):
            self.h.connect(NAME, alpn=("spdy/3",))
        self.h.connect(NAME, alpn=()).close()

    def test_mint_rate(self):
        results = []

        def one(name):
            try:
                self.h.connect(name).close()
                results.append(True)
            except OSError:
                results.append(False)
        threads = [threading.Thread(target=one, args=(n,)) for n in self.h.names if "n" in n[:1]]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertLessEqual(results.count(True), 2 * 20)
        self.assertGreater(results.count(True), 0)
        if results.count(False) > 0:
            self.assertIsNotNone(self.h.wait_event(ev="limit"))

    def test_tickets_do_not_wander(self):
        context = ssl.create_default_context(cadata=self.h.ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        first = context.wrap_socket(self.h.raw(NAME), server_hostname=NAME)
        session = first.session
        again = context.wrap_socket(self.h.raw(NAME), server_hostname=NAME, session=session)
        self.assertTrue(again.session_reused)
        elsewhere = context.wrap_socket(self.h.raw(self.long), server_hostname=self.long, session=session)
        self.assertFalse(elsewhere.session_reused)
        for s in (first, again, elsewhere):
            s.close()


if __name__ == "__main__":
    unittest.main(verbosity=1)
