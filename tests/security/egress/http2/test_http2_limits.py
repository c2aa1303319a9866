# SPDX-License-Identifier: Apache-2.0
"""Cases 76 and 77: clients that flood, stall, or send heads without end."""

import pathlib

import pytest
from http2_bench import talk


def cpu_of_workers(instance) -> float:
    total = 0
    for pid in instance.workers():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / 100


def memory_of_workers(instance) -> int:
    found = 0
    for pid in instance.workers():
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                found = max(found, int(line.split()[1]) * 1024)
    return found


FLOODS = {
    "rapid reset": """
for n in range(1, 40001, 2):
    block = c.encoder.encode(c.fields("/hang"))
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, n, block) + frame(RST, 0, n, struct.pack(">I", 8)))
    if c.closed: break
""",
    "resets that we are made to send": """
for n in range(1, 40001, 2):
    block = c.encoder.encode(c.fields("/hang"))
    c.send(frame(HEADERS, END_HEADERS, n, block) + frame(WINDOW, 0, n, struct.pack(">I", 0)))
    if c.closed: break
""",
    "CONTINUATION": """
c.send(frame(HEADERS, END_STREAM, 1, c.encoder.encode(c.fields("/"))))
for n in range(20000):
    c.send(frame(CONTINUATION, 0, 1, b""))
    if c.closed: break
""",
    "SETTINGS": """
for n in range(20000):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)))
    if c.closed: break
""",
    "PING": """
for n in range(20000):
    c.send(frame(PING, 0, 0, b"12345678"))
    if c.closed: break
""",
    "PRIORITY": """
for n in range(20000):
    c.send(frame(PRIORITY, 0, 2 * n + 1, struct.pack(">IB", 0, n % 256)))
    if c.closed: break
""",
    "empty DATA": """
c.head(1, c.fields("/hang", "POST"), end=False)
for n in range(20000):
    c.send(frame(DATA, 0, 1, b""))
    if c.closed: break
""",
    "WINDOW_UPDATE": """
for n in range(20000):
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 1)))
    if c.closed: break
""",
    "HPACK bomb": """
c.encoder.header_table_size = 4096
for n in range(1, 2001, 2):
    fields = c.fields("/") + [("x-bomb", "b" * 3900)]
    c.head(n, fields)
    block = c.encoder.encode(c.fields("/")) + b"\\xbe" * 16000
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, n + 20000, block))
    if c.closed: break
""",
    "2^31 window": """
c.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)))
c.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)))
""",
    "SETTINGS with many entries": """
c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535) * 2000))
""",
    "no preface": "c.send(b'GET / HTTP/1.1\\r\\n\\r\\n' + b'x' * 100)",
}


@pytest.mark.parametrize("name", FLOODS)
def test_case_77_floods_end_the_session(origin, box, instance, name):
    before = cpu_of_workers(instance)
    preface = "False" if name == "no preface" else "True"
    out = talk(box, f"c = Client(settings={preface})\n" + FLOODS[name] + """
c.until(lambda: c.goaway is not None or c.closed, 8)
out = {"goaway": c.goaway, "closed": c.closed}
d = Client()
out["after"] = d.get(1, "/").status
""")
    assert out["goaway"] not in (None, 0) or out["closed"], out
    assert out["after"] == "200"
    assert cpu_of_workers(instance) - before < 2, name


def test_case_77_unknown_frames_are_skipped(origin, box, instance):
    """They cost no more than the bytes that they are."""
    before = cpu_of_workers(instance)
    out = talk(box, """
c = Client()
for n in range(200):
    c.send(frame(0xbe, 0, 0, b"x") * 1000)
out = {"status": c.get(1, "/").status}
""")
    assert out["status"] == "200"
    assert cpu_of_workers(instance) - before < 1


def test_case_77_zero_window_holds_little(origin, box, instance):
    """A client that asks for much and takes nothing: bounded memory, and others go on."""
    before = memory_of_workers(instance)
    out = talk(box, """
c = Client(window=0, big_window=False)
c.auto_window = False
for n in range(1, 201, 2):
    c.head(n, c.fields("/big?n=3000000", "GET"))
time.sleep(1.5)
d = Client()
out = {"other": d.get(1, "/").status, "closed": c.closed}
c.until(lambda: False, 0.5)
out["got"] = sum(len(s.body) for s in c.streams.values())
""")
    assert out["other"] == "200" and out["got"] == 0
    assert memory_of_workers(instance) - before < 24 << 20


def test_case_76_a_head_that_never_ends(origin, box, instance):
    out = talk(box, """
c = Client()
c.until(lambda: c.settings)
block = c.encoder.encode(c.fields("/"))
c.send(frame(HEADERS, END_STREAM, 1, block))
begin = time.monotonic()
c.until(lambda: c.goaway is not None or c.closed, 20)
out = {"took": time.monotonic() - begin, "goaway": c.goaway}
""")
    assert out["goaway"] == 11 and 8 < out["took"] < 14
    assert not origin.requests


def test_case_76_too_large_a_head(origin, box):
    out = talk(box, """
c = Client()
c.head(1, c.fields("/", "GET", *[("x-%d" % n, "y" * 700) for n in range(97)]))
a = c.wait(1).json()
c.head(3, c.fields("/", "GET", *[("x-%d" % n, "y") for n in range(200)]))
b = c.wait(3).json()
out = {"all": [a["status"], b["status"], c.get(5, "/").status]}
""")
    assert out["all"] == ["431", "431", "200"]
