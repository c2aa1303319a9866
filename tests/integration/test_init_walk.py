# SPDX-License-Identifier: Apache-2.0
"""Walking trees: casemate-init alone, in frames (harness/guest.py). Needs root."""

import json
import os
import pathlib

import pytest
from harness import guest as g
from harness.guest import Failure, Guest, Stream
from harness.instance import build_dir

INIT = str(build_dir() / "casemate-init")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces"),
    pytest.mark.skipif(not os.path.exists(INIT), reason=f"{INIT} is not built"),
]


@pytest.fixture(scope="module")
def guest():
    guest = Guest(INIT)
    first = guest.open(next(numbers))
    status, _, err = first.run("bash", "-ec", """
        mkdir -p t/a/b t/c.d t/.h; touch t/one.ts t/two.js t/a/x.ts t/a/b/deep.ts t/c.d/é.ts t/.h/y
        ln -s a t/link; ln -s one.ts t/file-link; ln -s nowhere t/broken
        mkdir -p loop/in; ln -s .. loop/in/up; mkdir secret; mkdir secret/no; chmod 0 secret/no
        mkdir -p follow/real/sub out; touch follow/real/sub/f out/o
        ln -s ../out follow/dir; ln -s ../t/one.ts follow/file""")
    assert status["success"], err
    yield guest
    assert guest.close() == 0


numbers = iter(range(1, 1 << 30))


@pytest.fixture
def ch(guest):
    channel = guest.open(next(numbers))
    yield channel
    guest.send(g.CLOSE, channel.number, 0)


def stream(ch, method, **params):
    entries = []
    s = Stream()
    s.take = lambda data: entries.append(json.loads(data))
    number = ch.last = ch.call(method, **params)["streams"][0]
    ch.streams[number] = s
    ch.guest.until(lambda: s.ended)
    assert s.started
    s.error and entries.append(s.error)
    return entries


def walk(ch, path, **params):
    entries = stream(ch, "walk", path=path, **params)
    paths = [e.get("path") for e in entries]
    for i, e in enumerate(entries):
        if "path" in e:
            assert e["name"] == os.path.basename(e["path"]) or e["path"] in (".", "/") or e["isSymlink"]
            parent = os.path.dirname(e["path"])
            assert parent not in paths or paths.index(parent) < i
    return sorted(paths, key=str)


ALL = ["t", "t/.h", "t/.h/y", "t/a", "t/a/b", "t/a/b/deep.ts", "t/a/x.ts", "t/broken", "t/c.d", "t/c.d/é.ts",
       "t/file-link", "t/link", "t/one.ts", "t/two.js"]
DIRS = ["t", "t/.h", "t/a", "t/a/b", "t/c.d"]
LINKS = ["t/broken", "t/file-link", "t/link"]


def test_everything(ch):
    assert walk(ch, "t") == ALL
    assert walk(ch, "t", options={}) == ALL
    assert walk(ch, "t", options=None) == ALL
    assert walk(ch, "./t/..//t/") == ALL
    assert walk(ch, "/home/app/t") == ["/home/app/" + p for p in ALL]
    root = stream(ch, "walk", path="t")[0]
    assert root == {"path": "t", "name": "t", "isFile": False, "isDirectory": True, "isSymlink": False}
    kinds = {e["name"]: (e["isFile"], e["isDirectory"], e["isSymlink"]) for e in stream(ch, "walk", path="t")}
    assert (kinds["one.ts"], kinds["a"], kinds["link"]) == ((True, False, False), (False, True, False), (False, False, True))


def test_the_working_directory(ch):
    paths = walk(ch, ".", maxDepth=1)
    assert "." in paths and "t" in paths and "loop" in paths
    assert "t/a" in walk(ch, ".", maxDepth=2)


@pytest.mark.parametrize("params, paths", [
    ({"maxDepth": -1}, []),
    ({"maxDepth": 0}, ["t"]),
    ({"maxDepth": 1}, [p for p in ALL if p.count("/") <= 1]),
    ({"maxDepth": 1.5}, [p for p in ALL if p.count("/") <= 1]),
    ({"maxDepth": 2}, [p for p in ALL if p.count("/") <= 2]),
    ({"maxDepth": None}, ALL),
    ({"includeDirs": False}, [p for p in ALL if p not in DIRS]),
    ({"includeFiles": False}, sorted(DIRS + LINKS)),
    ({"includeSymlinks": False}, [p for p in ALL if p not in LINKS]),
    ({"includeFiles": False, "includeSymlinks": False}, DIRS),
    ({"exts": [".ts"]}, [p for p in ALL if p.endswith(".ts")]),
    ({"exts": ["ts", "d"]}, [p for p in ALL if p.endswith((".ts", ".d"))]),
    ({"exts": []}, []),
    ({"match": []}, []),
    ({"match": [{"source": "DEEP", "flags": "i"}, {"source": "^t$", "flags": ""}]}, ["t", "t/a/b/deep.ts"]),
    ({"match": [{"source": "\\u00e9", "flags": ""}]}, ["t/c.d/é.ts"]),
    ({"skip": [{"source": "/a$", "flags": ""}]}, [p for p in ALL if not p.startswith("t/a")]),
    ({"skip": [{"source": "", "flags": ""}]}, []),
    ({"exts": [".ts"], "match": [{"source": "e", "flags": "g"}], "skip": [{"source": "deep", "flags": ""}]}, ["t/one.ts"]),
], ids=str)
def test_options(ch, params, paths):
    assert walk(ch, "t", **params) == paths
    assert walk(ch, "t", options=params) == paths


def test_following(ch):
    home = "/home/app/"
    assert walk(ch, "follow", followSymlinks=True) == sorted(
        ["follow", home + "t/one.ts", home + "out", home + "out/o", "follow/real", "follow/real/sub", "follow/real/sub/f"])
    assert walk(ch, "follow", followSymlinks=True, canonicalize=False) == [
        "follow", "follow/dir", "follow/dir/o", "follow/file", "follow/real", "follow/real/sub", "follow/real/sub/f"]
    entries = {e["path"]: e for e in stream(ch, "walk", path="follow", followSymlinks=True)}
    assert entries[home + "out"] == {"path": home + "out", "name": "out", "isFile": False, "isDirectory": True, "isSymlink": False}
    assert entries[home + "t/one.ts"] == {"path": home + "t/one.ts", "name": "file", "isFile": False, "isDirectory": False, "isSymlink": True}
    assert stream(ch, "walk", path="t", followSymlinks=True)[-1]["constructorName"] == "NotFound", "a broken link"


def test_links_without_end(ch):
    assert walk(ch, "loop", followSymlinks=True, canonicalize=False) == ["loop", "loop/in", "loop/in/up"]
    assert walk(ch, "loop", followSymlinks=True) == ["/home/app/loop", "loop", "loop/in"]


def glob(ch, pattern, **params):
    return [e.get("path") for e in stream(ch, "expandGlob", glob=pattern, **params)]


HOME = "/home/app/"


@pytest.mark.parametrize("pattern, params, paths", [
    ("t/*", {}, [p for p in ALL if p.count("/") == 1]),
    ("t/*.ts", {}, ["t/one.ts"]),
    ("t/**", {}, ALL),
    ("t/**/", {}, DIRS),
    ("t/**", {"includeDirs": False}, [p for p in ALL if p not in DIRS]),
    ("t/**/*.ts", {}, [p for p in ALL if p.endswith(".ts")]),
    ("**/*.ts", {"root": "t"}, [p for p in ALL if p.endswith(".ts")]),
    ("**/*.ts", {"root": "/home/app/t/a/../."}, [p for p in ALL if p.endswith(".ts")]),
    ("/home/app/t/*/*.ts", {"root": "/usr"}, ["t/a/x.ts", "t/c.d/é.ts"]),
    ("t/**/b/**", {}, ["t/a/b", "t/a/b/deep.ts"]),
    ("t/**", {"globstar": False}, [p for p in ALL if p.count("/") == 1]),
    ("t", {}, ["t"]),
    ("t/", {}, ["t"]),
    ("t/one.ts/", {}, []),
    ("t/one.ts/**", {}, []),
    ("t/*/**", {}, [p for p in ALL if p.startswith(("t/.h", "t/a", "t/c.d"))]),
    ("nope/**", {}, []),
    ("t/../t/on?.ts", {}, ["t/one.ts"]),
    ("t/{one,two}.*", {}, ["t/one.ts", "t/two.js"]),
    ("t/[!a-n]*", {}, [p for p in ALL if p.count("/") == 1 and p[2] not in "abcdefghijklmn"]),
    ("t/[[:alpha:]]", {}, ["t/a"]),
    ("t/ONE*", {}, []),
    ("t/ONE*", {"caseInsensitive": True}, ["t/one.ts"]),
    ("t/@(one|two).*", {}, ["t/one.ts", "t/two.js"]),
    ("t/@(one|two).*", {"extended": False}, []),
    ("t/!(one|two)*", {}, [p for p in ALL if p.count("/") == 1 and not p.startswith(("t/one", "t/two"))]),
    ("t/**", {"exclude": ["t/a", "**/*.js"]}, [p for p in ALL if not p.startswith("t/a") and not p.endswith(".js")]),
    ("t/**", {"exclude": ["a/**"], "root": "/home/app"}, ALL),
    ("**", {"root": "t", "exclude": ["a/**"]}, [p for p in ALL if not p.startswith("t/a/")]),
    ("t/**", {"exclude": ["t"]}, []),
    ("t/link/*", {}, ["t/link/b", "t/link/x.ts"]),
    ("t/l*k/*", {}, []),
    ("t/[", {}, []),
], ids=str)
def test_glob(ch, pattern, params, paths):
    expected = sorted((HOME + p for p in paths), key=str.encode)
    assert glob(ch, pattern, **params) == expected
    assert glob(ch, pattern, options=params) == expected


def test_glob_following(ch):
    assert glob(ch, "follow/**", followSymlinks=True) == [HOME + p for p in (
        "follow", "follow/real", "follow/real/sub", "follow/real/sub/f", "out", "out/o", "t/one.ts")]
    assert glob(ch, "follow/**", followSymlinks=True, canonicalize=False) == [HOME + p for p in (
        "follow", "follow/dir", "follow/dir/o", "follow/file", "follow/real", "follow/real/sub", "follow/real/sub/f")]
    assert glob(ch, "follow/d*/*", followSymlinks=True, canonicalize=False) == [HOME + "follow/dir/o"]
    assert glob(ch, "loop/**", followSymlinks=True) == [HOME + "loop", HOME + "loop/in"]
    assert glob(ch, "loop/*/*/*/*", followSymlinks=True, canonicalize=False) == [HOME + "loop/in/up/in/up"]


def test_glob_is_sorted_by_path_and_not_by_directory(ch):
    ch.run("bash", "-c", "mkdir -p order/a order/a-b order/a.b order/b; touch order/{a,a-b,a.b,b}/x order/{a+,a0}")
    paths = glob(ch, "order/**")
    assert paths == sorted(paths, key=str.encode) and len(paths) == 11
    assert paths.index(HOME + "order/a-b") < paths.index(HOME + "order/a/x")


def test_glob_of_more_than_fits_a_window(ch):
    ch.run("bash", "-c", "mkdir -p /tmp/wide/d; cd /tmp/wide; seq 40000 | xargs touch; cd d; seq 300 | xargs touch")
    paths = glob(ch, "/tmp/wide/**")
    assert len(paths) == 40302 and paths == sorted(set(paths))
    # Several at once: one grows its window, the others make passes.
    found = [[], [], []]
    for paths in found:
        s = Stream()
        s.take = lambda data, paths=paths: paths.append(json.loads(data)["path"])
        ch.streams[ch.call("expandGlob", glob="/tmp/wide/**")["streams"][0]] = s
    ch.guest.until(lambda: all(len(paths) == 40302 for paths in found))
    assert all(paths == sorted(set(paths)) for paths in found)
    paths = glob(ch, "/tmp/wide/*7")
    assert len(paths) == 4000 and paths == sorted(set(paths))
    ch.run("bash", "-c", "p=/tmp/narrow/$(printf 'd/%.0s' {1..40}); mkdir -p $p; cd $p; seq 1000 | xargs touch")
    assert len(glob(ch, "/tmp/narrow/**/5*")) == 111
    ch.run("rm", "-rf", "/tmp/wide", "/tmp/narrow")


def test_glob_errors(ch):
    for pattern, params, name in (("*/../x", {}, "NotSupported"), ("*/" * 70, {}, "RangeError"), ("x" * 300, {}, "Error"),
                                  ("t/one.ts/x", {}, "NotADirectory"), ("*", {"exclude": ["x"] * 65}, "RangeError")):
        with pytest.raises(Failure) as e:
            ch.call("expandGlob", glob=pattern, **params)
        assert e.value.value["constructorName"] == name
    for params in ({"glob": 1}, {}, {"glob": "*", "exclude": "x"}, {"glob": "*", "options": {"globstar": 1}}):
        with pytest.raises(Failure) as e:
            ch.call("expandGlob", **params)
        assert e.value.value["code"] == -32602
    assert stream(ch, "expandGlob", glob="secret/**")[-1]["constructorName"] == "PermissionDenied"
    assert stream(ch, "expandGlob", glob="t/**", followSymlinks=True)[-1]["constructorName"] == "NotFound"
    entries = stream(ch, "expandGlob", glob="/home/app/slow/" + "*a" * 60 + "b")
    assert entries == [] or entries[-1]["constructorName"] == "RangeError"


def test_errors(ch):
    for path, name in (("nope", "NotFound"), ("t/one.ts/x", "NotADirectory"), ("x" * 5000, "Error")):
        with pytest.raises(Failure) as e:
            ch.call("walk", path=path)
        assert e.value.value["constructorName"] == name
    entries = stream(ch, "walk", path="secret")
    assert entries[-1]["constructorName"] == "PermissionDenied" and "secret/no" in entries[-1]["message"]
    entries = stream(ch, "walk", path="t/one.ts")
    assert (entries[0]["isFile"], entries[1]["code"]) == (True, "ENOTDIR")
    assert [e["name"] for e in stream(ch, "walk", path="t/one.ts", maxDepth=0)] == ["one.ts"]
    for params in ({"maxDepth": "1"}, {"exts": ".ts"}, {"match": ["x"]}, {"match": [{"source": "x"}]},
                   {"options": {"skip": [{"source": 1, "flags": ""}]}}):
        with pytest.raises(Failure) as e:
            ch.call("walk", path="t", **params)
        assert e.value.value["code"] == -32602


def test_regular_expressions_that_are_refused(ch):
    for source, flags, name in (("(", "", "SyntaxError"), ("x", "q", "SyntaxError"), ("x", "gg", "SyntaxError"),
                                ("[a--b]", "v", "NotSupported"), ("(?<=a+)b", "", "NotSupported")):
        with pytest.raises(Failure) as e:
            ch.call("walk", path="t", match=[{"source": source, "flags": flags}])
        assert e.value.value["constructorName"] == name
    with pytest.raises(Failure) as e:
        ch.call("walk", path="t", match=[{"source": "x", "flags": ""}] * 65)
    assert e.value.value["constructorName"] == "RangeError"
    ch.call("mkdir", path="slow/" + "a" * 200, options={"recursive": True})
    entries = stream(ch, "walk", path="slow", skip=[{"source": "(a|aa)+[bc]", "flags": ""}])
    assert entries[-1]["constructorName"] == "RangeError"


def test_barrier_cancel_and_the_client_s_end(guest, ch):
    ch.auto_barrier = False
    number = ch.call("walk", path="t")["streams"][0]
    guest.until(lambda: ch.barriers)
    guest.idle(0.2)
    assert number not in ch.streams, "nothing before the client has read the result"
    guest.send(g.CANCEL, ch.number, number)
    ch.pass_barrier(number)
    ch.call("envGet", key="X")
    assert number not in ch.streams
    ch.auto_barrier = True
    ch.auto_credit = False
    ch.call("envGet", key="X")  # the clients of former tests are gone
    before = open_files(guest)
    number = ch.call("walk", path="/usr")["streams"][0]
    guest.until(lambda: ch.credit < 200)
    guest.send(g.CANCEL, ch.number, number)
    mark = len(ch.log)
    ch.auto_credit = True
    ch.give(1 << 20)
    ch.call("envGet", key="X")
    assert all(kind == g.RESULT for kind, _, _ in ch.log[mark:])
    assert open_files(guest) == before
    other = guest.open(next(numbers))
    other.auto_credit = False
    other.call("walk", path="/usr")
    guest.until(lambda: other.credit < 200)
    guest.send(g.CLOSE, other.number, 0)
    ch.call("envGet", key="X")
    assert open_files(guest) == before


def test_waiting_streams_are_bounded(ch):
    ch.auto_barrier = False
    for _ in range(128):
        ch.call("walk", path="t")
    with pytest.raises(Failure) as e:
        ch.call("walk", path="t")
    assert e.value.value["code"] == "EMFILE"
    for number in list(ch.barriers):
        ch.pass_barrier(number)
    ch.auto_barrier = True
    ch.guest.until(lambda: sum(s.ended for s in ch.streams.values()) == 128)
    assert walk(ch, "t") == ALL


def test_deeper_than_paths_are_long(ch):
    ch.run("python3", "-c", "import os\nos.mkdir('/tmp/deep'); os.chdir('/tmp/deep')\n"
           "for _ in range(25): os.mkdir('d' * 200); os.chdir('d' * 200)")
    entries = stream(ch, "walk", path="/tmp/deep")
    assert entries[-1]["code"] == "ENAMETOOLONG" and len(entries) == 22
    ch.run("bash", "-c", "mkdir -p /tmp/levels/$(printf 'd/%.0s' {1..1100})")
    entries = stream(ch, "walk", path="/tmp/levels")
    assert entries[-1]["code"] == "ENAMETOOLONG" and len(entries) == 1026
    assert len(stream(ch, "walk", path="/tmp/levels", maxDepth=1000)) == 1001
    ch.run("rm", "-rf", "/tmp/deep", "/tmp/levels")


def init_pid(guest):
    parent = guest.process.pid
    return int(pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


def open_files(guest):
    return len(os.listdir(f"/proc/{init_pid(guest)}/fd"))


def test_memory_stays_flat(guest, ch):
    ch.run("bash", "-c", "mkdir many; cd many; for d in $(seq 20); do mkdir $d; (cd $d; seq 2500 | xargs touch); done")
    rss = lambda: int(pathlib.Path(f"/proc/{init_pid(guest)}/statm").read_text().split()[1]) * 4096
    stream(ch, "walk", path="t")
    before = rss()
    assert len(stream(ch, "walk", path="many")) == 20 * 2501 + 1
    assert rss() < before + (4 << 20) * (10 if "ASAN_OPTIONS" in os.environ else 1)
