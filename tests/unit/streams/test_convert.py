"""Converting compressed images: what becomes the target, and what is left when it goes wrong."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.support import MIB, build_vhd
from tests.support.build_streams import PACKERS, SUFFIXES
from tests.support.build_vhdx import write_vhdx
from vhdfast import errors
from vhdfast.outputs import FileOutput
from vhdfast.streams import Spool

KINDS = sorted(PACKERS)
DISK = random.Random(1).randbytes(700_000) + bytes(2 * MIB) + b"the end".ljust(512 * 5, b"!")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def digest_of(path: Path, size: int | None = None) -> str:
    return hashlib.sha256(path.read_bytes()[:size]).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of its own for targets."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(PACKERS["gzip"](DISK))
    return path


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets that were made by copying: empty where what was unpacked became the target."""
    made: list[str] = []
    create = FileOutput.create

    def counted(self: FileOutput) -> None:
        made.append(self.path)
        create(self)

    monkeypatch.setattr(FileOutput, "create", counted)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_disk_becomes_the_target(
    kind: str, tmp_path: Path, place: Path, copies: list[str]
) -> None:
    source = tmp_path / f"disk.raw{SUFFIXES[kind]}"
    source.write_bytes(PACKERS[kind](DISK))

    result = vhdfast.convert(source, place / "x.vhd", verify_copy=True)

    target = place / "x.vhd"
    assert copies == []
    assert names(place) == ["x.vhd"]
    assert target.stat().st_size == 3 * MIB + 512
    assert digest_of(target, len(DISK)) == hashlib.sha256(DISK).hexdigest()
    assert not any(target.read_bytes()[len(DISK) : 3 * MIB])
    assert target.read_bytes()[3 * MIB :][:8] == b"conectix"
    assert target.stat().st_blocks * 512 < MIB
    assert (result.plan.stream, result.plan.source_format) == (kind, "raw")
    assert result.read == result.written == result.plan.data
    assert result.plan.data + result.plan.zero == len(DISK)
    assert result.verified is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_vhd_gets_a_new_footer(
    kind: str, tmp_path: Path, place: Path, copies: list[str]
) -> None:
    inner = build_vhd.fixed(DISK).write(tmp_path / "inner").read_bytes()
    assert inner[-512:-504] == b"conectix"
    source = tmp_path / f"disk.vhd{SUFFIXES[kind]}"
    source.write_bytes(PACKERS[kind](inner))

    result = vhdfast.convert(source, place / "x.vhd", verify_copy=True)

    content = (place / "x.vhd").read_bytes()
    assert copies == []
    assert content[: len(DISK)] == DISK
    assert not any(content[len(DISK) : 3 * MIB])  # no footer of old
    assert content[3 * MIB :][28:32] == b"vhdf"
    assert result.plan.source_subformat == "fixed"


def test_a_vhdx_is_copied_from_what_was_unpacked(
    tmp_path: Path, place: Path, copies: list[str]
) -> None:
    blocks = {2: random.Random(2).randbytes(MIB)}
    inner = write_vhdx(tmp_path / "disk.vhdx", virtual_size=4 * MIB, blocks=blocks)
    source = tmp_path / "disk.vhdx.xz"
    source.write_bytes(PACKERS["xz"](inner.read_bytes()))

    vhdfast.convert(source, place / "x.vhd", verify_copy=True)

    assert copies == [str(place / "x.vhd")]
    assert names(place) == ["x.vhd"]
    assert vhdfast.compare(inner, place / "x.vhd").same


def test_a_dynamic_vhd_is_copied(tmp_path: Path, place: Path, copies: list[str]) -> None:
    inner = tmp_path / "disk.vhd"
    raw = tmp_path / "raw"
    raw.write_bytes(DISK)
    if subprocess.run(["which", "qemu-img"], stdout=subprocess.DEVNULL).returncode:
        pytest.skip("qemu-img is not installed")
    subprocess.run(["qemu-img", "convert", "-Ovpc", "-fraw", raw, inner], check=True)
    source = tmp_path / "disk.vhd.zst"
    source.write_bytes(PACKERS["zstd"](inner.read_bytes()))
    vhdfast.convert(source, place / "x.vhd")
    assert len(copies) == 1
    assert vhdfast.compare(inner, place / "x.vhd").same


def test_a_raw_target_keeps_the_odd_size_whole_sectors(packed: Path, place: Path) -> None:
    vhdfast.convert(packed, place / "x.raw", to="raw")
    assert (place / "x.raw").read_bytes() == DISK + bytes(-len(DISK) % 512)


def test_a_larger_size_and_allocation(packed: Path, place: Path, copies: list[str]) -> None:
    vhdfast.convert(packed, place / "x.vhd", size=8 * MIB, allocate=True)
    assert copies == []
    target = place / "x.vhd"
    assert target.stat().st_size == 8 * MIB + 512
    assert target.stat().st_blocks * 512 >= 8 * MIB
    assert target.read_bytes()[: 8 * MIB] == DISK.ljust(8 * MIB, b"\0")


def test_the_target_has_the_mode_that_any_new_file_gets(packed: Path, place: Path) -> None:
    before = os.umask(0o027)
    try:
        vhdfast.convert(packed, place / "x.vhd")
    finally:
        os.umask(before)
    assert (place / "x.vhd").stat().st_mode & 0o777 == 0o640


def test_another_directory_for_unpacking(
    packed: Path, place: Path, tmp_path: Path, copies: list[str]
) -> None:
    (tmp_path / "other").mkdir()
    vhdfast.convert(packed, place / "x.vhd", temporary=tmp_path / "other")
    assert len(copies) == 1
    assert (place / "x.vhd").read_bytes()[: len(DISK)] == DISK
    assert names(tmp_path / "other") == []


def test_a_file_system_without_nameless_files(
    packed: Path, place: Path, copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    vhdfast.convert(packed, place / "x.vhd", verify_copy=True)
    assert copies == []
    assert names(place) == ["x.vhd"]
    with vhdfast.open_image(packed) as image:
        assert image.pread(0, 100) == DISK[:100]


def test_without_nameless_files_a_failure_leaves_nothing_either(
    packed: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    with pytest.raises(errors.UsageError, match="--size"):
        vhdfast.convert(packed, place / "x.vhd", size=MIB)
    packed.write_bytes(packed.read_bytes()[:-5])
    with pytest.raises(errors.CorruptImageError):
        vhdfast.convert(packed, place / "x.vhd")
    assert names(place) == []


@pytest.mark.parametrize("source", ["packed", "raw"])
def test_a_signal_as_soon_as_the_file_exists_leaves_nothing(
    source: str, packed: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def open_and_be_interrupted(path: str, flags: int, *rest: int, **more: int) -> int:
        fd = really_open(path, flags, *rest, **more)
        if str(path).endswith(".part"):
            assert os.path.exists(path)
            os.close(fd)
            raise KeyboardInterrupt
        return fd

    monkeypatch.delattr(os, "O_TMPFILE")
    disk = packed
    if source == "raw":
        disk = packed.parent / "disk.img"
        disk.write_bytes(bytes(MIB))
    monkeypatch.setattr(os, "open", open_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        vhdfast.convert(disk, place / "x.vhd", from_format="raw")
    assert list(place.iterdir()) == []


def test_a_file_that_gets_no_second_descriptor_is_copied(
    packed: Path, place: Path, copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("vhdfast.streams.spool.os.dup", fail)
    vhdfast.convert(packed, place / "x.vhd")
    assert len(copies) == 1
    assert [path.name for path in place.iterdir()] == ["x.vhd"]


def test_where_the_file_cannot_get_a_name_it_is_copied(
    packed: Path, place: Path, copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "link", refuse)  # as without /proc
    vhdfast.convert(packed, place / "x.vhd", verify_copy=True)
    assert len(copies) == 1
    assert (place / "x.vhd").read_bytes()[: len(DISK)] == DISK
    assert names(place) == ["x.vhd"]


class Watch(vhdfast.Monitor):
    """Keeps the phases, and acts in one of them."""

    def __init__(self, phase: str = "", action: Callable[[], object] = lambda: None) -> None:
        self.phases: list[tuple[str, int, int]] = []
        self._phase, self._action = phase, action

    def start(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        if what == self._phase:
            self._action()

    def advance(self, done: int) -> None:
        assert self._done <= done <= self._total
        self._done = done

    def finish(self) -> None:
        self.phases.append((self._what, self._done, self._total))


def test_progress_is_in_compressed_bytes(packed: Path, place: Path) -> None:
    watch = Watch()
    vhdfast.convert(packed, place / "x.vhd", verify_copy=True, monitor=watch)
    size = packed.stat().st_size
    assert watch.phases == [
        ("unpacking", size, size),
        ("unpacking", size, size),
        ("verifying", len(DISK), len(DISK)),
    ]


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (errors.TargetExistsError, {}),
        (errors.UsageError, {"align": 1000}),
        (errors.UsageError, {"to": "floppy"}),
        (errors.UsageError, {"jobs": 0}),
        (errors.UsageError, {"unique_id": "seven"}),
    ],
    ids=["target exists", "align", "output", "jobs", "uuid"],
)
def test_what_can_be_refused_is_refused_before_unpacking(
    kind: type[errors.VhdfastError], options: dict[str, object], packed: Path, place: Path
) -> None:
    (place / "x.vhd").write_bytes(b"precious")
    watch = Watch()
    with pytest.raises(kind):
        vhdfast.convert(packed, place / "x.vhd", monitor=watch, **options)  # type: ignore[arg-type]
    assert watch.phases == []
    assert (place / "x.vhd").read_bytes() == b"precious"


def test_the_source_is_never_the_target(packed: Path, place: Path) -> None:
    (place / "link").symlink_to(packed)
    before = packed.read_bytes()
    with pytest.raises(errors.TargetError, match="same file"):
        vhdfast.convert(packed, place / "link", force=True)
    assert packed.read_bytes() == before


def test_force_replaces_the_target(packed: Path, place: Path) -> None:
    (place / "x.vhd").write_bytes(b"old")
    vhdfast.convert(packed, place / "x.vhd", force=True)
    assert (place / "x.vhd").stat().st_size == 3 * MIB + 512


def test_a_target_that_appears_midway_is_not_replaced(packed: Path, place: Path) -> None:
    target = place / "x.vhd"
    watch = Watch("unpacking", lambda: target.write_bytes(b"theirs"))
    with pytest.raises(errors.TargetExistsError):
        vhdfast.convert(packed, target, monitor=watch)
    assert target.read_bytes() == b"theirs"
    assert names(place) == ["x.vhd"]


def test_a_source_that_changes_midway_is_an_error(packed: Path, place: Path) -> None:
    watch = Watch("unpacking", lambda: os.truncate(packed, packed.stat().st_size - 9))
    with pytest.raises(errors.SourceChangedError, match="size went"):
        vhdfast.convert(packed, place / "x.vhd", monitor=watch)
    assert names(place) == []


def test_a_corrupt_source_leaves_nothing(packed: Path, place: Path) -> None:
    damaged = bytearray(packed.read_bytes())
    damaged[-6] ^= 1
    packed.write_bytes(damaged)
    with pytest.raises(errors.CorruptImageError):
        vhdfast.convert(packed, place / "x.vhd")
    assert names(place) == []


def test_any_failure_of_a_monitor_leaves_nothing_behind(packed: Path, place: Path) -> None:
    def fail() -> None:
        raise RuntimeError("mine")

    for phase in ("unpacking", "verifying"):
        with pytest.raises(RuntimeError, match="mine"):
            vhdfast.convert(
                packed, place / "x.vhd", verify_copy=True, monitor=Watch(phase, fail)
            )
        assert names(place) == []


def test_verify_sees_a_changed_target(
    packed: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = FileOutput.seal

    def seal_and_damage(self: FileOutput) -> None:
        seal(self)
        with open(self.sealed_path, "r+b") as file:
            file.seek(100_000)
            file.write(bytes([DISK[100_000] ^ 1]))

    monkeypatch.setattr(FileOutput, "seal", seal_and_damage)
    with pytest.raises(errors.VerifyError) as caught:
        vhdfast.convert(packed, place / "x.vhd", verify_copy=True)
    assert caught.value.offset == 100_000
    assert names(place) == []


def test_a_missing_temporary_directory_is_an_error(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.WriteError, match="--temporary") as caught:
        vhdfast.open_image(packed, temporary=tmp_path / "nowhere")
    assert "No such file" in str(caught.value)


def test_a_file_that_may_not_grow_is_an_error(packed: Path, place: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 4, before[1]))
    try:
        with pytest.raises(errors.TargetTooLargeError, match="grows beyond"):
            vhdfast.convert(packed, place / "x.vhd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(place) == []


@pytest.mark.root
def test_a_file_system_that_runs_full_is_survived(
    tmp_path: Path, place: Path, as_root: None
) -> None:
    source = tmp_path / "disk.raw.gz"
    source.write_bytes(gzip.compress(os.urandom(12 * MIB), 1))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", place]).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with pytest.raises(errors.NoSpaceError, match="--temporary"):
            vhdfast.convert(source, place / "x.vhd")
        assert names(place) == []
    finally:
        subprocess.run(["umount", place], check=True)


# ---- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["gzip", "bzip2"])
def test_a_signal_while_unpacking_stops_cleanly(
    number: int, kind: str, tmp_path: Path, place: Path
) -> None:
    """gzip goes through one decoder; bzip2 in parts."""
    source = tmp_path / f"disk.raw{SUFFIXES[kind]}"
    source.write_bytes(PACKERS[kind](os.urandom(700_000)) * 8)
    command = [sys.executable, "-m", "vhdfast", "convert", "--progress=json", "--rate=16K"]
    running = subprocess.Popen(
        [*command, source, place / "x.vhd"], stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    assert json.loads(running.stderr.readline())["phase"] == "unpacking"
    running.send_signal(number)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert "Traceback" not in rest
    assert names(place) == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("disk.raw.gz", "disk.vhd"),
        ("disk.vhd.gz", "disk.vhd"),
        ("Disk.RAW.GZ", "Disk.vhd"),
        ("disk.gz", "disk.vhd"),
        ("server.v2.img.gz", "server.v2.vhd"),
    ],
)
def test_the_target_is_named_without_both_suffixes(
    source: str, target: str, packed: Path, place: Path, vhdfast_cli: Run
) -> None:
    packed.rename(place / source)
    done = vhdfast_cli("convert", "--from=raw", source, cwd=place)
    assert done.returncode == 0, done.stderr
    assert names(place) == sorted([source, target])


def test_a_directory_lists_packed_images(packed: Path, place: Path, vhdfast_cli: Run) -> None:
    for name in ("a.vhdx.xz", "b.img.zst", "notes.txt.gz", "c.raw"):
        (place / name).touch()
    done = vhdfast_cli("convert", "out")
    listed = [line.split("/")[-1] for line in done.stdout.splitlines()]
    assert listed == ["a.vhdx.xz", "b.img.zst", "c.raw"]


def test_a_dry_run_unpacks_and_leaves_nothing(
    packed: Path, place: Path, vhdfast_cli: Run
) -> None:
    done = vhdfast_cli("convert", "--dry-run", "--json", packed, "out/x.vhd")
    plan = json.loads(done.stdout)["plan"]
    assert (plan["stream"], plan["source_size"], plan["target_size"]) == (
        "gzip",
        len(DISK),
        3 * MIB,
    )
    assert names(place) == []


def test_compare_and_map_read_streams(packed: Path, tmp_path: Path, vhdfast_cli: Run) -> None:
    (tmp_path / "disk.raw").write_bytes(DISK)
    assert vhdfast_cli("compare", packed, "disk.raw").returncode == 0
    done = vhdfast_cli("map", "--json", packed)
    extents = json.loads(done.stdout)["extents"]
    assert [extent["kind"] for extent in extents] == ["data", "zero", "data"]


# ---- references ---------------------------------------------------------------------------------


def test_what_an_image_refers_to_is_looked_for_beside_the_compressed_file(
    packed: Path, tmp_path: Path
) -> None:
    with vhdfast.open_image(packed) as image:
        source = image.layer.source
        assert isinstance(source, Spool)
        assert source.directories == (str(tmp_path),)
        assert source.identity == (packed.stat().st_dev, packed.stat().st_ino)
        assert image.is_same_file(os.fspath(packed))
        os.utime(packed, ns=(1, 1))
        with pytest.raises(errors.SourceChangedError):
            image.check_unchanged()
