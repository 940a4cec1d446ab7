"""Images on web servers: what is read of them, what is refused, and what is tried again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vhdfast
from tests.support.web import WebServer
from vhdfast.errors import (
    ImageError,
    InvalidImageError,
    ReadError,
    SourceChangedError,
    UnsafeReferenceError,
)

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

MIB = 1 << 20


@pytest.fixture(autouse=True)
def without_proxies_or_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("vhdfast.remote.http.BACKOFF_S", 0.001)


@pytest.fixture
def server(small_disk: Path) -> Iterator[WebServer]:
    with WebServer(small_disk.read_bytes()) as made:
        yield made


# ---- what is read -------------------------------------------------------------------------------


def test_a_raw_disk_is_converted(server: WebServer, tmp_path: Path) -> None:
    result = vhdfast.convert(server.url(), tmp_path / "o.vhd", verify_copy=True)
    written = (tmp_path / "o.vhd").read_bytes()
    assert written[: len(server.content)] == server.content
    assert result.plan.source == server.url()
    assert result.plan.source_size == len(server.content)


def test_a_vhdx_is_detected_and_read(
    server: WebServer, small_disk: Path, tmp_path: Path, qemu_img: Any
) -> None:
    qemu_img("convert", "-f", "raw", "-O", "vhdx", small_disk, tmp_path / "d.vhdx")
    server.content = (tmp_path / "d.vhdx").read_bytes()
    with vhdfast.open_image(server.url("some/where.vhdx")) as image:
        assert image.info().format == "vhdx"
        assert image.pread(0, 5 * MIB + 512) == small_disk.read_bytes()
    assert vhdfast.compare(server.url(), small_disk).same


def test_a_dynamic_vhd_is_read_with_its_bitmaps(
    server: WebServer, small_disk: Path, tmp_path: Path, qemu_img: Any
) -> None:
    options = ("-o", "subformat=dynamic,force_size=on")
    qemu_img("convert", "-f", "raw", "-O", "vpc", *options, small_disk, tmp_path / "d.vhd")
    server.content = (tmp_path / "d.vhd").read_bytes()
    assert vhdfast.compare(server.url("d.vhd"), small_disk).same


def test_metadata_is_fetched_in_few_requests(server: WebServer) -> None:
    with vhdfast.open_image(server.url()) as image:
        opened = len(server.requests)
        for offset in range(0, 60_000, 1000):
            image.pread(offset, 100)
    assert opened < 8
    assert len(server.requests) == opened


def test_small_reads_in_order_ask_for_more_and_more(server: WebServer) -> None:
    with vhdfast.open_image(server.url()) as image:
        source = image.layer.source
        before = len(server.requests)
        found = b"".join(source.read(at, 10_000) for at in range(0, len(server.content), 10_000))
    assert found == server.content
    assert len(server.requests) - before < 10


def test_a_large_read_is_one_request_and_is_not_kept(server: WebServer) -> None:
    with vhdfast.open_image(server.url()) as image:
        source = image.layer.source
        for _ in range(2):
            before = len(server.requests)
            assert source.read(3 * MIB, 2 * MIB) == server.content[3 * MIB : 5 * MIB]
            assert len(server.requests) == before + 1


def test_reads_stop_at_the_end(server: WebServer) -> None:
    with vhdfast.open_image(server.url()) as image:
        source = image.layer.source
        assert source.read(len(server.content) - 3, 10) == b"!!!"
        assert source.read(len(server.content), 10) == b""


def test_a_redirect_is_followed(server: WebServer) -> None:
    def move(handler: Any, start: int, end: int) -> bool:
        if handler.path != "/old.raw":
            return False
        handler.answer(302, b"", Location="/new.raw")
        return True

    server.misbehave = move
    with vhdfast.open_image(server.url("old.raw")) as image:
        assert image.pread(MIB, 4) == b"\1\2\3\4"


def test_a_url_reaches_the_server_as_it_was_written(server: WebServer) -> None:
    with vhdfast.open_image(server.url("a%2Fb/disk.raw?sig=a%2Bb%3D&x=%20#part")):
        pass
    assert {path for path, _, _ in server.requests} == {"/a%2Fb/disk.raw?sig=a%2Bb%3D&x=%20"}


def test_a_name_and_password_are_sent(server: WebServer) -> None:
    with vhdfast.open_image(server.url().replace("//", "//me:secret@")):
        pass
    assert server.requests[0][2]["Authorization"] == "Basic bWU6c2VjcmV0"


def test_the_target_is_named_after_the_url(
    server: WebServer, vhdfast_cli: Any, tmp_path: Path
) -> None:
    done = vhdfast_cli("convert", server.url("images/my%20server.raw?sig=1"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my server.vhd").stat().st_size == 6 * MIB + 512


# ---- what is never printed ----------------------------------------------------------------------


def test_secrets_of_a_url_are_not_shown(server: WebServer, vhdfast_cli: Any) -> None:
    server.misbehave = lambda handler, *_: handler.answer(404, b"") or True
    url = server.url("disk.raw?sig=SIGNATURE").replace("//", "//me:PASSWORD@")
    done = vhdfast_cli("info", "--json", "-v", url)
    assert done.returncode == 4
    printed = done.stdout + done.stderr
    assert "SIGNATURE" not in printed and "PASSWORD" not in printed
    assert "http://me:***@127.0.0.1" in printed


def test_a_password_that_breaks_the_url_is_not_shown() -> None:
    with pytest.raises(ImageError, match="no valid URL.*%2F") as caught:
        vhdfast.open_image("http://me:pass/word@host/disk.raw")
    assert "word" not in str(caught.value).replace("password", "")


# ---- what is refused ----------------------------------------------------------------------------


def test_a_server_without_ranges_is_refused(server: WebServer) -> None:
    server.ranges = False
    with pytest.raises(ImageError, match="whole file.*download the file first"):
        vhdfast.open_image(server.url())


@pytest.mark.parametrize(
    ("content_range", "problem"),
    [
        ("bytes 0-0/*", "does not tell the size"),
        ("none", "does not tell the size"),
        ("bytes 5-5/1000", "another range"),
        ("bytes 0-0/9999999999999999999", "a size of 9999999999999999999 bytes"),
    ],
)
def test_an_answer_without_a_usable_size_is_refused(
    content_range: str, problem: str, server: WebServer
) -> None:
    server.misbehave = lambda handler, *_: handler.answer(206, b"x", content_range) or True
    with pytest.raises(ImageError, match=problem):
        vhdfast.open_image(server.url())


def test_packed_answers_are_refused(server: WebServer) -> None:
    def pack(handler: Any, start: int, end: int) -> bool:
        handler.answer(206, b"x", "bytes 0-0/1000", Content_Encoding="gzip")
        return True

    server.misbehave = pack
    with pytest.raises(ImageError, match="it packs what it sends"):
        vhdfast.open_image(server.url())


@pytest.mark.parametrize(
    ("status", "problem"),
    [(401, "may not read"), (403, "may not read"), (404, "no such file"), (418, "expected 206")],
)
def test_the_servers_refusal_is_passed_on(
    status: int, problem: str, server: WebServer
) -> None:
    server.misbehave = lambda handler, *_: handler.answer(status, b"") or True
    with pytest.raises(ImageError, match=f"{status}.*{problem}|{problem}.*{status}|{problem}"):
        vhdfast.open_image(server.url())
    assert len(server.requests) == 1


def test_an_empty_file_is_no_disk(server: WebServer) -> None:
    server.content = b""
    with pytest.raises(InvalidImageError, match="empty"):
        vhdfast.open_image(server.url(), "raw")


def test_a_redirect_without_end_is_refused(server: WebServer) -> None:
    server.misbehave = lambda handler, *_: handler.answer(302, b"", Location="/again?sig=S") or True
    with pytest.raises(ImageError, match="TooManyRedirects") as caught:
        vhdfast.open_image(server.url())
    assert "sig" not in str(caught.value)


def test_a_parent_named_by_an_image_on_a_server_is_refused(
    server: WebServer, small_disk: Path
) -> None:
    with vhdfast.open_image(server.url()) as image, pytest.raises(
        UnsafeReferenceError, match="lies in no directory"
    ):
        image.layer.open_file(small_disk.name, "extent")


@pytest.mark.parametrize("name", ["ftp://host/disk.raw", "s3://bucket/disk.raw"])
def test_other_kinds_of_url_are_named(name: str) -> None:
    with pytest.raises(ImageError, match="are not read.*http, https"):
        vhdfast.open_image(name)


def test_a_file_whose_name_looks_like_a_url(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "http:" / "host").mkdir(parents=True)
    small_disk.rename(tmp_path / "http:" / "host" / "disk.raw")
    monkeypatch.chdir(tmp_path)
    with vhdfast.open_image("./http://host/disk.raw") as image:
        assert image.virtual_size == 5 * MIB + 512


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImageError, match=r"pip install 'vhdfast\[http\]'"):
        vhdfast.open_image("http://127.0.0.1:1/disk.raw")


def test_nobody_listening_is_a_read_error(server: WebServer) -> None:
    with WebServer(b"") as gone:
        url = gone.url()
    with pytest.raises(ReadError, match="5 times"):
        vhdfast.open_image(url)


# ---- what is tried again ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(status: int, server: WebServer) -> None:
    left = [3]

    def fail(handler: Any, start: int, end: int) -> bool:
        left[0] -= 1
        if left[0] < 0:
            return False
        handler.answer(status, b"", Retry_After="0")
        return True

    server.misbehave = fail
    with vhdfast.open_image(server.url()) as image:
        left[0] = 2
        assert image.layer.source.read(MIB, MIB) == server.content[MIB : 2 * MIB]


def test_a_lasting_failure_is_a_read_error(server: WebServer) -> None:
    server.misbehave = lambda handler, *_: handler.answer(503, b"") or True
    with pytest.raises(ReadError, match="5 times: status 503"):
        vhdfast.open_image(server.url())
    assert len(server.requests) == 5


@pytest.mark.parametrize("kind", ["cut", "short range", "shifted range", "closed"])
def test_a_wrong_answer_is_tried_again_and_then_a_read_error(
    kind: str, server: WebServer, tmp_path: Path
) -> None:
    wrong = [False]
    size = len(server.content)

    def answer(handler: Any, start: int, end: int) -> bool:
        if not wrong[0]:
            return False
        if kind == "cut":
            body = server.content[start : end - 1]
            handler.answer(
                206, body, f"bytes {start}-{end - 1}/{size}", Content_Length=str(end - start)
            )
            handler.close_connection = True
        elif kind == "short range":
            handler.answer(206, server.content[start : end - 1], f"bytes {start}-{end - 2}/{size}")
        elif kind == "shifted range":
            handler.answer(206, b"x" * (end - start), f"bytes {start + 1}-{end}/{size}")
        else:
            handler.close_connection = True
        return True

    server.misbehave = answer
    with vhdfast.open_image(server.url()) as image:
        wrong[0] = True
        with pytest.raises(ReadError, match="5 times"):
            image.layer.source.read(MIB, 2 * MIB)
        wrong[0] = False
        assert image.layer.source.read(MIB, 2 * MIB) == server.content[MIB : 3 * MIB]


def test_the_first_error_ends_the_waits_of_all_workers(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vhdfast.plan.SEGMENT_BYTES", MIB)

    def answer(handler: Any, start: int, end: int) -> bool:
        if start >= 4 * MIB and end - start == MIB:
            handler.answer(404, b"")
            return True
        if end - start == MIB:
            time.sleep(5)
        return False

    server.misbehave = answer
    started = time.monotonic()
    with pytest.raises(SourceChangedError):
        vhdfast.convert(server.url(), tmp_path / "o.vhd", jobs=8)
    assert time.monotonic() - started < 4


# ---- what changes -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["etag", "size", "shorter", "gone"])
def test_a_change_while_reading_is_seen(what: str, server: WebServer, tmp_path: Path) -> None:
    with vhdfast.open_image(server.url()) as image:
        image.check_unchanged()
        if what == "etag":
            server.etag = '"two"'
        elif what == "size":
            server.content += b"more"
        elif what == "shorter":
            server.content = server.content[:MIB]
        else:
            server.misbehave = lambda handler, *_: handler.answer(404, b"") or True
        with pytest.raises(SourceChangedError):
            image.layer.source.read(2 * MIB, 2 * MIB)
        with pytest.raises(SourceChangedError):
            image.check_unchanged()


def test_a_change_during_a_conversion_leaves_nothing(server: WebServer, tmp_path: Path) -> None:
    def change(handler: Any, start: int, end: int) -> bool:
        if end - start > MIB:
            server.etag = '"two"'
        return False

    server.misbehave = change
    with pytest.raises(SourceChangedError):
        vhdfast.convert(server.url(), tmp_path / "o.vhd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.raw"]


def test_an_expired_signature_is_a_read_error(server: WebServer) -> None:
    with vhdfast.open_image(server.url()) as image:
        server.misbehave = lambda handler, *_: handler.answer(403, b"") or True
        with pytest.raises(ReadError, match="403.*expired"):
            image.layer.source.read(2 * MIB, 2 * MIB)


def test_a_closed_source_does_not_read(server: WebServer) -> None:
    image = vhdfast.open_image(server.url())
    source = image.layer.source
    image.close()
    image.close()
    with pytest.raises(ReadError, match="closed"):
        source.read(2 * MIB, 2 * MIB)
