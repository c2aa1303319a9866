# SPDX-License-Identifier: Apache-2.0
"""The numbered cases over HTTP/2: what a host answers comes back without values, as it was sent otherwise."""

import json

from egress_bench import S1
from harness.instance import Instance
from harness.origin_h2 import H2Origin
from harness.rpc import Sandbox
from http2_bench import curl, equip, talk, without_value


def test_case_64_echo_in_fields_body_and_trailer(origin, box, p1):
    out = curl(box, "-v", "https://api.test/fields", "-H", f"x-key: {p1}")
    assert out.code == 0, out.stderr
    assert out.text == f"body {p1}"
    seen = out.stdout + out.stderr
    without_value(seen)
    for line in (f"link: </{p1}>", f"x-echo: {p1}", f"set-cookie: k={p1}", f"x-trailer: {p1}"):
        assert line.encode() in seen, line


def test_case_65_cut_at_every_byte_over_data_frames(origin, box, p1):
    sizes = (1, 2, 3, 7, 16, len(S1) - 1, len(S1), len(S1) + 1)
    out = talk(box, """
c = Client()
for n, size in enumerate(json.loads(sys.argv[1])):
    s = c.get(2 * n + 1, "/pieces?size=%d" % size, ("x-key", key()))
    out[size] = s.body.decode()
""", json.dumps(sizes))
    for size in sizes:
        text = out[str(size)]
        assert len(text) == len("before  after") + len(p1), size
        assert S1[20:] not in text, size


def test_case_66_68_narrowed(origin, box, p1):
    out = curl(box, "--compressed", "https://api.test/", "-H", "Range: bytes=0-0", "-H", f"x-key: {p1}")
    assert out.code == 0
    assert origin.last().header("accept-encoding") == "identity"
    assert origin.last().header("range") is None


def test_case_26_early_answers_and_resets(origin, box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/early", "POST"), end=False)
c.data(1, b"x" * 1000)
c.until(lambda: c.streams[1].reset is not None)
out["early"] = c.streams[1].json()
out["refused"] = c.get(3, "/reset?code=7").json()
out["calm"] = c.get(5, "/reset?code=11").json()
c.head(7, c.fields("/hang", "POST"), end=False)
c.data(7, b"half")
time.sleep(0.2)
c.send(frame(RST, 0, 7, struct.pack(">I", 8)))
out["after"] = c.get(9, "/").status
""")
    assert out["early"]["status"] == "401" and out["early"]["body"] == "early"
    assert out["early"]["reset"] == 0
    assert out["refused"]["reset"] == 7 and out["calm"]["reset"] == 11
    assert out["after"] == "200"
    hung = next(r for r in origin.requests if r.path == "/hang")
    assert hung.reset == 8 and not hung.ended
    assert [r.path for r in origin.requests].count("/reset?code=7") == 1  # never again


def test_goaway_of_the_host_reaches_the_client(origin, box):
    out = talk(box, """
c = Client()
c.get(1, "/")
c.head(3, c.fields("/goaway"))
c.until(lambda: c.goaway is not None)
out = {"goaway": c.goaway, "last": c.goaway_last, "stream": c.streams[3].json()}
d = Client()
out["new"] = d.get(1, "/").status
""")
    assert out["goaway"] == 0 and out["last"] == 3 and out["new"] == "200"
    assert out["stream"]["status"] == "200"


def test_bodies_both_ways_keep_their_bytes(origin, box):
    """More than any window, in both directions at once; and a slow reader stops the sender."""
    out = talk(box, """
import hashlib
c = Client(window=100000)
c.head(1, c.fields("/stream", "POST"), end=False)
body = os.urandom(3 << 20)
sent = 0
room = lambda: min(65535 + c.windows.get(0, 0), 262144 + c.windows.get(1, 0)) - sent
while sent < len(body):
    if not c.until(lambda: room() > 0, 10): break
    part = body[sent:sent + min(room(), 16384)]
    c.data(1, part); sent += len(part)
c.data(1, b"", end=True)
s = c.wait(1, timeout=20)
out = {"same": s.body == body, "sent": sent, "got": len(s.body), "ended": s.ended}
""")
    assert out["same"] and out["ended"], out


def test_a_host_that_cannot_be_verified_is_told_of_over_h2(authority, box, tmp_path, leaks_before):
    other = H2Origin(authority.issue("wrong.test"))
    try:
        with Instance(tmp_path / "state", f"--egress-ca={authority.cert}",
                      f"--egress-host=api.test={other.address}") as instance, \
                Sandbox(instance, secrets={"S1": {"hosts": ["api.test"], "value": S1}}) as sandbox:
            equip(sandbox)
            out = talk(sandbox, """
c = Client()
s = c.get(1, "/", ("x-key", key()))
out = s.json()
""")
        assert out["status"] == "502"
        assert json.loads(out["body"])["code"] == "UPSTREAM_TLS_ERROR"
        assert not other.requests
    finally:
        other.close()


def test_audit_tells_of_each_request(origin, box, instance, p1):
    curl(box, "https://api.test/a/b?q=1", "-H", f"x-key: {p1}")
    request = instance.audit.wait(ev="request", path="/a/b")
    assert request["status"] in ("200", 200) and request["method"] == "GET"
    assert 100 < int(request["bytes_up"]) < 1000 and 10 < int(request["bytes_down"]) < 1000
    assert 0 <= int(request["ms"]) < 5000
    assert instance.audit.wait(ev="swap", secret="S1", where="header")
    assert instance.audit.wait(ev="intercept", alpn="h2")


def test_audit_counts_bytes_and_time(origin, box, instance):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/stream?counted", "POST"), end=False)
c.data(1, b"u" * 5000)
time.sleep(0.4)  # by another clock than the worker's
c.data(1, b"u" * 3000, end=True)
c.wait(1)
out["big"] = len(c.get(3, "/big?n=40000").body)
out["refused"] = c.get(5, "/no", ("x-key", key("S2"))).status
c.get(7, "/coded?lines=1000", ("x-key", key()))
c.head(9, c.fields("/sse?n=100&ms=20"))
c.until(lambda: len(c.streams[9].body) > 60)
c.send(frame(RST, 0, 9, struct.pack(">I", 8)))
c.get(11, "/after")
""")
    assert out["big"] == 40000 and out["refused"] == "403"

    def told(**which) -> tuple[int, int, int]:
        event = instance.audit.wait(ev="request", **which)
        return int(event["bytes_up"]), int(event["bytes_down"]), int(event["ms"])

    up, down, ms = told(path="/stream")
    assert 8000 < up < 8500 and 8000 < down < 8500 and 390 <= ms < 5000
    up, down, ms = told(path="/big")
    assert up < 500 and 40000 < down < 40500
    up, down, ms = told(reason="SECRET_MISUSE")
    assert up == 0 and 50 < down < 1000
    up, down, ms = told(path="/coded")
    assert 310000 < down < 311000  # what went on, not what came
    up, down, ms = told(path="/sse", reason="reset")
    assert 60 < down < 2000 and ms >= 40


def test_methods_and_digests_as_for_http1(origin, instance):
    """A secret for GET alone goes into no POST; of a filtered body no digest is passed on."""
    secrets = {"K": {"hosts": ["api.test"], "value": S1, "methods": ["GET"]}}
    with Sandbox(instance, allow_net=["api.test"], secrets=secrets) as sandbox:
        key = sandbox.check_sh("printenv K").rstrip("\n")
        out = curl(sandbox, "https://api.test/", "-H", f"x-key: {key}", "-d", "a=1")
        assert json.loads(out.text)["code"] == "SECRET_MISUSE" and not origin.requests
        out = curl(sandbox, "-i", "https://api.test/digest", "-H", f"x-key: {key}")
        assert origin.last().header("x-key") == S1
        assert b"200" in out.stdout and b"digest" not in out.stdout.lower()
        without_value(out.stdout)
        assert instance.audit.wait(ev="redact", secret="K")
