# SPDX-License-Identifier: Apache-2.0
import asyncio
import inspect
import io
import os

import pytest
from faces import settle


async def test_text(sb):
    text = "plain é \U0001f600 \"quoted\" \\ \r\n\t end"
    await settle(sb.fs.write_text_file("text.txt", text))
    assert await settle(sb.fs.read_text_file("text.txt")) == text
    assert await settle(sb.fs.read_text_file("/home/app/text.txt")) == text


@pytest.mark.parametrize("name, parts", [
    ("bytes", [b"\x00\x01\xff\n"]),
    ("empty", []),
    ("chunks", [os.urandom(10240) for _ in range(10)]),
    ("large", [os.urandom(65536) for _ in range(64)]),
    ("odd", [b"a", b"bc", b"", b"def" * 30000]),
])
async def test_write_file(sb, name, parts):
    whole = b"".join(parts)
    await settle(sb.fs.write_file("w.bin", iter(parts)))
    await _same(sb, whole)
    await settle(sb.fs.write_file("w.bin", (part for part in parts)))
    await _same(sb, whole)
    await settle(sb.fs.write_file("w.bin", whole))
    await _same(sb, whole)
    await settle(sb.fs.write_file("w.bin", io.BytesIO(whole)))
    await _same(sb, whole)


async def _same(sb, whole: bytes):
    digest = await _run(sb, "sha256sum", ["w.bin"])
    import hashlib
    assert digest.split()[0].decode() == hashlib.sha256(whole).hexdigest()
    if len(whole) < 700_000:  # a message to this client has at most 1 MiB
        assert await settle(sb.fs.read_file("w.bin")) == whole


async def _run(sb, command, args) -> bytes:
    child = await settle(sb.spawn(command, args=args, stdout="piped", stderr="piped"))
    out = await settle(child.stdout.read(-1))
    assert (await settle(child.wait()))["code"] == 0
    return out


async def test_write_file_from_a_slow_async_generator(sb):
    async def slow():
        for part in (b"one ", b"two ", b"three"):
            await asyncio.sleep(0.05)
            yield part

    if not inspect.iscoroutinefunction(sb.fs.write_file):
        pytest.skip("the sync API takes no async generator")
    await sb.fs.write_file("slow.bin", slow())
    assert await sb.fs.read_file("slow.bin") == b"one two three"


async def test_modes(sb):
    await settle(sb.fs.write_text_file("modes.txt", "one"))
    await settle(sb.fs.write_text_file("modes.txt", " two", append=True))
    assert await settle(sb.fs.read_text_file("modes.txt")) == "one two"
    with pytest.raises(Exception, match="EEXIST"):
        await settle(sb.fs.write_text_file("modes.txt", "x", create_new=True))
    with pytest.raises(Exception, match="ENOENT"):
        await settle(sb.fs.write_text_file("absent.txt", "x", create=False))
    await settle(sb.fs.write_text_file("modes.txt", "x", mode=0o640))
    assert (await settle(sb.fs.stat("modes.txt")))["mode"] & 0o777 == 0o640


async def test_missing_file(sb):
    with pytest.raises(Exception, match="NotFound"):
        await settle(sb.fs.read_text_file("nf.txt"))


async def test_result_over_the_client_s_message_limit_is_an_error_and_no_close(sb):
    await settle(sb.fs.write_file("big.bin", os.urandom(3_000_000)))
    with pytest.raises(Exception, match="RangeError|too large|limit"):
        await settle(sb.fs.read_file("big.bin"))
    assert await settle(sb.fs.read_text_file("/etc/hostname"))


async def test_directories(sb):
    await settle(sb.fs.mkdir("tree/a", recursive=True))
    await settle(sb.fs.write_text_file("tree/file", "x"))
    entries = await settle(sb.fs.read_dir("tree"))
    assert sorted((e["name"], e["is_file"], e["is_directory"], e["is_symlink"])
                  for e in entries) == [("a", False, True, False), ("file", True, False, False)]
    with pytest.raises(Exception, match="EEXIST"):
        await settle(sb.fs.mkdir("tree"))
    await settle(sb.fs.rename("tree/file", "tree/renamed"))
    with pytest.raises(Exception, match="ENOENT"):
        await settle(sb.fs.stat("tree/file"))
    with pytest.raises(Exception, match="ENOTEMPTY"):
        await settle(sb.fs.remove("tree"))
    await settle(sb.fs.remove("tree", recursive=True))


async def test_stat(sb):
    await settle(sb.fs.write_text_file("sized", "12345"))
    info = await settle(sb.fs.stat("sized"))
    assert info["is_file"] is True and info["size"] == 5
    await _run(sb, "ln", ["-sf", "sized", "pointer"])
    assert (await settle(sb.fs.lstat("pointer")))["is_symlink"] is True


async def test_upload(sb, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.txt").write_text("1")
    (tmp_path / "sub" / "two.bin").write_bytes(b"\x00\xff")
    await settle(sb.fs.upload(str(tmp_path / "one.txt"), "/tmp/uploaded.txt"))
    assert await settle(sb.fs.read_text_file("/tmp/uploaded.txt")) == "1"
    await settle(sb.fs.upload(str(tmp_path), "/tmp/uploaded_dir"))
    assert await settle(sb.fs.read_text_file("/tmp/uploaded_dir/one.txt")) == "1"
    assert await settle(sb.fs.read_file("/tmp/uploaded_dir/sub/two.bin")) == b"\x00\xff"


async def test_upload_a_directory_with_a_symlink(sb, tmp_path):
    (tmp_path / "target.txt").write_text("t")
    (tmp_path / "link.txt").symlink_to("target.txt")
    await settle(sb.fs.upload(str(tmp_path), "/tmp/uploaded_links"))
    assert await settle(sb.fs.read_text_file("/tmp/uploaded_links/link.txt")) == "t"
    assert (await settle(sb.fs.lstat("/tmp/uploaded_links/link.txt")))["is_symlink"] is True


async def test_links_copies_and_modes(sb):
    await settle(sb.fs.mkdir("more", recursive=True))
    await settle(sb.fs.write_text_file("more/a", "text", mode=0o640))
    await settle(sb.fs.copy_file("more/a", "more/b"))
    assert await settle(sb.fs.read_text_file("more/b")) == "text"
    assert (await settle(sb.fs.stat("more/b")))["mode"] & 0o777 == 0o640
    await settle(sb.fs.link("more/a", "more/hard"))
    assert (await settle(sb.fs.stat("more/a")))["nlink"] == 2
    await settle(sb.fs.symlink("a", "more/soft"))
    assert await settle(sb.fs.read_link("more/soft")) == "a"
    assert await settle(sb.fs.real_path("more/soft")) == "/home/app/more/a"
    await settle(sb.fs.chmod("more/a", 0o755))
    assert (await settle(sb.fs.stat("more/a")))["mode"] & 0o7777 == 0o755
    await settle(sb.fs.truncate("more/a", 2))
    assert await settle(sb.fs.read_text_file("more/a")) == "te"
    await settle(sb.fs.truncate("more/a"))
    assert await settle(sb.fs.read_text_file("more/a")) == ""
    await settle(sb.fs.utime("more/b", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"))
    info = await settle(sb.fs.stat("more/b"))
    assert info["mtime"] == "2026-01-02T03:04:05.678Z"
    await settle(sb.fs.remove("more", recursive=True))


async def test_temporary_names(sb):
    folder = await settle(sb.fs.make_temp_dir(prefix="p_", suffix="_s"))
    assert folder.startswith("/tmp/p_") and folder.endswith("_s")
    assert (await settle(sb.fs.stat(folder)))["mode"] & 0o777 == 0o700
    file = await settle(sb.fs.make_temp_file(dir=folder))
    assert file.startswith(folder + "/")
    assert (await settle(sb.fs.stat(file)))["size"] == 0


async def test_umask(sb):
    assert await settle(sb.fs.umask()) == 0o022
    assert await settle(sb.fs.umask(0o077)) == 0o022
    await settle(sb.fs.write_text_file("masked", ""))
    assert (await settle(sb.fs.stat("masked")))["mode"] & 0o777 == 0o600
    assert await settle(sb.fs.umask(0o022)) == 0o077


async def test_file_handles(sb):
    await settle(sb.fs.write_text_file("handle.txt", ""))
    file = await settle(sb.fs.open("handle.txt", read=True, write=True))
    assert await settle(file.write(b"0123456789!")) == 11
    assert await settle(file.seek(0, 0)) == 0
    assert await settle(file.read(11)) == b"0123456789!"
    assert await settle(file.seek(5, 0)) == 5
    assert await settle(file.read(5)) == b"56789"
    await settle(file.seek(0, 0))
    assert await settle(file.seek(3, 1)) == 3
    assert await settle(file.read(3)) == b"345"
    info = await settle(file.stat())
    assert info["is_file"] is True and info["size"] == 11
    await settle(file.truncate(5))
    assert (await settle(file.stat()))["size"] == 5
    await settle(file.truncate(0))
    assert await settle(sb.fs.read_text_file("handle.txt")) == ""
    await settle(file.sync())
    await settle(file.lock(True))
    await settle(file.unlock())
    await settle(file.utime(1.5, 2))
    assert (await settle(file.stat()))["mtime"] == "1970-01-01T00:00:02.000Z"
    await settle(file.close())
    with pytest.raises(Exception, match="BadResource"):
        await settle(file.stat())
    file = await settle(sb.fs.create("created.txt"))
    await settle(file.write(b"x"))
    await settle(file.sync_data())
    await settle(file.close())
    assert await settle(sb.fs.read_text_file("created.txt")) == "x"


async def test_walk_and_expand_glob(sb):
    # This client returns the stream's id, and cannot read it.
    assert await settle(sb.fs.walk("/etc", max_depth=1, exts=[".conf"]))
    assert await settle(sb.fs.expand_glob("*", root="/etc", case_insensitive=True))
    with pytest.raises(Exception, match="ENOENT"):
        await settle(sb.fs.walk("/absent"))
    assert await settle(sb.fs.read_text_file("/etc/hostname"))
