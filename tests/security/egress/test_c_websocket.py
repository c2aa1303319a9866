# SPDX-License-Identifier: Apache-2.0
"""Cases 22, 64 and 65 over a WebSocket: frames of the sandbox's are opaque, what a host with secrets sends in
frames is redacted wherever it is cut."""

import json
import time

import pytest
from egress_bench import ALLOWED, S1, SECRETS, Box, forms_of, status_of
from test_c_redaction import HOLD, ask

SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
FIELDS = ("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT, BINARY, CLOSE, PING, FIN = 1, 2, 8, 9, 0x80
BYE = ["send", "\x88\x02\x03\xe8"]


@pytest.fixture(scope="module")
def p1(box) -> str:
    return box.placeholder("S1")


def masked(first: int, payload: bytes, mask: bytes) -> bytes:
    """A frame of a client (RFC 6455 5.2), shorter than 126 bytes."""
    return bytes([first, 0x80 | len(payload)]) + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(payload))


def frame(first: int, text: str) -> str:
    """Of a server, for a script's step."""
    size = len(text)
    head = chr(size) if size < 126 else chr(126) + chr(size >> 8) + chr(size & 255)
    return chr(first) + head + text


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    out = []
    while len(data) >= 2:
        size, at = data[1], 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2:2 + wide], "big"), 2 + wide
        out.append((data[0], data[at:at + size]))
        data = data[at + size:]
    return out


def messages_of(frames: list[tuple[int, bytes]]) -> list[bytes]:
    """As a client reads them, which is strict."""
    out, message = [], None
    for first, payload in frames:
        opcode, final = first & 15, bool(first & FIN)
        assert not first & 0x70
        if opcode >= CLOSE:
            assert final and len(payload) <= 125
            continue
        assert (opcode == 0) == (message is not None)
        message = (message or b"") + payload
        if final:
            out.append(message)
            message = None
    assert message is None
    return out


def talk(lab, box, p1: str, *steps: list, fields: str = FIELDS, **more) -> bytes:
    """Everything that the sandbox gets after the handshake; never a value."""
    lab.good.gate.set()
    out = box.request(ask(p1, ["send", SWITCH + "\r\n"], *steps, BYE, fields=fields), **more)["data"]
    for form in forms_of(S1):
        assert form not in out
    head, _, rest = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), out
    return rest


# --- case 22 ---

def test_case_22_frames_of_the_sandbox_are_opaque(lab, box, p1):
    """Masked, in fragments, and with a placeholder in them: they pass as they are."""
    text = p1.encode()
    frames = (masked(0x01, text[:20], b"\1\2\3\4") + masked(0x80, text[20:], b"\5\6\7\x08")
              + masked(0x82, bytes(range(100)), b"\0\0\0\0"))
    request = ask(p1, ["send", SWITCH + "\r\n"], ["take", len(frames)], ["send", frame(FIN | TEXT, "the end")],
                  fields=FIELDS + DEFLATE)
    out = box.request([request, frames], pause=0.2, until="the end")["data"]
    assert out.endswith(b"\r\n\r\n\x81\x07the end")
    last = lab.good.last()
    assert last.body == frames and last.values("x-key") == [S1]
    assert not last.values("sec-websocket-extensions")


def test_case_22_both_ways_are_opaque_without_redaction(lab):
    """A secret that is not taken out of answers does not limit what is negotiated either."""
    box = Box(lab, allow_net=ALLOWED, secrets={"S1": {**SECRETS["S1"], "redact": False}})
    sent = bytes(range(256))
    request = ask(box.placeholder("S1"), ["send", SWITCH + DEFLATE + "\r\n"], ["echo", len(sent)],
                  fields=FIELDS + DEFLATE)
    out = box.request([request, sent], pause=0.2)["data"]
    box.close()
    assert out.endswith(b"\r\n\r\n" + sent) and b"permessage-deflate" in out
    assert lab.good.last().values("sec-websocket-extensions") and lab.good.last().values("x-key") == [S1]


@pytest.mark.parametrize("value", ["permessage-deflate", "x-webkit-deflate-frame", ""])
def test_case_22_an_extension_that_was_not_asked_for(lab, box, p1, value):
    lab.good.gate.set()
    head = SWITCH + f"Sec-WebSocket-Extensions: {value}\r\n\r\n"
    out = box.request(ask(p1, ["send", head + frame(FIN | TEXT, "x")], fields=FIELDS + DEFLATE))
    assert status_of(out) == 502 and b"extension" in out["data"]


BAD = {
    "compressed": "\xc1\x01x", "masked": "\x81\x81\1\2\3\4x", "unknown": "\x83\x01x", "cut control": "\x09\x01x",
    "long control": "\x89\x7e\x00\x7e", "continues nothing": "\x80\x01x", "no length": "\x82\x7f" + "\xff" * 8,
    "http": "HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_case_22_what_is_no_frame_ends_the_connection(lab, box, p1, name):
    """The sandbox gets what came before, and is told."""
    rest = talk(lab, box, p1, ["send", frame(FIN | TEXT, "before") + BAD[name] + "@raw@"])
    frames = frames_of(rest)
    assert frames[0] == (FIN | TEXT, b"before") and len(frames) == 2, frames
    assert frames[1][0] == FIN | CLOSE and frames[1][1][:2] == b"\x03\xea" and len(frames[1][1]) > 10
    assert lab.instance.audit.wait(ev="request", reason=frames[1][1][2:].decode())
    assert box.ok("https://api.test/after") == "ok"


# --- case 64 ---

def test_case_64_in_the_handshake_and_a_frame(lab, box, p1):
    text = frame(FIN | TEXT, "<" + S1 + ">").replace(S1, "@raw@")
    request = ask(p1, ["send", SWITCH + "Sec-WebSocket-Protocol: @raw@\r\n\r\n"], ["send", text], BYE, fields=FIELDS)
    lab.good.gate.set()
    out = box.request(request)["data"]
    assert S1.encode() not in out
    assert b"Sec-WebSocket-Protocol: " + p1.encode() in out
    assert frames_of(out.partition(b"\r\n\r\n")[2]) == [(0x81, f"<{p1}>".encode()), (0x88, b"\x03\xe8")]
    assert lab.instance.audit.wait(ev="redact", secret="S1")


@pytest.mark.parametrize("size", [1, 2, 7, len(S1)])
def test_case_64_a_frame_that_comes_in_pieces(lab, box, p1, size):
    """Its length was announced, so all of a value is waited for, and it stays one frame."""
    text = frame(FIN | BINARY, "x" * 200 + "<" + S1 + ">").replace(S1, "@raw@")
    assert frames_of(talk(lab, box, p1, ["pieces", size, text]))[0] == \
        (FIN | BINARY, b"x" * 200 + f"<{p1}>".encode())


def test_case_64_control_frames(lab, box, p1):
    rest = talk(lab, box, p1, ["send", frame(FIN | PING, S1), ], ["send", frame(FIN | CLOSE, "\x03\xe8" + S1)])
    assert frames_of(rest)[:2] == [(0x89, p1.encode()), (0x88, b"\x03\xe8" + p1.encode())]


# --- case 65 ---

@pytest.mark.parametrize("between", ["", frame(FIN | PING, "p")], ids=["alone", "ping"])
def test_case_65_cut_at_every_byte_between_fragments(lab, box, p1, between):
    """Written at once: nothing of the value comes out."""
    text = "<" + S1 + ">"
    steps = [["send", frame(TEXT, text[:n]) + between + frame(FIN, text[n:])] for n in range(len(text) + 1)]
    rest = talk(lab, box, p1, *steps, ["send", frame(FIN | TEXT, "end")])
    assert messages_of(frames_of(rest)) == [f"<{p1}>".encode()] * len(steps) + [b"end"]
    assert sum(first & 15 == PING for first, _ in frames_of(rest)) == (len(steps) if between else 0)


@pytest.mark.parametrize("size", [1, 3, HOLD, len(S1) - 1])
def test_case_65_fragments_with_pauses(lab, box, p1, size):
    """No more than what came before the first pause is out, and less than can be held."""
    text = "<" + S1 + ">"
    parts = [text[n:n + size] for n in range(0, len(text), size)]
    steps = [["send", frame(TEXT if n == 0 else 0, part)] for n, part in enumerate(parts)]
    paused = [step for one in steps for step in (one, ["wait", 30])]
    got = messages_of(frames_of(talk(lab, box, p1, *paused, ["send", frame(FIN, "")])))
    assert len(got) == 1 and len(got[0]) == len(text)
    known = next(n for n in range(len(p1) + 1) if got[0][1 + n:-1] == p1[n:].encode())
    assert known < HOLD and got[0][1:1 + known] == S1[:known].encode()


def test_case_24_fragments_are_not_held(lab, box, p1):
    """What is no value's beginning comes while the host has not gone on."""
    lab.good.gate.clear()
    request = ask(p1, ["send", SWITCH + "\r\n"], ["send", frame(TEXT, "a token ")], ["gate"],
                  ["send", frame(FIN, "more")], fields=FIELDS)
    began = time.monotonic()
    out = box.request(request, until="a token ", timeout=5)["data"]
    lab.good.gate.set()
    assert out.endswith(b"\x01\x08a token ") and time.monotonic() - began < 4, json.dumps(out.decode("latin-1"))
