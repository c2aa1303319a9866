# SPDX-License-Identifier: Apache-2.0
"""Bodies both ways: framing, back-pressure, early ends, upgrades, and the filter on responses."""

import contextlib
import gzip
import hashlib
import os
import resource
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import unittest
import zlib

from bench import NAME, VALUE_1, VALUE_2, Authority, Harness, Origin, Response

PROGRAM = sys.argv.pop(1)


class Bodies(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.authority = Authority(self.folder.name)
        self.certificate = self.authority.leaf("api", [NAME])

    def start(self, serve, value=VALUE_1, plain=False):
        self.origin = Origin(serve, None if plain else self.certificate)
        self.addCleanup(self.origin.close)
        self.h = Harness(PROGRAM, self.folder.name + "/root.pem",
                         {"KEY": {"hosts": [NAME], "value": value}},
                         {"api": (NAME, self.origin.port, plain)})
        self.addCleanup(self.finish)
        self.value = value
        self.p = self.h.placeholders["KEY"]
        return self.h.connect("api")

    def finish(self):
        seen = self.h.seen
        deadline = time.monotonic() + 8
        while self.h.connections() > 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.h.connections(), 0, "a connection was left over")
        self.assertEqual(self.h.stop(), 0)
        self.assertNotIn(self.value.encode(), seen)

    # --- requests ---

    def test_length_and_chunked_keep_their_framing(self):
        def serve(c):
            while True:
                _, fields = c.head()
                body = c.body(fields)
                how = "chunked" if "transfer-encoding" in fields else "length"
                out = f"{how} {hashlib.sha256(body).hexdigest()}".encode()
                c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(out) + out)
        c = self.start(serve)
        body = os.urandom(300000)
        digest = hashlib.sha256(body).hexdigest().encode()
        self.assertEqual(c.request("/", method="PUT", body=body).body, b"length " + digest)
        c.send(f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 7001):
            piece = body[i:i + 7001]
            c.send(b"%x;ext=1\r\n" % len(piece) + piece + b"\r\n")
        c.send(b"0\r\nTrailer-Field: x\r\nHost: other.test\r\n\r\n")
        self.assertEqual(Response(c).body, b"chunked " + digest)
        self.assertTrue(self.origin.recorded.endswith(b"\r\n0\r\nTrailer-Field: x\r\n\r\n"))
        self.assertNotIn(b"ext=1", self.origin.recorded)
        c.close()

    def test_placeholder_in_a_trailer_is_misuse(self):
        def serve(c):
            _, fields = c.head()
            with contextlib.suppress(EOFError, OSError):
                c.body(fields)
        self.start(serve).close()
        for line in (f"X-Key: {self.p}", f"{self.p}: x"):
            c = self.h.connect("api")
            c.send(f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n"
                   f"2\r\nab\r\n0\r\n{line}\r\n\r\n")
            r = Response(c)
            self.assertEqual(r.status, 403)
            self.assertIn(b'"where":"trailer"', r.body.replace(b" ", b""))
            self.assertIsNotNone(self.h.wait_event(ev="misuse", secret="KEY", where="trailer"))
            c.close()
            self.assertNotIn(b"0\r\n", self.origin.recorded.partition(b"ab")[2])
            self.assertNotIn(self.p.encode(), self.origin.recorded)

    def test_placeholder_in_a_body_passes_and_is_told_once(self):
        def serve(c):
            while True:
                _, fields = c.head()
                c.body(fields)
                c.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        c = self.start(serve)
        c.send(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {len(self.p) + 2}\r\n\r\n")
        for byte in f"x{self.p}y".encode():  # a cut at every place
            c.send(bytes([byte]))
        self.assertEqual(Response(c).status, 204)
        self.assertEqual(c.request(method="POST", body=self.p.encode()).status, 204)
        self.assertEqual(self.origin.recorded.count(self.p.encode()), 2)
        self.h.wait_event(ev="request")
        time.sleep(0.1)
        told = [e for e in self.h.events if e["ev"] == "placeholder_seen"]
        self.assertEqual([(e["secret"], e["where"]) for e in told], [("KEY", "body")])
        c.close()

    def test_expect_continue(self):
        def serve(c):
            _, fields = c.head()
            self.assertEqual(fields["expect"], ["100-continue"])
            c.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = c.body(fields)
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        c = self.start(serve)
        c.send(f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(Response(c).status, 100)
        c.send(b"hello")
        self.assertEqual(Response(c).body, b"hello")
        c.close()

    def test_early_response(self):
        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
            time.sleep(0.2)
        c = self.start(serve)
        c.send(f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5000000\r\n\r\nabc")
        r = Response(c)
        self.assertEqual((r.status, r.body, r.fields["connection"]), (401, b"no", ["close"]))
        self.assertEqual(c.to_end(), b"")
        c.close()
        self.assertEqual(self.origin.connections, 1)

    def test_client_gives_up(self):
        ended = threading.Event()

        def serve(c):
            c.head()
            try:
                c.to_end()
            finally:
                ended.set()
        c = self.start(serve)
        c.send(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        time.sleep(0.1)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
        self.assertTrue(ended.wait(5), "the host was not told")

    def test_cut_body_does_not_look_whole(self):
        def serve(c):
            c.head()
            try:
                c.chunks()
                whole.append(True)
            except (EOFError, ssl.SSLError, OSError):
                whole.append(False)
            done.set()
        whole = []
        done = threading.Event()
        c = self.start(serve)
        c.send(f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        time.sleep(0.1)
        c.close()
        self.assertTrue(done.wait(5))
        self.assertEqual(whole, [False])

    def test_host_closes_between_requests(self):
        def serve(c):
            _, fields = c.head()
            c.body(fields)
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        c = self.start(serve)
        for i in range(3):
            self.assertEqual(c.request(fields=[f"A: {self.p}"]).body, b"ok")
            time.sleep(0.1)
        self.assertEqual(self.origin.connections, 3)
        c.close()

    def test_never_sent_twice(self):
        def serve(c):
            c.head()  # and goes away without an answer
        c = self.start(serve)
        r = c.request("/", method="POST", body=b"once")
        self.assertEqual((r.status, r.json()["code"]), (502, "UPSTREAM_FAILED"))
        self.assertEqual(self.origin.connections, 1)
        c.close()

    def test_slow_host_stops_the_client(self):
        go = threading.Event()

        def serve(c):
            _, fields = c.head()
            go.wait(10)
            got = hashlib.sha256(c.body(fields)).hexdigest().encode()
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got) + got)
        c = self.start(serve)
        size = 64 * 1024 * 1024
        block = os.urandom(1024 * 1024)
        sent = [0]

        def send():
            c.send(f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {size}\r\n\r\n")
            for _ in range(size // len(block)):
                c.send(block)
                sent[0] += len(block)
        t = threading.Thread(target=send)
        t.start()
        time.sleep(1)
        self.assertLess(sent[0], size // 2)
        go.set()
        t.join()
        digest = hashlib.sha256(block * (size // len(block))).hexdigest().encode()
        self.assertEqual(Response(c).body, digest)
        self.assertLess(self.memory(), 60)
        c.close()

    def memory(self):
        """Peak MiB of the harness."""
        with open(f"/proc/{self.h.process.pid}/status") as f:
            return next(int(line.split()[1]) // 1024 for line in f if line.startswith("VmHWM"))

    def test_slow_client_stops_the_host(self):
        sent = [0]
        size = 64 * 1024 * 1024

        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // 65536):
                c.send(b"x" * 65536)
                sent[0] += 65536
        c = self.start(serve)
        c.send(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        time.sleep(1)
        self.assertLess(sent[0], size // 2)
        r = Response(c)
        self.assertEqual(r.body, b"x" * size)
        self.assertLess(self.memory(), 60)
        c.close()

    # --- responses ---

    def test_interim_and_bodiless(self):
        def serve(c):
            for path in ("/hints", "/204", "/304", "/head", "/last"):
                line, _ = c.head()
                self.assertIn(path, line)
                if path == "/hints":
                    c.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                status = {"/204": "204 None", "/304": "304 Same"}.get(path, "200 OK")
                length = "" if path == "/204" else "Content-Length: 5\r\n"
                body = "" if path in ("/204", "/304", "/head") else "hello"
                c.send(f"HTTP/1.1 {status}\r\n{length}\r\n{body}")
        c = self.start(serve)
        c.send(f"GET /hints HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        r = Response(c)
        self.assertEqual((r.status, r.fields["link"]), (103, ["</a>"]))
        self.assertEqual(Response(c).body, b"hello")
        self.assertEqual(c.request("/204").status, 204)
        self.assertEqual(c.request("/304").fields["content-length"], ["5"])
        self.assertEqual(c.request("/head", method="HEAD").fields["content-length"], ["5"])
        self.assertEqual(c.request("/last").body, b"hello")
        c.close()

    def test_until_close(self):
        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
            c.send(b"lo")
        c = self.start(serve)
        r = c.request()
        self.assertEqual((r.body, r.fields["transfer-encoding"]), (b"hello", ["chunked"]))
        self.assertEqual(c.request().body, b"hello")
        c.close()

    def test_cut_response_does_not_look_whole(self):
        def serve(c):
            line, _ = c.head()
            c.send(b"HTTP/1.1 200 OK\r\n" + (b"" if "/close" in line else b"Content-Length: 100\r\n")
                   + b"\r\nhello")
            time.sleep(0.1)
            if "/close" in line:  # without close_notify
                os.close(os.dup(c.s.fileno()))
                socket.socket(fileno=c.s.detach()).close()
        c = self.start(serve)
        with self.assertRaises((EOFError, OSError)):
            c.request("/length")
        c.close()
        c = self.h.connect("api")
        with self.assertRaises((EOFError, OSError)):
            c.request("/close")
        c.close()

    def test_response_smuggling(self):
        answers = {
            "two": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "flood": b"HTTP/1.1 102 P\r\n\r\n" * 40,
            "switch": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "bad": b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        }

        def serve(c):
            while True:
                line, _ = c.head()
                c.send(answers[line.split(" ")[1][1:]])
        c = self.start(serve)
        self.assertEqual(c.request("/two").body, b"ok")
        self.assertEqual(c.request("/two").body, b"ok")
        self.assertNotIn(b"evil", self.h.seen)
        c.close()
        for path in ("/both", "/switch", "/bad"):
            c = self.h.connect("api")
            self.assertEqual(c.request(path).status, 502, path)
            c.close()
        c = self.h.connect("api")
        c.send(f"GET /flood HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        while (r := Response(c)).status == 102:
            pass
        self.assertEqual(r.status, 502)
        c.close()

    def test_coded_response_is_refused(self):
        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx")
        c = self.start(serve)
        self.assertEqual(c.request().status, 502)
        c.close()

    def test_codings_that_are_not_taken_off(self):
        codings = ["br", "zstd", "compress", "gzip, br", "gzip, gzip", "gzip\r\nContent-Encoding: gzip", ""]

        def serve(c):
            line, _ = c.head()
            coding = codings[int(line.split(" ")[1][1:])]
            c.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: 2\r\n\r\nxx")
        self.start(serve).close()
        for i, coding in enumerate(codings):
            c = self.h.connect("api")
            self.assertEqual(c.request(f"/{i}").status, 502, coding)
            c.close()

    def test_a_coded_response_is_decoded_and_redacted(self):
        def serve(c):
            while True:
                line, fields = c.head()
                coding, piece = line.split(" ")[1][1:].split("/")
                text = b"<" + fields["a"][0].encode() + b">" + b"x" * 100000
                packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "bare": -15}[coding])
                coded = packer.compress(text) + packer.flush()
                named = "deflate" if coding == "bare" else coding
                c.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: {named}\r\nETag: \"a\"\r\nContent-MD5: x\r\n"
                       f"Digest: y\r\nRepr-Digest: z\r\nContent-Length: {len(coded)}\r\n\r\n")
                for i in range(0, len(coded), int(piece)):
                    c.send(coded[i:i + int(piece)])
        c = self.start(serve)
        for coding in ("gzip", "deflate", "bare"):
            for piece in (1, 50, 1000000):
                r = c.request(f"/{coding}/{piece}", [f"A: {self.p}"])
                self.assertEqual(r.status, 200)
                # One byte at a time what cannot be known yet goes out: less than 16 characters.
                self.assertTrue(r.body.endswith(self.p[16:].encode() + b">" + b"x" * 100000))
                self.assertEqual(len(r.body), 100002 + len(self.p))
                self.assertEqual(r.fields["etag"], ['W/"a"'])
                for name in ("content-encoding", "content-length", "content-md5", "digest", "repr-digest"):
                    self.assertNotIn(name, r.fields)
        self.assertIsNotNone(self.h.wait_event(ev="redact", secret="KEY", count="1"))
        c.close()

    def test_a_bomb_is_refused(self):
        bomb = zlib.compressobj(9, wbits=31)
        bomb = bomb.compress(bytes(20 << 20)) + bomb.flush()

        def serve(c):
            while True:
                line, _ = c.head()
                c.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n")
                if line.startswith("GET /at-once"):
                    c.send(bomb)
                else:
                    for i in range(0, len(bomb), 100):
                        c.send(bomb[i:i + 100])
                        time.sleep(0.0005)
        c = self.start(serve)
        r = c.request("/at-once")
        self.assertEqual(r.status, 502)
        self.assertIn(b"grows too much", r.body)
        c.close()
        c = self.h.connect("api")
        c.send(f"GET /slowly HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        out = c.to_end_or_cut()
        self.assertLess(len(out), 4 << 20)
        self.assertFalse(out.endswith(b"\r\n0\r\n\r\n"))
        c.close()

    def test_a_coded_response_that_ends_early_is_not_taken_for_whole(self):
        coded = gzip.compress(os.urandom(1000))

        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
                   % (len(coded) - 9) + coded[:-9])
        c = self.start(serve)
        self.assertEqual(c.request().status, 502)
        c.close()

    def test_trailers(self):
        def serve(c):
            while True:
                line, fields = c.head()
                secret = fields["a"][0]
                c.send(f"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                       f"X-Sum: {secret}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n"
                       f"Content-MD5: x\r\n{secret}: 1\r\ngrpc-status: 0\r\n\r\n")
        c = self.start(serve)
        for _ in range(2):
            r = c.request("/", [f"A: {self.p}"])
            self.assertEqual((r.body, r.fields["trailer"]), (b"ok", ["X-Sum"]))
            self.assertEqual(c.trailers, [b"X-Sum: " + self.p.encode(), self.p.encode() + b": 1", b"grpc-status: 0"])
        self.assertIsNotNone(self.h.wait_event(ev="redact", secret="KEY", count="2"))
        c.close()

    # --- the filter ---

    def redaction(self, value):
        def serve(c):
            while True:
                line, fields = c.head()
                secret = fields["a"][0].encode()
                how = line.split(" ")[1]
                text = b"<" + secret + b"|" + secret + secret + b"|" + secret[:-1] + b">"
                if how == "/length":
                    c.send(b"HTTP/1.1 200 " + secret + b"\r\nSet-Cookie: " + secret +
                           b"\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                    continue
                c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                cut = int(how[1:])
                for piece in ([text[:cut], text[cut:]] if cut > 0
                              else [text[i:i + 1] for i in range(len(text))]):
                    c.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
                c.send(b"0\r\n\r\n")
        c = self.start(serve, value)
        p = self.p.encode()
        part = value[:-1].encode()
        wanted = b"<" + p + b"|" + p + p + b"|" + part + b">"
        r = c.request("/length", [f"A: {self.p}"])
        self.assertEqual((r.body, r.fields["set-cookie"]), (wanted, [self.p]))
        self.assertIn(self.p, r.line)
        for cut in range(1, len(value) + 5):
            r = c.request(f"/{cut}", [f"A: {self.p}"])
            self.assertNotIn(value.encode(), r.body, cut)
            if len(value) == len(self.p):
                self.assertEqual(len(r.body), len(wanted))
            # What went out before it could be known stays; the rest of the value is replaced.
            if not (0 < cut - 1 < 16 or 0 < cut - len(value) - 2 < 16):
                self.assertEqual(r.body, wanted, cut)
        r = c.request("/0", [f"A: {self.p}"])
        self.assertNotIn(value.encode(), r.body)
        c.close()

    def test_redaction_of_equal_length(self):
        self.redaction(VALUE_1)

    def test_redaction_of_another_length(self):
        self.redaction(VALUE_2)

    def test_no_delay_below_sixteen(self):
        """A beginning shorter than 16 characters goes out at once: holding it back would confirm guesses."""
        step = threading.Semaphore(0)

        def serve(c):
            while True:
                line, _ = c.head()
                n = int(line.split(" ")[1][1:])
                c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                c.send(chunk(n))
                step.acquire(timeout=5)
                c.send(b"1\r\n.\r\n0\r\n\r\n")

        def chunk(n):
            return b"%x\r\n%s\r\n" % (n, VALUE_1[:n].encode())

        c = self.start(serve)
        for n in range(1, 16):
            c.send(f"GET /{n} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
            c.head()
            self.assertEqual(c.take(len(chunk(n))), chunk(n))
            step.release()
            c.take(len("1\r\n.\r\n0\r\n\r\n"))
        c.send(f"GET /16 HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        c.head()
        c.s.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            c.take(1)
        step.release()
        c.s.settimeout(5)
        self.assertEqual(c.take(4 + 17), b"11\r\n" + VALUE_1[:16].encode() + b".")
        c.close()

    def test_events_are_not_delayed(self):
        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(5):
                text = b"data: %f\n\n" % time.monotonic()
                c.send(b"%x\r\n" % len(text) + text + b"\r\n")
                time.sleep(0.1)
            c.send(b"0\r\n\r\n")
        c = self.start(serve)
        c.send(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        c.head()
        for _ in range(5):
            size = int(c.until(b"\r\n"), 16)
            sent = float(c.take(size)[6:])
            self.assertLess(time.monotonic() - sent, 0.05)
            c.take(2)
        c.close()

    # --- tunnels ---

    def test_a_slow_reader_gets_the_end_as_well(self):
        """The last bytes wait in the proxy when the host is done; their time is the reader's."""
        sizes = [1 << 20, 1500 << 10, 2 << 20, 3 << 20, 4 << 20]

        def serve(c):
            line, _ = c.head()
            size = int(line.split(" ")[1][1:])
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            c.to_end()
        first = self.start(serve)
        clients = [first] + [self.h.connect("api") for _ in sizes[1:]]
        for c, size in zip(clients, sizes):
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.send(f"GET /{size} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")
        time.sleep(4.5)
        for c, size in zip(clients, sizes):
            self.assertEqual(len(Response(c).body), size)
            c.close()

    def test_short_value_in_a_websocket(self):
        """Frames cannot grow, so what replaces a value there is cut to its length."""
        frame = b"\x81" + bytes([len(VALUE_2) + 2]) + b"[" + VALUE_2.encode() + b"]"

        def serve(c):
            c.head()
            c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   b"\r\n" + frame)
            for byte in frame:
                c.send(bytes([byte]))
            c.to_end()
        c = self.start(serve, value=VALUE_2)
        c.send(f"GET /ws HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               f"X-Key: {self.p}\r\n\r\n")
        self.assertEqual(Response(c).status, 101)
        got = c.take(2 * len(frame))
        self.assertNotIn(VALUE_2.encode(), got)
        self.assertEqual(got[:len(frame)], frame[:3] + self.p[:len(VALUE_2)].encode() + b"]")
        self.assertEqual((got[len(frame):][:3], got[-1:]), (frame[:3], b"]"))
        c.close()

    def test_websocket(self):
        def serve(c):
            _, fields = c.head()
            self.assertEqual(fields["sec-websocket-protocol"], [VALUE_1])
            self.assertNotIn("sec-websocket-extensions", fields)
            c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   b"Sec-WebSocket-Protocol: " + VALUE_1.encode() + b"\r\n\r\n\x81\x05first")
            data = c.take(5)
            c.send(b"\x82\x05" + data[::-1] + bytes([0x81, len(VALUE_1)]) + VALUE_1.encode())
            c.to_end()
        c = self.start(serve)
        c.send(f"GET /ws HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               f"Sec-WebSocket-Protocol: {self.p}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        r = Response(c)
        self.assertEqual((r.status, r.fields["sec-websocket-protocol"]), (101, [self.p]))
        self.assertEqual(c.take(7), b"\x81\x05first")
        c.send(b"\x00\x01\x02\r\n")
        self.assertEqual(c.take(7), b"\x82\x05\n\r\x02\x01\x00")
        self.assertEqual(c.take(2 + len(self.p)), bytes([0x81, len(self.p)]) + self.p.encode())
        c.close()

    def test_plain_streams(self):
        def serve(c):
            while True:
                _, fields = c.head()
                body = c.body(fields)
                c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        c = self.start(serve, plain=True)
        body = os.urandom(200000)
        self.assertEqual(c.request(method="POST", body=body).body, body)
        self.assertEqual(c.request(method="POST", body=body).body, body)
        c.close()

    def test_half_closed_client(self):
        def serve(c):
            c.head()
            time.sleep(0.3)
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        c = self.start(serve, plain=True)
        c.send(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
        c.s.shutdown(socket.SHUT_WR)
        self.assertEqual(Response(c).body, b"hello")
        self.assertEqual(c.to_end(), b"")
        c.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main(verbosity=1)
