# SPDX-License-Identifier: Apache-2.0
"""Cases 66 and 78 over HTTP/2: a host with secrets that sends its answer in a content coding."""

import json

import pytest
from egress_bench import S1
from http2_bench import talk


def get(box, *queries: str, before: str = "c = Client()") -> list[dict]:
    """What the sandbox gets of these answers, on one connection."""
    return talk(box, before + """
out = [c.get(2 * n + 1, "/coded?" + query, ("x-key", key())).json() for n, query in enumerate(json.loads(sys.argv[1]))]
""", json.dumps(queries))


def fields_of(answer: dict) -> dict:
    return dict(answer["heads"][0])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
def test_case_66_codings_that_are_taken_off(box, instance, p1, coding):
    named = "deflate" if coding == "bare" else coding
    whole, upper = get(box, f"as={coding}&named={named}", f"as={coding}&named={named.upper()}&trailer=1")
    for answer in (whole, upper):
        assert answer["status"] == "200" and answer["ended"] and answer["body"] == f"<{p1}>", answer
        fields = fields_of(answer)
        assert not {"content-encoding", "content-length", "digest"} & set(fields)
        assert fields["etag"] == 'W/"e"' and fields["content-type"] == "text/plain"
    assert upper["heads"][1] == [["x-trailer", p1]]
    assert instance.audit.wait(ev="redact", secret="S1")


def test_case_66_cut_over_data_frames(box, p1):
    """Stored and compressed, in frames of a few bytes."""
    sizes = (1, 2, 7, 16, len(S1))
    queries = [f"as={c}&level={n}&size={s}" for c in ("gzip", "deflate") for n in (0, 9) for s in sizes]
    for query, answer in zip(queries, get(box, *queries)):
        assert answer["ended"] and len(answer["body"]) == len(p1) + 2, query
        assert S1[20:] not in answer["body"], query


def test_case_66_several_members(box, p1):
    assert get(box, "times=3")[0]["body"] == f"<{p1}>" * 3


def test_case_66_codings_that_hide_a_value(origin, box):
    queries = ["named=br", "named=gzip,br", "named=gzip;gzip", "named=unknown", "status=206"]
    for query, answer in zip(queries, get(box, *queries)):
        assert answer["status"] == "502", (query, answer)
        assert json.loads(answer["body"])["code"] == "UPSTREAM_FAILED"
    assert len(origin.requests) == len(queries)


def test_case_66_what_does_not_decode(box, p1):
    """Refused where nothing of it went out."""
    queries = ["cut=1", "cut=30", "cut=20&size=3", "tail=junk", "as=deflate&tail=junk", "as=bare&named=gzip",
               "as=gzip&named=deflate"]
    for query, answer in zip(queries, get(box, *queries)):
        assert answer["status"] == "502" or (answer["reset"] == 2 and not answer["ended"]), (query, answer)
        assert S1[20:] not in answer["body"]


def test_case_66_a_body_that_breaks_late_never_looks_whole(box):
    answer, after = get(box, "lines=20000&cut=9", "")
    assert answer["status"] == "200" and len(answer["body"]) > 1 << 20
    assert answer["reset"] == 2 and not answer["ended"]
    assert after["status"] == "200" and after["ended"]


def test_case_66_no_body_is_decoded_where_there_is_none(box):
    empty, bare, unchanged, nothing = get(box, "none=1", "status=204", "status=304", "cut=1000")
    for answer, status in ((empty, "200"), (bare, "204"), (unchanged, "304")):
        assert answer["status"] == status and answer["ended"] and answer["body"] == ""
        assert fields_of(answer)["content-encoding"] == "gzip"
    assert nothing["status"] == "200" and nothing["ended"] and nothing["body"] == ""


def test_case_75_head_of_a_coded_answer(box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/coded", "HEAD", ("x-key", key())))
out = c.wait(1).json()
""")
    fields = fields_of(out)
    assert out["status"] == "200" and out["ended"] and out["body"] == ""
    assert fields["content-encoding"] == "gzip" and int(fields["content-length"]) > 20


def test_case_78_bombs(box, instance):
    out = get(box, "fill=50000000", "as=deflate&fill=50000000", "as=bare&named=deflate&fill=50000000&size=4000", "")
    for answer in out[:3]:
        assert answer["status"] == "502" or answer["reset"] == 2, answer["status"]
        assert not answer["ended"] or answer["status"] == "502"
        assert len(answer["body"]) < 5 << 20
    assert out[3]["status"] == "200"


def test_a_slow_client_gets_all_of_what_grows(box, p1):
    """Coded bytes wait for the client; decoded they would be more than a stream may hold."""
    out = talk(box, """
c = Client(window=1000, big_window=False)
c.auto_window = False
c.head(1, c.fields("/coded?lines=40000", "GET", ("x-key", key())))
c.until(lambda: len(c.streams[1].body) >= 1000, 20)
c.head(3, c.fields("/coded", "GET", ("x-key", key())))
c.until(lambda: c.streams[3].ended, 10)
s = c.streams[1]
out = {"early": len(s.body), "other": c.streams[3].ended}
c.auto_window = True
c.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)) + frame(WINDOW, 0, 1, struct.pack(">I", 1 << 24)))
c.wait(1, timeout=30)
lines = s.body.split(b"\\n")
out |= {"size": len(s.body), "last": lines[-1].decode(), "ended": s.ended,
        "right": all(l.startswith(b"%08d x" % n) for n, l in enumerate(lines[:-1]))}
""")
    assert out["early"] == 1000 and out["other"]
    assert out["size"] == 40000 * 310 + len(p1) + 2 and out["right"]
    assert out["last"] == f"<{p1}>" and out["ended"]


def test_streams_that_are_given_up_leave_room_for_others(box):
    """The session's window comes back for what was waiting coded."""
    out = talk(box, """
c = Client(window=1000)
c.auto_window = False
for n in range(1, 41, 2):
    c.head(n, c.fields("/coded?lines=40000&level=1", "GET", ("x-key", key())))
    c.until(lambda: len(c.streams[n].body) == 1000, 10)
    c.send(frame(RST, 0, n, struct.pack(">I", 8)))
c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)))
c.auto_window = True
out = c.get(101, "/coded?lines=2000", ("x-key", key())).json()
out["body"] = len(out["body"])
""")
    assert out["status"] == "200" and out["ended"] and out["body"] > 2000 * 310
