# SPDX-License-Identifier: Apache-2.0
"""A session with a host outlives its client, and is the next one's of the same sandbox, for the same name."""

import time

import pytest
from egress_bench import S1
from harness.instance import wait_until
from harness.rpc import Sandbox
from http2_bench import SECRETS, curl, equip, talk

GET = """
def get(path="/", host="api.test", *more):
    c = Client(host)
    s = c.get(1, path, *more)
    c.sock.close()
    time.sleep(0.1)
    return s.json()
"""


@pytest.fixture
def box(instance):
    """Its own, and so without sessions."""
    with Sandbox(instance, allow_net=["api.test", "two.test"], secrets=SECRETS) as made:
        equip(made)
        yield made


def test_one_after_the_other_shares_a_session(origin, box):
    out = talk(box, GET + """
out["all"] = [get("/echo?%d" % n, "api.test", ("x-key", key()))["status"] for n in range(5)]
""")
    assert out["all"] == ["200"] * 5
    assert len(origin.connections) == 1
    assert [r.header("x-key") for r in origin.requests] == [S1] * 5
    # curl offers both versions, and what the host chooses of these is not known yet.
    for _ in range(3):
        assert curl(box, "https://api.test/", "-d", "a=1").text == "ok"
    assert len(origin.connections) == 2 and origin.last().body == b"a=1"


def test_never_for_another_name_or_sandbox(origin, box, instance):
    out = talk(box, GET + 'out["all"] = [get("/", h)["status"] for h in ("api.test", "two.test", "api.test", "two.test")]')
    assert out["all"] == ["200"] * 4
    assert sorted(c.requests[0].header(":authority") for c in origin.connections) == ["api.test", "two.test"]
    with Sandbox(instance, allow_net=["api.test"], secrets={"S": {"hosts": ["api.test"], "value": S1}}) as other:
        assert curl(other, "https://api.test/").text == "ok"
    assert len(origin.connections) == 3


def test_two_at_once_have_one_each(origin, box):
    out = talk(box, """
a, b = Client(), Client()
out = {"all": [a.get(1, "/a").status, b.get(1, "/b").status, a.get(3, "/a").status]}
a.sock.close(); b.sock.close()
time.sleep(0.1)
a, b = Client(), Client()
out["all"] += [a.get(1, "/a").status, b.get(1, "/b").status]
""")
    assert out["all"] == ["200"] * 5
    assert len(origin.connections) == 2


def test_a_client_of_http1_gets_no_session(origin, box):
    assert curl(box, "https://api.test/").text == "ok"
    out = talk(box, 'out["alpn"] = Client(alpn=["http/1.1"], settings=False).alpn')
    assert out["alpn"] == "http/1.1"
    assert [c.alpn for c in origin.connections] == ["h2", "http/1.1"]


@pytest.mark.parametrize("path", ["/hang", "/sse?n=100&ms=20", "/big?n=30000000"])
def test_not_when_a_request_is_under_way(origin, box, path):
    """Nor does the next client see anything of its answer."""
    out = talk(box, GET + """
c = Client(big_window=False)
c.auto_window = False
c.head(1, c.fields(sys.argv[1]))
c.until(lambda: False, 0.3)
c.sock.close()
time.sleep(0.2)
out = get("/after")
""", path)
    assert out["status"] == "200" and out["body"] == "ok"
    assert len(origin.connections) == 2
    wait_until(lambda: origin.connections[0].closed)


def test_a_client_that_did_not_take_its_answer(origin, box):
    """The host has sent all of it, so the session is kept, with all of its window."""
    out = talk(box, GET + """
for n in range(30):
    c = Client(window=10)
    c.auto_window = False
    c.head(1, c.fields("/big?n=200000"))
    c.until(lambda: False, 0.1)
    c.sock.close()
time.sleep(0.1)
out = get("/big?n=3000000")
out["body"] = len(out["body"])
""")
    assert out["status"] == "200" and out["ended"] and out["body"] == 3000000
    assert len(origin.connections) <= 3


def test_a_ping_is_answered_meanwhile(origin, box):
    out = talk(box, GET + 'get("/later?do=ping")\ntime.sleep(0.5)\nout = get("/after")')
    assert out["status"] == "200"
    assert len(origin.connections) == 1 and origin.connections[0].pongs == 1


@pytest.mark.parametrize("what", ["goaway", "push", "junk", "close"])
def test_a_session_that_ends_meanwhile_is_replaced(origin, box, what):
    out = talk(box, GET + 'get("/later?do=" + sys.argv[1])\ntime.sleep(0.5)\nout = get("/after")', what)
    assert out["status"] == "200" and out["body"] == "ok"
    assert len(origin.connections) == 2
    wait_until(lambda: origin.connections[0].closed)


def test_goaway_while_a_client_is_there_ends_the_session(origin, box):
    out = talk(box, GET + 'out["all"] = [get("/goaway")["status"], get("/after")["status"]]')
    assert out["all"] == ["200", "200"] and len(origin.connections) == 2


def test_a_host_that_ended_when_the_request_comes(origin, box):
    """A safe request may be sent again, by the client; of any other nobody knows."""
    origin.cut_paths = ("/cut?1", "/cut?2")
    out = talk(box, GET + """
get("/first")
c = Client()
s = c.get(1, "/cut?1")
out["get"] = [s.status, s.reset, c.goaway]
c.sock.close()
get("/second")
c = Client()
c.head(1, c.fields("/cut?2", "POST"), end=False)
c.data(1, b"x", end=True)
out["post"] = c.wait(1).status
""")
    assert out["get"] == [None, 7, 0]
    assert out["post"] == "502"
    assert [r.path for r in origin.requests].count("/cut?1") == 1


def test_a_cut_is_seen_by_no_user_of_curl(origin, box):
    assert curl(box, "https://api.test/one").text == "ok"
    time.sleep(0.1)
    origin.cut_next = 1
    out = curl(box, "https://api.test/two")
    assert out.code == 0 and out.text == "ok", out.stderr
    assert [r.path for r in origin.requests] == ["/one", "/two", "/two"]


@pytest.mark.seconds(100)
def test_sessions_do_not_wait_for_ever(origin, box):
    assert curl(box, "https://api.test/").text == "ok"
    began = time.monotonic()
    wait_until(lambda: origin.connections[0].closed, 40)
    assert time.monotonic() - began > 20
    assert curl(box, "https://api.test/").text == "ok"
    assert len(origin.connections) == 2


def test_few_wait(origin, box):
    talk(box, """
clients = [Client() for _ in range(12)]
for c in clients: assert c.get(1, "/").status == "200"
for c in clients: c.sock.close()
time.sleep(0.3)
""")
    assert len(origin.connections) == 12
    wait_until(lambda: sum(not c.closed for c in origin.connections) == 4)
