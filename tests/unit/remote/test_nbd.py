"""Images on NBD servers: qemu-nbd as a server that is right, our own for what goes wrong."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vhdfast
from tests.support import pattern
from tests.support.nbd_server import NbdServer
from vhdfast import Extent, Kind
from vhdfast.errors import ImageError, ReadError, SourceChangedError

MIB = 1 << 20

needs_libnbd = pytest.mark.skipif(
    ctypes.util.find_library("nbd") is None, reason="libnbd is not installed (apt install libnbd0)"
)

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """serve(file, *options): a qemu-nbd for it; returns its URL. `serve.processes` holds them."""
    if shutil.which("qemu-nbd") is None:
        pytest.skip("qemu-nbd is not installed (apt install qemu-utils)")
    processes: list[subprocess.Popen[bytes]] = []

    def start(file: Path, *options: str) -> str:
        socket = tmp_path / f"socket{len(processes)}"
        ready = tmp_path / f"pid{len(processes)}"  # made once it listens
        command = ["qemu-nbd", "--read-only", "--persistent", "--shared=8", "-f", "raw"]
        process = subprocess.Popen(
            [*command, *options, f"--pid-file={ready}", f"--socket={socket}", str(file)],
            stderr=subprocess.DEVNULL,
        )
        processes.append(process)
        until = time.monotonic() + 10
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        return f"nbd+unix:///?socket={socket}"

    start.processes = processes  # type: ignore[attr-defined]
    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def server(small_disk: Path, tmp_path: Path) -> Iterator[NbdServer]:
    with NbdServer(tmp_path / "own", small_disk.read_bytes()) as made:
        yield made


# ---- what is read -------------------------------------------------------------------------------


@needs_libnbd
def test_holes_of_a_raw_export_are_zeros(serve: Serve, small_disk: Path) -> None:
    with (
        vhdfast.open_image(serve(small_disk), "raw") as image,
        vhdfast.open_image(small_disk) as local,
    ):
        assert image.virtual_size == 5 * MIB + 512
        assert list(image.extents()) == list(local.extents())
        assert image.pread(0, 6 * MIB) == small_disk.read_bytes()


@needs_libnbd
@pytest.mark.parametrize("jobs", [1, 8])
def test_a_raw_export_is_converted(
    jobs: int, serve: Serve, small_disk: Path, tmp_path: Path
) -> None:
    url = serve(small_disk)
    result = vhdfast.convert(url, tmp_path / "o.vhd", verify_copy=True, jobs=jobs)
    content = small_disk.read_bytes()
    assert (tmp_path / "o.vhd").read_bytes()[: len(content)] == content
    assert result.plan.source == url
    assert result.plan.zero > 4 * MIB


@needs_libnbd
def test_a_server_for_one_client_is_enough_to_convert_and_verify(
    serve: Serve, small_disk: Path, tmp_path: Path
) -> None:
    vhdfast.convert(serve(small_disk, "--shared=1"), tmp_path / "o.vhd", verify_copy=True)
    assert vhdfast.compare(tmp_path / "o.vhd", small_disk).same


@needs_libnbd
def test_a_server_that_takes_fewer_connections_than_it_promises(
    serve: Serve, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vhdfast.remote.nbd.EXTRA_TIMEOUT_S", 0.3)
    monkeypatch.setattr("vhdfast.plan.SEGMENT_BYTES", 65536)
    vhdfast.convert(serve(small_disk, "--shared=2"), tmp_path / "o.vhd", jobs=8)
    assert vhdfast.compare(tmp_path / "o.vhd", small_disk).same


@needs_libnbd
@pytest.mark.parametrize(
    ("format", "options"),
    [("vhdx", ()), ("vhd", ("subformat=dynamic", "force_size=on")), ("vhd", ("subformat=fixed",))],
)
def test_an_image_inside_an_export(
    format: str, options: tuple[str, ...], serve: Serve, small_disk: Path, tmp_path: Path,
    qemu_img: Any,
) -> None:  # fmt: skip
    driver = {"vhd": "vpc"}.get(format, format)
    words = ("-o", ",".join(options)) if options else ()
    qemu_img("convert", "-f", "raw", "-O", driver, *words, small_disk, tmp_path / "d.img")
    with (
        vhdfast.open_image(serve(tmp_path / "d.img")) as image,
        vhdfast.open_image(tmp_path / "d.img") as local,
    ):
        assert image.info().format == format
        assert list(image.extents()) == list(local.extents())
    vhdfast.convert(serve(tmp_path / "d.img"), tmp_path / "o.vhd", verify_copy=True)
    assert vhdfast.compare(tmp_path / "o.vhd", small_disk).same


@needs_libnbd
def test_a_named_export_over_tcp(small_disk: Path, tmp_path: Path) -> None:
    if shutil.which("qemu-nbd") is None:
        pytest.skip("qemu-nbd is not installed")
    process = subprocess.Popen(
        ["qemu-nbd", "-r", "-t", "-f", "raw", "-x", "disk", "-b", "127.0.0.1", "-p", "0",
         "--pid-file", tmp_path / "pid", small_disk], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 10
        while not (tmp_path / "pid").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        port = _port_of(process.pid)
        with vhdfast.open_image(f"nbd://127.0.0.1:{port}/disk") as image:
            assert image.pread(MIB, 3) == b"\1\2\3"
        with pytest.raises(ReadError, match="no connection"):
            vhdfast.open_image(f"nbd://127.0.0.1:{port}/other")
    finally:
        process.kill()
        process.wait()


def _port_of(pid: int) -> int:
    """The TCP port on which a process listens."""
    inodes = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        link = os.readlink(f"/proc/{pid}/fd/{entry}")
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].rpartition(":")[2], 16)
    raise AssertionError("it does not listen")


@needs_libnbd
def test_reads_keep_to_the_servers_block_sizes(server: NbdServer) -> None:
    server.content = server.content[: 5 * MIB]
    server.size = 5 * MIB
    server.blocks = (4096, 4096, 65536)
    with vhdfast.open_image(server.url) as image:
        source = image.layer.source
        assert source.read(4097, MIB + 5) == server.content[4097 : MIB + 4102]
        assert source.read(100, 7) == server.content[100:107]
        parts = source.read_ranges([(5, 3), (MIB + 1, 70_000)], "test")
        assert parts == [server.content[5:8], server.content[MIB + 1 : MIB + 70_001]]
    assert all(at % 4096 == 0 and n % 4096 == 0 and n <= 65536 for at, n in server.reads)


@needs_libnbd
def test_workers_read_over_several_connections_where_the_server_allows(
    server: NbdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.multi = True
    monkeypatch.setattr("vhdfast.plan.SEGMENT_BYTES", MIB)
    vhdfast.convert(server.url, tmp_path / "o.vhd", jobs=4)
    assert server.connections > 1
    assert (tmp_path / "o.vhd").read_bytes()[: server.size] == server.content


@needs_libnbd
def test_one_connection_where_it_does_not(server: NbdServer, tmp_path: Path) -> None:
    vhdfast.convert(server.url, tmp_path / "o.vhd", jobs=4, verify_copy=True)
    assert server.connections == 1
    assert (tmp_path / "o.vhd").read_bytes()[: server.size] == server.content


# ---- what is known to be zero -------------------------------------------------------------------


def kinds(url: str, **options: Any) -> list[tuple[int, int, str]]:
    with vhdfast.open_image(url, "raw", **options) as image:
        return [(row.offset, row.length, row.kind.name) for row in image.extents()]


@needs_libnbd
def test_holes_and_zeros_are_zeros_and_holes_alone_are_data(server: NbdServer) -> None:
    # Flags: 1 is a hole, whose bytes may be anything; 2 reads as zeros.
    server.extents = [(MIB, 0), (MIB, 2), (MIB, 3), (MIB, 1), (MIB + 512, 0)]
    assert kinds(server.url) == [
        (0, MIB, "DATA"), (MIB, 2 * MIB, "ZERO"), (3 * MIB, 2 * MIB + 512, "DATA"),
    ]  # fmt: skip


@needs_libnbd
def test_nobody_is_asked_where_holes_are_not_wanted(server: NbdServer) -> None:
    server.extents = [(5 * MIB + 512, 2)]
    assert kinds(server.url, ask_holes=False) == [(0, 5 * MIB + 512, "DATA")]
    assert server.questions == []


@needs_libnbd
@pytest.mark.parametrize("case", ["no context", "refused", "no length"])
def test_a_server_that_cannot_tell_is_read_whole(case: str, server: NbdServer) -> None:
    if case == "no context":
        server.has_extents = False
    else:
        server.extents = None if case == "refused" else [(0, 2)]
    assert kinds(server.url) == [(0, 5 * MIB + 512, "DATA")]
    assert len(server.questions) <= 1


@needs_libnbd
def test_an_answer_beyond_the_export_ends_with_it(server: NbdServer) -> None:
    server.extents = [(4 * MIB, 0), ((1 << 32) - 1, 2), ((1 << 32) - 1, 0)]
    assert kinds(server.url) == [(0, 4 * MIB, "DATA"), (4 * MIB, MIB + 512, "ZERO")]


@needs_libnbd
def test_one_row_is_answered_where_one_is_asked_for(server: NbdServer) -> None:
    server.extents = [(4096, 2 * (index % 2)) for index in range(1280)]
    with vhdfast.open_image(server.url) as image:
        window = image.extents(10_000, MIB, max_rows=1)
        assert list(window) == [Extent(10_000, 2288, Kind.DATA, 0, 10_000)]


@needs_libnbd
def test_windows_go_on_where_one_fills_up(server: NbdServer) -> None:
    server.extents = [(4096, 2 * (index % 2)) for index in range(1280)] + [(512, 0)]
    with vhdfast.open_image(server.url) as image:
        windows = list(image.windows(max_rows=100))
        assert max(len(window) for window in windows) <= 100
        rows = [row for window in windows for row in window]
    assert [(row.offset, row.kind.name) for row in rows] == [
        (at * 4096, ("DATA", "ZERO")[at % 2]) for at in range(1281)
    ]
    assert len(server.questions) == 1


@needs_libnbd
def test_asking_stops_where_reading_is_cheaper(tmp_path: Path) -> None:
    with NbdServer(tmp_path / "s", bytes(64)) as server:
        server.size = 1 << 50
        server.extents = [(1, 2)]
        started = time.monotonic()
        with vhdfast.open_image(server.url, "raw") as image:
            zeros = sum(window.bytes_of(Kind.ZERO) for window in image.windows())
        assert time.monotonic() - started < 5
        assert zeros < 100
        assert len(server.questions) < 100


@needs_libnbd
def test_a_huge_empty_export_is_mapped_quickly(tmp_path: Path, serve: Serve) -> None:
    with open(tmp_path / "huge.raw", "wb") as file:
        file.truncate(15 << 40)
    with vhdfast.open_image(serve(tmp_path / "huge.raw"), "raw") as image:
        assert sum(window.bytes_of(Kind.ZERO) for window in image.windows()) == 15 << 40


# ---- what goes wrong ----------------------------------------------------------------------------


def test_without_libnbd_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise OSError("cannot load library 'libnbd.so.0'")

    monkeypatch.setattr("vhdfast.remote._libnbd._library", missing)
    with pytest.raises(ImageError, match="apt install libnbd0.*nbd-client"):
        vhdfast.open_image("nbd://127.0.0.1/x")


@needs_libnbd
@pytest.mark.parametrize(
    "url",
    [
        "nbd+unix:///?socket=/nowhere/at/all",
        "nbd+unix:///",
        "nbd://127.0.0.1:1/x",
        "nbd:///x",
        "nbd://host.invalid/x",
        "nbds+unix:///?socket=/nowhere/at/all",
    ],
)
def test_who_cannot_be_reached_is_a_read_error(url: str) -> None:
    with pytest.raises(ReadError, match="no connection"):
        vhdfast.open_image(url)


@pytest.mark.parametrize("url", ["nbd://host:port/x", "nbd://[::1/x", "nbd://host:99999/x"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ImageError, match="no valid URL"):
        vhdfast.open_image(url)


@needs_libnbd
def test_a_password_is_not_shown() -> None:
    with pytest.raises(ReadError) as caught:
        vhdfast.open_image("nbds://me:PASSWORD@127.0.0.1:1/x")
    assert "PASSWORD" not in str(caught.value)
    assert caught.value.path == "nbds://me:***@127.0.0.1:1/x"


@needs_libnbd
def test_tls_that_the_server_does_not_speak(server: NbdServer) -> None:
    with pytest.raises(ReadError, match="no connection"):
        vhdfast.open_image(server.url.replace("nbd+", "nbds+"))


@needs_libnbd
def test_a_place_that_cannot_be_read(server: NbdServer, tmp_path: Path) -> None:
    server.bad = {MIB + 7}
    with pytest.raises(ReadError, match="refused a request") as caught:
        vhdfast.convert(server.url, tmp_path / "o.vhd")
    assert caught.value.exit_code == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.raw", "own"]
    with vhdfast.open_image(server.url) as image:
        with pytest.raises(ReadError):
            image.pread(MIB, 100)
        assert image.pread(5 * MIB, 7) == b"the end"


def _data(offset: int, content: bytes, is_last: bool) -> tuple[int, bytes, bool]:
    return 1, struct.pack(">Q", offset) + content, is_last


def _error(number: int, text: bytes = b"", length: int | None = None) -> tuple[int, bytes, bool]:
    said = len(text) if length is None else length
    return (1 << 15) + 1, struct.pack(">IH", number, said) + text, True


ANSWERS = {
    "nothing": lambda at, n: [(0, b"", True)],
    "half": lambda at, n: [_data(at, b"x" * (n // 2), True)],
    "what lies elsewhere": lambda at, n: [_data(0, b"x" * n, True)],
    "beyond what was asked": lambda at, n: [_data(at + 1, b"x" * n, True)],
    "zeros without end": lambda at, n: [(2, struct.pack(">QI", at, 0xFFFFFFFF), True)],
    "another command's": lambda at, n: [(5, struct.pack(">III", 1, n, 2), True)],
    "an unknown type": lambda at, n: [(77, b"", True)],
    "a part and an error": lambda at, n: [_data(at, b"x" * 512, False), _error(5)],
    "a long error": lambda at, n: [_error(5, b"\x1b[31m" * 800)],
    "an error that is no end": lambda at, n: [_error(5, b"short", 65535)],
    "an error without a number": lambda at, n: [_error(0)],
    "a part, then no more": lambda at, n: [_data(at, b"x" * 512, False)],
}


@needs_libnbd
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_none_is_a_read_error(case: str, server: NbdServer) -> None:
    with vhdfast.open_image(server.url, "raw") as image:
        server.chunks = ANSWERS[case]
        with pytest.raises(ReadError, match="broke|refused") as caught:
            image.layer.source.read(3 * MIB, MIB)
        server.chunks = None
        assert caught.value.offset == 3 * MIB
        assert len(str(caught.value)) < 1000 and "\x1b" not in str(caught.value)
        assert image.pread(5 * MIB, 7) == b"the end"


@needs_libnbd
def test_what_a_server_leaves_out_is_not_what_lay_in_memory(
    server: NbdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_half_twice(offset: int, length: int) -> list[tuple[int, bytes, bool]]:
        half = b"x" * (length // 2)
        return [_data(offset, half, False), _data(offset, half, True)]

    monkeypatch.setattr("vhdfast.remote._libnbd._unfilled", lambda size: b"secret!!" * (size // 8))
    with vhdfast.open_image(server.url, "raw", ask_holes=False) as image:
        server.chunks = first_half_twice
        data = image.layer.source.read(2 * MIB, 2 * MIB)
    assert data == b"x" * MIB + bytes(MIB)


@needs_libnbd
@pytest.mark.parametrize(
    "answer",
    [
        [(5, struct.pack(">IIIIIII", 1, 0, 2, MIB, 2, 0, 0), True)],
        [(5, struct.pack(">III", 1, MIB, 2), False), (0, b"", True)],
    ],
    ids=["empty extents", "an answer and its end"],
)
def test_a_strange_answer_to_a_question(
    answer: list[tuple[int, bytes, bool]], server: NbdServer
) -> None:
    with vhdfast.open_image(server.url, "raw") as image:
        server.chunks = lambda offset, _: answer if offset < MIB else [_error(22)]
        assert [(row.offset, row.length, row.kind.name) for row in image.extents()] == [
            (0, MIB, "ZERO"), (MIB, 4 * MIB + 512, "DATA"),
        ]  # fmt: skip


@needs_libnbd
@pytest.mark.parametrize("payload", [b"", b"\0\0\0\1", b"\0\0\0\1" + bytes(7)])
def test_a_broken_answer_to_a_question_is_a_read_error(payload: bytes, server: NbdServer) -> None:
    with vhdfast.open_image(server.url, "raw") as image:
        server.chunks = lambda *_: [(5, payload, True)]
        with pytest.raises(ReadError, match="broke"):
            image.extents()


@needs_libnbd
@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 512, (1 << 64) - 1])
def test_a_size_that_no_file_can_have(size: int, server: NbdServer) -> None:
    server.size = size
    with pytest.raises(ImageError, match=f"a size of {size} bytes, expected"):
        vhdfast.open_image(server.url, "raw")


@needs_libnbd
def test_the_largest_size(server: NbdServer) -> None:
    server.size = (1 << 63) - 1
    server.extents = [((1 << 32) - 1, 2)]
    with vhdfast.open_image(server.url, "raw") as image:
        assert image.virtual_size == (1 << 63) - 1
        assert image.pread((1 << 63) - 101, 100) == bytes(100)
        assert image.extents((1 << 63) - 512, 511).end == (1 << 63) - 1


@needs_libnbd
def test_a_size_whose_end_the_server_does_not_read(server: NbdServer) -> None:
    server.blocks = (4096, 4096, 1 << 25)
    with pytest.raises(ImageError, match="5243392 bytes.*multiples of 4096: the last 512 cannot"):
        vhdfast.open_image(server.url, "raw")


@needs_libnbd
@pytest.mark.parametrize(
    "blocks",
    [(0, 0, 0), (3, 512, MIB), (1 << 31,) * 3, (0xFFFFFFFF,) * 3, (1, 1, 1), (1, 512, 512)],
)
def test_block_sizes_that_make_no_sense_are_not_kept_to(
    blocks: tuple[int, int, int], server: NbdServer
) -> None:
    server.blocks = blocks
    with vhdfast.open_image(server.url, "raw") as image:
        assert image.layer.source.read(3, 2 * MIB) == server.content[3 : 3 + 2 * MIB]


@needs_libnbd
def test_a_server_that_ends_while_it_is_read(server: NbdServer, tmp_path: Path) -> None:
    with vhdfast.open_image(server.url) as image:
        server.vanish()
        with pytest.raises(ReadError, match="broke|no connection"):
            image.pread(3 * MIB, MIB)
        with pytest.raises(ReadError):
            image.layer.source.read(4 * MIB, 100)


@needs_libnbd
def test_a_server_killed_in_the_middle_of_a_copy(serve: Serve, tmp_path: Path) -> None:
    with open(tmp_path / "d.raw", "wb") as file:
        for seed in range(64):
            file.write(pattern(seed, MIB))
    url = serve(tmp_path / "d.raw")
    monitor = vhdfast.Monitor()
    monitor.advance = (  # type: ignore[method-assign]
        lambda done: serve.processes[0].kill() if done else None  # type: ignore[attr-defined]
    )
    with pytest.raises(ReadError):
        vhdfast.convert(
            url, tmp_path / "o.vhd", from_format="raw", rate=32 * MIB, monitor=monitor
        )
    assert not (tmp_path / "o.vhd").exists()
    assert not list(tmp_path.glob(".*"))


@needs_libnbd
def test_a_silent_server_is_given_up(
    server: NbdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vhdfast.remote._libnbd.SILENCE_TIMEOUT_S", 0.3)
    with vhdfast.open_image(server.url) as image:
        server.silent = True
        with pytest.raises(ReadError, match="silent"):
            image.pread(3 * MIB, MIB)


@needs_libnbd
def test_a_socket_without_a_server_behind_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr("vhdfast.remote.nbd.CONNECT_TIMEOUT_S", 0.3)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(ReadError, match="did not let us in.*--shared"):
            vhdfast.open_image(f"nbd+unix:///?socket={tmp_path / 's'}")


@needs_libnbd
def test_waiting_for_a_server_can_be_interrupted(server: NbdServer, tmp_path: Path) -> None:
    with vhdfast.open_image(server.url) as image:
        server.silent = True
        before = signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        started = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                image.pread(3 * MIB, MIB)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - started < 5


@needs_libnbd
def test_a_copy_that_waits_for_a_server_can_be_interrupted(
    server: NbdServer, tmp_path: Path
) -> None:
    server.content = pattern(1, 48 * MIB)
    server.size = 48 * MIB
    server.extents = [(48 * MIB, 0)]
    command = [sys.executable, "-m", "vhdfast", "convert", "-f", "raw", "--rate=4M", server.url]
    process = subprocess.Popen([*command, "o.vhd"], cwd=tmp_path, stderr=subprocess.PIPE)
    until = time.monotonic() + 20
    while not list(tmp_path.glob(".o.vhd*")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    server.silent = True
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=10)
    assert process.returncode == 130, printed
    assert not list(tmp_path.glob("*o.vhd*"))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@needs_libnbd
def test_another_size_is_a_changed_source(server: NbdServer) -> None:
    server.multi = True
    with vhdfast.open_image(server.url) as image:
        image.check_unchanged()
        server.size -= 512
        with pytest.raises(SourceChangedError, match=f"from {5 * MIB + 512} to {5 * MIB} bytes"):
            image.check_unchanged()


@needs_libnbd
def test_a_closed_source_does_not_read(server: NbdServer) -> None:
    image = vhdfast.open_image(server.url)
    source = image.layer.source
    image.close()
    image.close()
    with pytest.raises(ReadError, match="closed"):
        source.read(3 * MIB, 10)


@needs_libnbd
def test_the_target_is_named_after_the_export(
    serve: Serve, small_disk: Path, tmp_path: Path, vhdfast_cli: Any
) -> None:
    url = serve(small_disk, "-x", "web server").replace("///", "///web%20server")
    done = vhdfast_cli("convert", "--json", "-f", "raw", url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "web server.vhd").exists()
    mapped = vhdfast_cli("map", "-f", "raw", url)
    assert "of zeros" in mapped.stdout
    assert vhdfast_cli("compare", url, "web server.vhd").returncode == 0
