# SPDX-License-Identifier: Apache-2.0
"""casemate-init alone, spoken to in frames (src/wire/frame.h): PID 1 of a PID and mount namespace over
an overlay of this machine's files, so that what it writes is gone with it."""

import base64
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from array import array

HEADER = struct.Struct("<IBBHIQ")
(ENV, TRUST, SETUP_DONE, OPEN, CLOSE, MESSAGE, CREDIT, CANCEL, BARRIER_DONE, DENIAL, COUNTS) = range(1, 12)
(HELLO, RESULT, START, DATA, END, ERROR, REFUSE, RESTARTED, BARRIER) = range(12, 21)
MORE, CALL, NOTE, DROP, OK, FAILED, FAILURE = (1 << n for n in range(7))
PAYLOAD_MAX = 65536
MESSAGE_MAX = 104857600

ENTER = r"""
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
r=$1/root
mount -t proc proc "$r/proc"
mount --rbind /dev "$r/dev"
mount -t tmpfs -o mode=1777 tmpfs "$r/tmp"
mkdir -p "$r/home/app" "$r/var/tmp"
chown 1000:1000 "$r/home/app"
chmod 1777 "$r/var/tmp"
sed -i '/^app:/d' "$r/etc/passwd" "$r/etc/group"
echo 'app:x:1000:1000::/home/app:/bin/bash' >>"$r/etc/passwd"
printf 'app:x:1000:\nextra:x:4242:app\n' >>"$r/etc/group"
cp "$2" "$r/casemate-init"
eval "exec 3<&$3 $3<&- 4<&$4 $4<&-"
exec env -i ${ASAN_OPTIONS:+ASAN_OPTIONS="$ASAN_OPTIONS"} ${UBSAN_OPTIONS:+UBSAN_OPTIONS="$UBSAN_OPTIONS"} \
    /usr/sbin/chroot "$r" /casemate-init
"""


class Failure(Exception):
    """A call that was answered with an error object, or (code set) a protocol failure."""

    def __init__(self, value):
        super().__init__(json.dumps(value))
        self.value = value


class Stream:
    def __init__(self):
        self.started = self.ended = False
        self.data = bytearray()
        self.chunks = 0
        self.error = None
        self.take = None  # called with each chunk, instead of keeping it


class Channel:
    def __init__(self, guest, number, family=1, primary=1, message_max=MESSAGE_MAX):
        self.guest, self.number = guest, number
        self.next_call = 1
        self.results = {}
        self.parts = {}
        self.streams = {}
        self.refused = {}
        self.barriers = []
        self.auto_barrier = True
        self.log = []
        self.credit = 1 << 20
        self.auto_credit = True
        guest.channels[number] = self
        guest.send(OPEN, number, 0, struct.pack("<BBQ", family, primary, message_max))

    def start(self, method, **params):
        number, self.next_call = self.next_call, self.next_call + 1
        self.message({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, CALL, number)
        return number

    def message(self, value, what, number=0):
        self.raw(json.dumps(value).encode() if not isinstance(value, bytes) else value, what, number)

    def raw(self, text, what, number=0):
        pieces = [text[i : i + PAYLOAD_MAX] for i in range(0, len(text), PAYLOAD_MAX)] or [b""]
        for piece in pieces[:-1]:
            self.guest.send(MESSAGE, self.number, number, piece, MORE)
        self.guest.send(MESSAGE, self.number, number, pieces[-1], what)

    def note(self, what, stream, **params):
        self.message({"jsonrpc": "2.0", "method": "$sandbox.stream." + what,
                      "params": {"streamId": stream, **params}}, NOTE)

    def push(self, stream, data):
        self.note("enqueue", stream, data=base64.b64encode(data).decode())

    def finish(self, number, timeout=20):
        self.guest.until(lambda: number in self.results, timeout)
        flags, streams, value = self.results.pop(number)
        if not flags & OK:
            raise Failure(value)
        return {**value, "streams": streams} if streams else value

    def call(self, method, **params):
        return self.finish(self.start(method, **params))

    def spawn(self, command, *args, stdout="piped", stderr="piped", **more):
        return self.call("spawn", command=command, args=list(args), stdout=stdout, stderr=stderr, **more)

    def run(self, command, *args, **more):
        """Status, standard output and standard error."""
        p = self.spawn(command, *args, **more)
        status = self.call("processWait", pid=p["pid"])
        streams = [self.streams.setdefault(n, Stream()) for n in p["streams"] if n]
        self.guest.until(lambda: all(s.ended for s in streams))
        texts = [self.streams[n].data if n else None for n in p["streams"]]
        return (status, *texts)

    def take(self, kind, flags, number, payload):
        self.log.append((kind, number, len(payload)))
        self.credit -= HEADER.size + len(payload)
        assert self.credit >= 0, "the guest sent more than its credit"
        if self.auto_credit:
            self.give(HEADER.size + len(payload))
        if self.parts and kind != RESULT:
            raise AssertionError("a frame between the pieces of a result")
        if kind == RESULT:
            self.take_result(flags, number, payload)
        elif kind == REFUSE:
            self.refused[number] = json.loads(payload)
        elif kind == BARRIER:
            self.barriers.append(number)
            if self.auto_barrier:
                self.pass_barrier(number)
        else:
            self.take_stream(kind, number, payload)

    def pass_barrier(self, number):
        self.barriers.remove(number)
        self.guest.send(BARRIER_DONE, self.number, number)

    def give(self, size):
        self.credit += size
        self.guest.send(CREDIT, self.number, size)

    def take_result(self, flags, number, payload):
        first, text = self.parts.pop(number, (flags, bytearray()))
        text += payload
        if flags & MORE:
            self.parts[number] = (first, text)
            return
        count = text[0]
        streams = struct.unpack(f"<{count}I", text[1 : 1 + 4 * count])
        self.results[number] = (first, streams, json.loads(text[1 + 4 * count :]))

    def take_stream(self, kind, number, payload):
        s = self.streams.setdefault(number, Stream())
        assert s.started == (kind != START) and not s.ended
        if kind == START:
            s.started = True
        elif kind == DATA:
            assert payload
            data = base64.b64decode(payload, validate=True)
            if s.take:
                s.take(data)
            else:
                s.data += data
            s.chunks += 1
        elif kind == ERROR:
            s.error = json.loads(payload)
            s.ended = True
        else:
            assert kind == END
            s.ended = True


class Guest:
    def __init__(self, init, env=(("SETUP_NAME", "set up"),), trust=None, memory_events="oom_kill 0\n"):
        self.dir = tempfile.mkdtemp(prefix="casemate-init-")
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.events = tempfile.NamedTemporaryFile("w+", dir=self.dir)
        self.set_memory_events(memory_events)
        with open(self.events.name, "rb") as events:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", ENTER, "enter",
                 self.dir, init, str(theirs.fileno()), str(events.fileno())],
                pass_fds=(theirs.fileno(), events.fileno()), stdin=subprocess.DEVNULL)
        theirs.close()
        self.data = None
        self.channels = {}
        self.connect()
        for name, value in env:
            pair = b"".join(struct.pack("<I", len(t)) + t for t in (name.encode(), value.encode()))
            self.send(ENV, 0, 0, pair)
        for number, text in enumerate(trust or ()):
            self.send(TRUST, 0, number, text)
        self.send(SETUP_DONE, 0, 0)

    def pid_of_init(self):
        """As this machine's processes see it."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            return int(children.read().split()[0])

    def set_memory_events(self, text):
        self.events.seek(0)
        self.events.truncate()
        self.events.write(text)
        self.events.flush()

    def connect(self):
        """A fresh data channel; what the former one had is dropped."""
        if self.data:
            self.data.close()
        self.data, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.inbox = self.outbox = b""
        self.receiving = False
        self.greeted = False
        self.channels = {}
        self.control.sendmsg([b"\x01"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [theirs.fileno()]))])
        theirs.close()
        self.until(lambda: self.greeted)

    def open(self, number=1, **more):
        return Channel(self, number, **more)

    def send(self, kind, channel, number, payload=b"", flags=0):
        self.outbox += HEADER.pack(len(payload), kind, flags, 0, channel, number) + payload
        while self.outbox and not self.receiving:
            self.flush()
            if self.outbox:
                select.select([self.data], [self.data], [], 10)
                self.receive(0)

    def flush(self):
        if not self.outbox:
            return
        try:
            self.outbox = self.outbox[self.data.send(self.outbox, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass

    def receive(self, timeout):
        self.flush()
        readable, _, _ = select.select([self.data], [self.data] if self.outbox else [], [], timeout)
        if not readable:
            return
        data = self.data.recv(1 << 20)
        if not data:
            raise EOFError("the guest closed the data channel")
        self.inbox += data
        at = 0
        frames = []
        while len(self.inbox) - at >= HEADER.size:
            size, kind, flags, zero, channel, number = HEADER.unpack_from(self.inbox, at)
            assert size <= PAYLOAD_MAX and zero == 0
            if len(self.inbox) - at < HEADER.size + size:
                break
            payload = self.inbox[at + HEADER.size : at + HEADER.size + size]
            at += HEADER.size + size
            frames.append((kind, flags, channel, number, payload))
        self.inbox = self.inbox[at:]
        self.receiving = True  # what the takers send is only queued: frames are taken in order
        try:
            for kind, flags, channel, number, payload in frames:
                if kind == HELLO:
                    assert payload == struct.pack("<I", 3) and not self.greeted
                    self.greeted = True
                else:
                    self.channels[channel].take(kind, flags, number, payload)
        finally:
            self.receiving = False
        self.flush()

    def until(self, done, timeout=20):
        end = time.monotonic() + timeout
        while not done():
            left = end - time.monotonic()
            assert left > 0, "nothing came in time"
            self.receive(min(left, 1))

    def idle(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.receive(left)

    def close(self):
        """The launcher goes away; returns the exit status of init."""
        self.control.close()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            status = self.process.wait()
        self.data.close()
        self.events.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return status
