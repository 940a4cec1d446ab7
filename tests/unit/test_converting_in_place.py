"""Converting in place, against `convert` of a copy, files made by hand, and qemu-img."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vhdfast
from tests.support import KIB, MIB, SparseFile, build_gpt, pattern, peek, poke
from tests.support.build_vhd import DynamicVhd, fixed, make_footer
from tests.support.build_vhdx import write_vhdx
from tests.unit.edits.crashing import Crash, CrashingSystem
from vhdfast.converting_in_place import ConvertInPlacePlan
from vhdfast.edits import applying
from vhdfast.errors import (
    CorruptImageError,
    ImageError,
    InUseError,
    InvalidImageError,
    TargetError,
    TargetExistsError,
    TargetTooLargeError,
    UndoError,
    UnknownFormatError,
    UnprovenError,
    UnsupportedImageError,
    UsageError,
    VhdfastError,
)
from vhdfast.in_place import InPlaceResult

UUID = "01234567-89ab-cdef-0123-456789abcdef"
ODD = 2 * MIB + 12 * KIB + 100


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def disk_image(size: int = ODD) -> SparseFile:
    """A disk with an MBR, data at its start and in its last bytes."""
    image = SparseFile(size)
    image.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 2047)))
    image.put(4096, pattern(1, 5000))
    image.put(size - 700, pattern(2, 700))
    return image


def raw(folder: Path, size: int = ODD, name: str = "disk.raw") -> Path:
    return disk_image(size).write(folder / name)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a directory: its bytes and its time."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in state(folder).items()}


def refused(path: Path | str, kind: type[VhdfastError], text: str, **options: Any) -> str:
    folder = Path(path).parent
    before = state(folder)
    for act in (vhdfast.plan_conversion_in_place, vhdfast.convert_in_place):
        with pytest.raises(kind, match=text) as caught:
            act(path, **options)
        assert type(caught.value) is kind
        assert state(folder) == before
    return caught.value.hint or ""


# ---- what is done -------------------------------------------------------------------------------


def test_a_raw_disk_becomes_an_aligned_vhd(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    path = raw(tmp_path)
    copy = tmp_path / "copy"
    shutil.copy(path, copy)
    result = vhdfast.convert_in_place(path, unique_id=UUID)
    assert (result.action, result.title) == ("changed", "convert raw to fixed-vhd")
    assert (result.renamed_to, result.written) == (str(tmp_path / "disk.vhd"), 512)
    assert sorted(contents(tmp_path)) == ["copy", "disk.vhd"]
    vhd = tmp_path / "disk.vhd"
    assert vhd.stat().st_size == 3 * MIB + 512
    assert peek(vhd, 3 * MIB, 8) == b"conectix"
    assert f"virtual size: 3 MiB ({3 * MIB} bytes)" in qemu_img("info", "-f", "vpc", vhd)
    compared = qemu_img("compare", "-f", "raw", "-F", "vpc", copy, vhd)
    assert "Images are identical" in compared


def test_the_inode_and_its_blocks_stay(tmp_path: Path) -> None:
    path = raw(tmp_path)
    inode = path.stat().st_ino
    vhdfast.convert_in_place(path)
    assert (tmp_path / "disk.vhd").stat().st_ino == inode


def test_a_plan_writes_nothing_and_tells_all(tmp_path: Path) -> None:
    path = raw(tmp_path)
    before = state(tmp_path)
    plan = vhdfast.plan_conversion_in_place(path)
    assert state(tmp_path) == before
    assert isinstance(plan, ConvertInPlacePlan)
    assert (plan.path, plan.new_path) == (str(path), str(tmp_path / "disk.vhd"))
    assert (plan.source_format, plan.target_format) == ("raw", "fixed-vhd")
    assert (plan.source_size, plan.target_size) == (ODD, 3 * MIB)
    assert (plan.old_file_size, plan.file_size) == (ODD, 3 * MIB + 512)
    assert [(step.offset, step.length, step.what) for step in plan.steps] == [
        (3 * MIB, 512, "footer")
    ]
    assert not plan.restores and not plan.gpt_moved


@pytest.mark.parametrize("size", [MIB, 3 * MIB])
def test_an_aligned_size_stays(size: int, tmp_path: Path) -> None:
    vhdfast.convert_in_place(raw(tmp_path, size))
    assert (tmp_path / "disk.vhd").stat().st_size == size + 512


def test_the_options_of_the_size(tmp_path: Path) -> None:
    vhdfast.convert_in_place(raw(tmp_path), size=5 * MIB - 1, align=512 * KIB)
    assert (tmp_path / "disk.vhd").stat().st_size == 5 * MIB + 512
    vhdfast.convert_in_place(raw(tmp_path, name="other.raw"), align=512)
    assert (tmp_path / "other.vhd").stat().st_size == ODD + 412 + 512


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("disk.img", "disk.vhd"),
        ("disk.raw", "disk.vhd"),
        ("disk", "disk.vhd"),
        ("debian-12.5", "debian-12.5.vhd"),
        ("server.qcow2.raw", "server.qcow2.vhd"),
        ("disk.VHD", "disk.VHD"),
        ("disk.vhd", "disk.vhd"),
    ],
)
def test_the_name_that_it_gets(old: str, new: str, tmp_path: Path) -> None:
    vhdfast.convert_in_place(raw(tmp_path, name=old))
    assert list(contents(tmp_path)) == [new]


def test_keep_name(tmp_path: Path) -> None:
    result = vhdfast.convert_in_place(raw(tmp_path), keep_name=True)
    assert result.renamed_to is None
    assert list(contents(tmp_path)) == ["disk.raw"]
    assert (tmp_path / "disk.raw").stat().st_size == 3 * MIB + 512


class Counting(applying.System):
    """Counts what is written, and where."""

    writes: list[tuple[int, int]]

    def __init__(self) -> None:
        Counting.writes = []

    def write(self, fd: int, data: bytes, offset: int) -> None:
        Counting.writes.append((offset, len(data)))
        super().write(fd, data, offset)


@pytest.mark.parametrize("size", [1 << 20, 8 << 40])
def test_the_work_does_not_depend_on_the_size(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.raw"
    SparseFile(size).write(path)
    monkeypatch.setattr(applying, "System", Counting)
    result = vhdfast.convert_in_place(path, from_format="raw")
    assert result.written == 512
    # The undo file, its state, the footer; its bytes but for the digits of sizes are the same.
    assert [offset for offset, _ in Counting.writes] == [0, 511, size]
    assert sum(length for _, length in Counting.writes) < 4096
    assert (tmp_path / "disk.vhd").stat().st_blocks * 512 <= 16 * KIB


def test_a_notice_of_the_gpt_that_stays_behind(tmp_path: Path) -> None:
    path = gpt(tmp_path)
    assert [one.code for one in vhdfast.plan_conversion_in_place(path).notices] == ["gpt-backup"]
    plan = vhdfast.plan_conversion_in_place(path, relocate_gpt=True)
    assert plan.notices == () and plan.gpt_moved


# ---- the same as convert ------------------------------------------------------------------------


def gpt(folder: Path, sectors: int = 5 * 2048 + 24, sector: int = 512) -> Path:
    made = build_gpt.Gpt(sectors=sectors, sector=sector)
    made.add(1, 256, sectors - 2 - made.array_sectors, "root")
    disk = made.build()
    disk.put(256 * sector, pattern(1, 100_000))
    return disk.write(folder / "disk.raw")


def check_equal(path: Path, from_format: str | None = None, **options: Any) -> None:
    """convert of a copy and a conversion in place write the same bytes."""
    copy = path.parent / "copy.vhd"
    to = options.get("to", "fixed-vhd")
    vhdfast.convert(path, copy, from_format=from_format, unique_id=UUID, **options)
    result = vhdfast.convert_in_place(path, from_format=from_format, unique_id=UUID, **options)
    made = Path(result.renamed_to or path)
    assert made.suffix == (".vhd" if to == "fixed-vhd" else ".raw")
    assert made.read_bytes() == copy.read_bytes()


def test_with_a_moved_gpt(tmp_path: Path) -> None:
    check_equal(gpt(tmp_path), relocate_gpt=True)


def test_with_a_gpt_in_a_vhd_that_grows(tmp_path: Path) -> None:
    path = gpt(tmp_path)
    image = SparseFile(path.stat().st_size)
    image.put(0, path.read_bytes())
    check_equal(fixed(image).write(tmp_path / "disk.vhd"), relocate_gpt=True, size=8 * MIB)


def test_a_table_for_4096_byte_sectors(tmp_path: Path) -> None:
    path = gpt(tmp_path, sectors=2000, sector=4096)
    hint = refused(path, UnsupportedImageError, "4096-byte sectors")
    assert "--allow-4kn" in hint
    check_equal(path, allow_4kn=True, relocate_gpt=True)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_disk_is_what_convert_makes_of_it(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 3 * MIB), "size")
    at = data.draw(st.integers(0, size - 1), "data at")
    image = SparseFile(size)
    image.put(at, pattern(data.draw(st.integers(0, 9)), min(3000, size - at)))
    options: dict[str, Any] = {"align": data.draw(st.sampled_from([None, 512, 4096, MIB]))}
    if data.draw(st.booleans(), "larger"):
        options["size"] = size + data.draw(st.integers(0, MIB))
    kind = data.draw(st.sampled_from(["raw", "vhd"]), "kind")
    options["to"] = data.draw(st.sampled_from(["fixed-vhd", "raw"]), "to")
    before = image.get(0, size)
    if kind == "vhd":
        gap = data.draw(st.sampled_from([0, 512, 5000]), "zeros before the footer")
        image = SparseFile(size + gap)
        image.put(0, before)
        image = fixed(image, current_size=size)
        if data.draw(st.booleans(), "511 bytes"):
            last = image.get(image.size - 512, 512)
            image.cut(image.size - 1)
            assert last[-1] == 0
    with tempfile.TemporaryDirectory() as folder:
        path = image.write(Path(folder) / f"disk.{'raw' if options['to'] == 'raw' else 'vhd'}")
        inode = path.stat().st_ino
        check_equal(path, from_format=kind, **options)
        assert path.stat().st_ino == inode
        assert path.read_bytes()[:size] == before
        assert not [name for name in os.listdir(folder) if "undo" in name]


# ---- VHDs ---------------------------------------------------------------------------------------


def test_a_vhd_whose_size_is_not_aligned(tmp_path: Path) -> None:
    path = fixed(disk_image(), unique_id=bytes(range(16))).write(tmp_path / "disk.vhd")
    vhdfast.convert_in_place(path)
    data = path.read_bytes()
    assert len(data) == 3 * MIB + 512
    assert data[ODD : 3 * MIB] == bytes(3 * MIB - ODD), "the old footer is gone"
    assert data[3 * MIB + 68 : 3 * MIB + 84] == bytes(range(16)), "its unique id stays"


def test_zeros_between_disk_and_footer_and_behind_it_go(tmp_path: Path) -> None:
    image = SparseFile(4 * MIB + 512)
    image.put(0, disk_image(2 * MIB).get(0, 2 * MIB))
    image = fixed(image, current_size=2 * MIB)
    image.cut(image.size + 4096)
    path = image.write(tmp_path / "disk.vhd")
    vhdfast.convert_in_place(path, from_format="vhd")
    assert path.stat().st_size == 2 * MIB + 512
    assert peek(path, 2 * MIB + 48, 8) == (2 * MIB).to_bytes(8, "big")


def test_a_valid_vhd_under_a_raw_name_is_renamed_alone(tmp_path: Path) -> None:
    path = fixed(disk_image(2 * MIB)).write(tmp_path / "disk.raw")
    before = path.read_bytes()
    time = path.stat().st_mtime_ns
    result = vhdfast.convert_in_place(path, keep_undo=True)
    assert (result.action, result.steps, result.undo_file) == ("changed", (), None)
    assert contents(tmp_path) == {"disk.vhd": before}
    assert (tmp_path / "disk.vhd").stat().st_mtime_ns == time


def test_a_valid_vhd_stays_as_it_is(tmp_path: Path) -> None:
    fixed(disk_image(2 * MIB)).write(tmp_path / "disk.vhd")
    before = state(tmp_path)
    assert vhdfast.convert_in_place(tmp_path / "disk.vhd").action == "unchanged"
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "field",
    [
        {"geometry": (100, 4, 17)}, {"saved_state": 1}, {"features": 3}, {"unique_id": bytes(16)},
        {"data_offset": 512}, {"version": 0x00010001},
    ],
)  # fmt: skip
def test_a_footer_that_is_not_as_it_should_be_is_written_anew(
    field: dict[str, Any], tmp_path: Path
) -> None:
    path = fixed(disk_image(2 * MIB), **field).write(tmp_path / "disk.vhd")
    result = vhdfast.convert_in_place(path)
    assert [(step.offset, step.what) for step in result.steps] == [(2 * MIB, "footer")]
    assert vhdfast.convert_in_place(path).action == "unchanged"


def test_another_unique_id(tmp_path: Path) -> None:
    path = fixed(disk_image(2 * MIB)).write(tmp_path / "disk.vhd")
    assert vhdfast.convert_in_place(path, unique_id=UUID).action == "changed"
    assert peek(path, 2 * MIB + 68, 16).hex() == UUID.replace("-", "")
    assert vhdfast.convert_in_place(path, unique_id=UUID).action == "unchanged"


def test_a_nested_vhd_is_data_where_raw_is_said(tmp_path: Path) -> None:
    path = fixed(disk_image(2 * MIB)).write(tmp_path / "disk.raw")
    before = path.read_bytes()
    assert vhdfast.plan_conversion_in_place(path).source_format == "vhd"
    plan = vhdfast.plan_conversion_in_place(path, from_format="raw")
    assert [one.code for one in plan.notices] == ["nested-footer"]
    check_equal(path, from_format="raw")
    assert peek(tmp_path / "disk.vhd", 0, len(before)) == before
    assert (tmp_path / "disk.vhd").stat().st_size == 3 * MIB + 512


# ---- back to raw --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["disk.img", "disk", "disk.vhd"])
def test_with_its_undo_file_the_raw_disk_comes_back(name: str, tmp_path: Path) -> None:
    raw(tmp_path, name=name)
    before = contents(tmp_path)
    result = vhdfast.convert_in_place(tmp_path / name, keep_undo=True)
    made = Path(result.renamed_to or tmp_path / name)
    assert result.undo_file == str(tmp_path / f".{made.name}.vhdfast-undo")
    plan = vhdfast.plan_conversion_in_place(made, to="raw")
    assert (plan.restores, plan.target_size, plan.file_size) == (True, ODD, ODD)
    assert plan.new_path == str(tmp_path / name)
    assert vhdfast.convert_in_place(made, to="raw").action == "undone"
    assert contents(tmp_path) == before


def test_without_an_undo_file_the_aligned_disk_is_left(tmp_path: Path) -> None:
    before = raw(tmp_path).read_bytes()
    vhdfast.convert_in_place(tmp_path / "disk.raw")
    plan = vhdfast.plan_conversion_in_place(tmp_path / "disk.vhd", to="raw")
    assert (plan.restores, plan.target_size) == (False, 3 * MIB)
    vhdfast.convert_in_place(tmp_path / "disk.vhd", to="raw")
    assert contents(tmp_path) == {"disk.raw": before.ljust(3 * MIB, b"\0")}


def test_what_the_guest_wrote_meanwhile_stays(tmp_path: Path) -> None:
    raw(tmp_path)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    poke(tmp_path / "disk.vhd", 1000, b"guest")
    vhdfast.convert_in_place(tmp_path / "disk.vhd", to="raw")
    assert (tmp_path / "disk.raw").stat().st_size == ODD
    assert peek(tmp_path / "disk.raw", 1000, 5) == b"guest"


def test_what_the_guest_wrote_behind_the_old_end_is_not_cut_off(tmp_path: Path) -> None:
    raw(tmp_path)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    poke(tmp_path / "disk.vhd", ODD + 5000, b"guest")
    refused(tmp_path / "disk.vhd", UndoError, "something else wrote", to="raw")


def with_partition(path: Path, end: int) -> None:
    """One that takes all from 512 bytes on, as the last one of most disks does."""
    poke(path, 0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, end // 512 - 1)))


def written_to_later(path: Path) -> None:
    """As a machine leaves it that used the disk, after the conversion by the clock too."""
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def test_a_partition_that_reaches_to_the_end_of_the_raw_disk_is_none_that_grew(
    tmp_path: Path,
) -> None:
    size = 2 * MIB + 12 * KIB
    with_partition(raw(tmp_path, size), size)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    written_to_later(tmp_path / "disk.vhd")
    vhdfast.convert_in_place(tmp_path / "disk.vhd", to="raw")
    assert (tmp_path / "disk.raw").stat().st_size == size


def test_a_partition_that_the_guest_enlarged_keeps_its_end(tmp_path: Path) -> None:
    size = 2 * MIB + 12 * KIB
    with_partition(raw(tmp_path, size), size)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    with_partition(tmp_path / "disk.vhd", size + 512)
    written_to_later(tmp_path / "disk.vhd")
    refused(tmp_path / "disk.vhd", UnprovenError, "enlarged since", to="raw")


def test_another_footer_is_not_taken_back(tmp_path: Path) -> None:
    raw(tmp_path)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    poke(tmp_path / "disk.vhd", 3 * MIB + 100, b"another tool")
    refused(tmp_path / "disk.vhd", UndoError, "holds neither", to="raw")


def test_with_an_undo_file_other_sizes_are_refused(tmp_path: Path) -> None:
    raw(tmp_path)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    vhd = tmp_path / "disk.vhd"
    for options in ({"size": 8 * MIB}, {"align": MIB}, {"keep_name": True}):
        hint = refused(vhd, UsageError, "the undo file gives", to="raw", **options)
        assert "remove the undo file" in hint


def test_the_old_name_is_not_taken_from_another_file(tmp_path: Path) -> None:
    raw(tmp_path)
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    (tmp_path / "disk.raw").write_bytes(b"mine")
    refused(tmp_path / "disk.vhd", TargetExistsError, "taken", to="raw")
    vhdfast.convert_in_place(tmp_path / "disk.vhd", to="raw", force=True)
    assert (tmp_path / "disk.raw").stat().st_size == ODD


@pytest.mark.parametrize(
    "undo", [lambda path: vhdfast.convert_in_place(path, to="raw"), vhdfast.undo]
)
def test_a_third_name_that_it_got_meanwhile_stays_and_is_told(
    undo: Callable[[Path], InPlaceResult], tmp_path: Path
) -> None:
    before = raw(tmp_path).read_bytes()
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    os.rename(tmp_path / "disk.vhd", tmp_path / "web.vhd")
    os.rename(tmp_path / ".disk.vhd.vhdfast-undo", tmp_path / ".web.vhd.vhdfast-undo")
    (tmp_path / "disk.raw").write_bytes(b"another disk")
    plan = vhdfast.plan_conversion_in_place(tmp_path / "web.vhd", to="raw")
    assert (plan.restores, plan.new_path) == (True, str(tmp_path / "web.vhd"))
    assert undo(tmp_path / "web.vhd").renamed_to is None
    assert contents(tmp_path) == {"web.vhd": before, "disk.raw": b"another disk"}


def test_the_undoing_of_repair_gives_the_name_back_too(tmp_path: Path) -> None:
    before = raw(tmp_path).read_bytes()
    vhdfast.convert_in_place(tmp_path / "disk.raw", keep_undo=True)
    result = vhdfast.undo(tmp_path / "disk.vhd")
    assert result.renamed_to == str(tmp_path / "disk.raw")
    assert contents(tmp_path) == {"disk.raw": before}


def test_undo_files_on_top_of_each_other(tmp_path: Path) -> None:
    path = raw(tmp_path)
    before = contents(tmp_path)
    vhdfast.resize(path, align=512)
    vhdfast.convert_in_place(path, keep_undo=True)
    vhd = tmp_path / "disk.vhd"
    vhdfast.resize(vhd, 4 * MIB)
    assert not vhdfast.plan_conversion_in_place(vhd, to="raw").restores
    vhdfast.undo(vhd)
    vhdfast.convert_in_place(vhd, to="raw")
    vhdfast.undo(path)
    assert contents(tmp_path) == before


# ---- crashes ------------------------------------------------------------------------------------


def crashing(monkeypatch: pytest.MonkeyPatch, at: int | None, seed: int = 0) -> CrashingSystem:
    system = CrashingSystem(at, random.Random(seed))
    monkeypatch.setattr(applying, "System", lambda: system)
    return system


def fresh(folder: Path, image: Callable[[], SparseFile], name: str) -> Path:
    for left in folder.iterdir():
        left.unlink()
    return image().write(folder / name)


SMALL = 64 * KIB + 100
CASES: dict[str, tuple[Callable[[], SparseFile], str, dict[str, Any]]] = {
    "raw": (lambda: disk_image(SMALL), "disk.raw", {"align": 128 * KIB}),
    "raw kept": (lambda: disk_image(SMALL), "disk.raw", {"align": 128 * KIB, "keep_undo": True}),
    "vhd": (lambda: fixed(disk_image(SMALL)), "disk.img", {"align": 128 * KIB}),
    "vhd to raw": (lambda: fixed(disk_image(SMALL)), "disk.vhd", {"to": "raw", "align": 4096}),
    "rename alone": (lambda: fixed(disk_image(MIB)), "disk.raw", {"unique_id": None}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_command_again_completes_what_crashed_anywhere(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, name, options = CASES[case]
    options = {"unique_id": UUID, **options}
    path = fresh(tmp_path, image, name)
    before = contents(tmp_path)
    counting = crashing(monkeypatch, None)
    vhdfast.convert_in_place(path, **options)
    after = contents(tmp_path)
    assert before != after
    ends = set()
    for at in range(counting.steps):
        for seed in range(2):
            fresh(tmp_path, image, name)
            crashing(monkeypatch, at, seed)
            with pytest.raises(Crash):
                vhdfast.convert_in_place(path, **options)
            crashing(monkeypatch, None)
            try:
                ends.add(vhdfast.convert_in_place(path, **options).action)
            except ImageError:
                # All of it was done, and its name is the new one.
                assert not path.exists()
                ends.add("gone")
            now = contents(tmp_path)
            kept = {key for key in after if "undo" in key}
            assert {k: v for k, v in now.items() if k not in kept} == {
                k: v for k, v in after.items() if k not in kept
            }
            assert kept <= set(now)
    assert "changed" in ends
    assert ("completed" in ends) != (case == "rename alone")


def test_a_conversion_that_crashed_is_taken_back_by_to_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, name, options = CASES["raw"]
    path = fresh(tmp_path, image, name)
    before = contents(tmp_path)
    counting = crashing(monkeypatch, None)
    vhdfast.convert_in_place(path, **options)
    undone = 0
    for at in range(counting.steps):
        fresh(tmp_path, image, name)
        crashing(monkeypatch, at, at)
        with contextlib.suppress(Crash):
            vhdfast.convert_in_place(path, **options)
        crashing(monkeypatch, None)
        for one in (path, tmp_path / "disk.vhd"):
            with contextlib.suppress(ImageError):
                if vhdfast.convert_in_place(one, to="raw").action == "undone":
                    undone += 1
                    assert contents(tmp_path) == before
                break
    assert undone > 3


def test_a_crash_while_the_raw_disk_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, name, options = CASES["raw kept"]
    path = fresh(tmp_path, image, name)
    before, vhd = contents(tmp_path), tmp_path / "disk.vhd"
    vhdfast.convert_in_place(path, **options)
    counting = crashing(monkeypatch, None)
    vhdfast.convert_in_place(vhd, to="raw")
    for at in range(counting.steps):
        fresh(tmp_path, image, name)
        crashing(monkeypatch, None)
        vhdfast.convert_in_place(path, **options)
        crashing(monkeypatch, at, at)
        with pytest.raises(Crash):
            vhdfast.convert_in_place(vhd, to="raw")
        crashing(monkeypatch, None)
        if vhd.exists() or ".disk.vhd.vhdfast-undo" in contents(tmp_path):
            vhdfast.convert_in_place(vhd, to="raw")
        assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["disk.img", "disk", "d\udcff\n.raw"])
@pytest.mark.parametrize("to", ["fixed-vhd", "raw"])
def test_a_crash_just_behind_the_rename_is_found_by_the_new_name(
    to: str, name: str, tmp_path: Path
) -> None:
    before = raw(tmp_path, name=name).read_bytes()
    made = vhdfast.convert_in_place(tmp_path / name, keep_undo=True)
    vhd = Path(made.renamed_to or "")
    undo_file = Path(made.undo_file or "")
    poke(undo_file, 511, b"P")
    undo_file.rename(tmp_path / f".{name}.vhdfast-undo")
    (tmp_path / ".other.vhdfast-undo").write_bytes(b"of a file that is not there")
    after = contents(tmp_path)[vhd.name]
    result = vhdfast.convert_in_place(vhd, to=to)
    (tmp_path / ".other.vhdfast-undo").unlink()
    if to == "raw":
        assert (result.action, result.renamed_to) == ("undone", str(tmp_path / name))
        assert contents(tmp_path) == {name: before}
    else:
        assert (result.action, result.renamed_to) == ("completed", None)
        assert contents(tmp_path) == {vhd.name: after}


def test_a_damaged_undo_file_of_a_name_that_it_may_have_had_is_not_in_the_way(
    tmp_path: Path,
) -> None:
    path = fixed(disk_image(MIB)).write(tmp_path / "disk.vhd")
    (tmp_path / ".disk.img.vhdfast-undo").write_bytes(b"x" * 1024)
    assert vhdfast.convert_in_place(path).action == "unchanged"


def interrupted(path: Path, monkeypatch: pytest.MonkeyPatch, at: int = 5) -> None:
    crashing(monkeypatch, at)
    with pytest.raises(Crash):
        vhdfast.convert_in_place(path, align=128 * KIB)
    monkeypatch.undo()


def test_what_was_interrupted_is_told_by_the_plan_and_by_other_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raw(tmp_path, SMALL)
    interrupted(path, monkeypatch)
    with pytest.raises(UndoError, match="convert raw to fixed-vhd.* was interrupted") as caught:
        vhdfast.plan_conversion_in_place(path)
    assert "convert --in-place" in (caught.value.hint or "")
    with pytest.raises(UndoError, match="was interrupted"):
        vhdfast.plan_resize(path, MIB)
    result = vhdfast.resize(path, MIB)
    assert (result.action, result.renamed_to) == ("completed", str(tmp_path / "disk.vhd"))


def test_another_change_that_was_interrupted_is_completed_and_its_undo_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raw(tmp_path, SMALL)
    crashing(monkeypatch, 5)
    with pytest.raises(Crash):
        vhdfast.resize(path, MIB)
    monkeypatch.undo()
    result = vhdfast.convert_in_place(path)
    assert (result.action, result.title) == ("completed", "resize")
    assert sorted(contents(tmp_path)) == [".disk.raw.vhdfast-undo", "disk.raw"]
    assert vhdfast.convert_in_place(path).action == "changed"


# ---- what is refused ----------------------------------------------------------------------------


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    path = raw(tmp_path)
    (tmp_path / "disk.vhd").write_bytes(b"mine")
    hint = refused(path, TargetExistsError, "taken")
    assert "--force" in hint and "--keep-name" in hint
    vhdfast.convert_in_place(path, force=True)
    assert (tmp_path / "disk.vhd").stat().st_size == 3 * MIB + 512


def test_a_link_that_has_the_name_is_not_replaced(tmp_path: Path) -> None:
    path = raw(tmp_path)
    (tmp_path / "disk.vhd").symlink_to("elsewhere")
    refused(path, TargetExistsError, "taken")
    refused(path, TargetError, "no file", force=True)


def test_a_name_that_would_be_too_long(tmp_path: Path) -> None:
    hint = refused(raw(tmp_path, name="d" * 253), TargetError, "too long")
    assert "--keep-name" in hint


def test_a_file_with_several_names(tmp_path: Path) -> None:
    path = raw(tmp_path)
    os.link(path, tmp_path / "other")
    assert "vhdfast convert" in refused(path, TargetError, "2 names")
    refused(path, TargetError, "2 names", force=True, keep_name=True)


def test_a_symbolic_link(tmp_path: Path) -> None:
    path = raw(tmp_path)
    link = tmp_path / "link.raw"
    link.symlink_to("disk.raw")
    assert str(path) in refused(link, TargetError, "symbolic link")
    vhdfast.convert_in_place(link, keep_name=True)
    assert link.is_symlink() and path.stat().st_size == 3 * MIB + 512


def test_a_file_in_use(tmp_path: Path) -> None:
    path = raw(tmp_path)
    before = state(tmp_path)
    with open(path, "r+b"), pytest.raises(InUseError):
        vhdfast.convert_in_place(path)
    assert state(tmp_path) == before


def test_a_snapshot_beside_it(tmp_path: Path) -> None:
    path = fixed(disk_image()).write(tmp_path / "disk.vhd")
    (tmp_path / "disk_01234567-89AB-CDEF-0123-456789ABCDEF.avhd").write_bytes(b"child")
    refused(path, UnprovenError, "snapshot")
    refused(path, UnprovenError, "snapshot", to="raw")


def test_other_formats(tmp_path: Path) -> None:
    vhdx = tmp_path / "disk.vhdx"
    write_vhdx(vhdx, virtual_size=3 * MIB, blocks={})
    assert "vhdfast convert" in refused(vhdx, UnsupportedImageError, "a vhdx file")
    assert "vhdfast convert" in refused(vhdx, UnsupportedImageError, "a vhdx", from_format="vhdx")
    dynamic = DynamicVhd(4 * MIB)
    dynamic.store(0, pattern(1, 2 * MIB))
    path = dynamic.build().write(tmp_path / "dynamic.vhd")
    assert "vhdfast convert" in refused(path, UnsupportedImageError, "a dynamic VHD")


def test_a_compressed_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(gzip.compress(disk_image().get(0, ODD)))
    for name in (None, "raw"):
        hint = refused(path, UnsupportedImageError, "a gzip file", from_format=name)
        assert "vhdfast convert" in hint


def test_a_tar_with_a_disk(tmp_path: Path) -> None:
    import tarfile

    path = raw(tmp_path)
    with tarfile.open(tmp_path / "disk.ova", "w") as archive:
        archive.add(path, "disk.raw")
    refused(tmp_path / "disk.ova", UnsupportedImageError, "converted in place")


def test_a_url() -> None:
    for act in (vhdfast.plan_conversion_in_place, vhdfast.convert_in_place):
        with pytest.raises(UsageError, match="only files") as caught:
            act("https://host.invalid/disk.raw")
        assert "vhdfast convert" in (caught.value.hint or "")


def test_what_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"hello\n")
    refused(tmp_path / "text", UnknownFormatError, "nothing speaks for a raw disk")
    (tmp_path / "empty.raw").write_bytes(b"")
    refused(tmp_path / "empty.raw", InvalidImageError, "empty")
    refused(tmp_path / "missing.raw", ImageError, "No such file")
    (tmp_path / "folder.raw").mkdir()
    refused(tmp_path / "folder.raw", ImageError, "directory")


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    path = raw(tmp_path)
    refused(path, UsageError, "smaller than the disk", size=MIB)
    refused(path, UsageError, "alignment", align=100)
    refused(path, TargetTooLargeError, "at most", size=32768 << 30)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = raw(tmp_path)
    assert "dynamic-vhd" in refused(path, UsageError, "takes a copy", to="dynamic-vhd")
    refused(path, UsageError, "unknown output", to="qcow2")
    refused(path, UsageError, "unknown format", from_format="tape")
    refused(path, UsageError, "UUID", unique_id="x")
    refused(path, CorruptImageError, "no VHD footer", from_format="vhd")


@pytest.mark.parametrize("where", ["before", "behind"])
def test_bytes_around_the_footer_of_a_vhd_are_not_lost(where: str, tmp_path: Path) -> None:
    image = SparseFile(4 * MIB)
    image.put(0, disk_image(2 * MIB).get(0, 2 * MIB))
    if where == "before":
        image.put(3 * MIB, b"data")
    image = fixed(image, current_size=2 * MIB)
    if where == "behind":
        image.append(bytes(512) + b"data" + bytes(508))
    path = image.write(tmp_path / "disk.vhd")
    hint = refused(path, UnprovenError, "would be lost", from_format="vhd")
    assert "vhdfast convert" in hint


def test_a_vhd_that_lacks_its_end(tmp_path: Path) -> None:
    path = fixed(disk_image(2 * MIB), current_size=3 * MIB).write(tmp_path / "disk.vhd")
    refused(path, UnprovenError, "what is missing cannot be known")


def test_a_damaged_footer(tmp_path: Path) -> None:
    image = disk_image(2 * MIB)
    footer = bytearray(make_footer(5 * MIB))
    footer[64] ^= 0xFF
    image.append(bytes(footer))
    refused(image.write(tmp_path / "disk.vhd"), CorruptImageError, "checksum")


def test_a_directory_that_may_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raw(tmp_path)
    real = os.access
    monkeypatch.setattr(os, "access", lambda name, mode: name != str(tmp_path) and real(name, mode))
    assert "vhdfast convert" in refused(path, TargetError, "may not write to its directory")
