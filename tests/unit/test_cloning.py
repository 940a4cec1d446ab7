"""Whether blocks can be shared, tried; tests/interop/test_reflink.py is where they can."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhdfast
from tests.support import MIB, pattern
from vhdfast import _native
from vhdfast.cloning import MIN_CLONE, Cloning
from vhdfast.extents import Kind, make_rows
from vhdfast.files import FileSlice, MemorySource, SourceFile


@pytest.fixture
def source(tmp_path: Path) -> SourceFile:
    (tmp_path / "source").write_bytes(pattern(1, MIB))
    return SourceFile(tmp_path / "source")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(file offset, length) of all clones that were tried; clones of less than 64 KiB fail."""
    calls = []

    def clone_rows(table, rows, sink, minimum):  # type: ignore[no-untyped-def]
        length = int(rows[0]["length"])
        calls.append((int(rows[0]["file_offset"]), length))
        return (length, rows[:0]) if length >= 64 * 1024 else (0, rows)

    monkeypatch.setattr(_native, "clone_rows", clone_rows)
    return calls


def test_coarser_alignments_are_tried_in_turn(
    tmp_path: Path, source: SourceFile, tried: list[tuple[int, int]]
) -> None:
    cloning = Cloning.into(str(tmp_path), [source])
    assert cloning is not None
    assert cloning.blocks == (64 * 1024,)
    assert tried == [(0, 4096), (0, 64 * 1024)]


def test_a_slice_is_tried_at_a_block_of_its_file(
    tmp_path: Path, source: SourceFile, tried: list[tuple[int, int]]
) -> None:
    part = FileSlice(source, 512, MIB - 512, "slice")
    cloning = Cloning.into(str(tmp_path), [part, MemorySource(bytes(MIB), "memory")])
    assert cloning is not None
    assert cloning.blocks == (64 * 1024, 0)
    assert tried == [(3584, 4096), (64 * 1024 - 512, 64 * 1024)]


def test_a_source_shorter_than_a_block_is_not_tried(
    tmp_path: Path, tried: list[tuple[int, int]]
) -> None:
    (tmp_path / "short").write_bytes(bytes(4095))
    assert Cloning.into(str(tmp_path), [SourceFile(tmp_path / "short")]) is None
    assert tried == []


def test_memory_alone_needs_no_file(tried: list[tuple[int, int]]) -> None:
    assert Cloning.into("/nonexistent", [MemorySource(bytes(MIB), "memory")]) is None


def test_a_directory_without_room_for_a_trial(source: SourceFile) -> None:
    assert Cloning.into("/nonexistent", [source]) is None
    assert Cloning.into("/proc", [source]) is None


def test_a_trial_leaves_nothing_behind(tmp_path: Path, source: SourceFile) -> None:
    Cloning.into(str(tmp_path), [source])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_only_what_is_long_and_aligned_counts(source: SourceFile) -> None:
    cloning = Cloning([source], [4096])
    assert cloning.count(make_rows([0], [MIN_CLONE], Kind.DATA, 4096)) == MIN_CLONE
    assert cloning.count(make_rows([0], [MIN_CLONE - 512], Kind.DATA, 4096)) == 0
    assert cloning.count(make_rows([0], [MIN_CLONE], Kind.DATA, 512)) == 0
    assert cloning.count(make_rows([512], [2 * MIN_CLONE], Kind.DATA, 512)) == 2 * MIN_CLONE - 4096
    assert cloning.count(make_rows([0], [MIN_CLONE], Kind.ZERO)) == 0
    assert Cloning([source], [0]).count(make_rows([0], [MIN_CLONE], Kind.DATA, 0)) == 0


def test_what_a_trial_promised_and_the_copy_refuses_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map of a plan says what can be cloned; the file system has the last word."""
    path = tmp_path / "disk.raw"
    path.write_bytes(pattern(2, 3 * MIB + 512))
    refused = lambda table, rows, sink, minimum: (0, rows)  # noqa: E731
    monkeypatch.setattr(_native, "clone_rows", refused)
    monkeypatch.setattr(Cloning, "into", lambda directory, sources: Cloning(sources, [4096]))
    result = vhdfast.convert(path, tmp_path / "out.raw", to="raw")
    assert (result.plan.cloneable, result.cloned) == (3 * MIB, 0)
    assert (tmp_path / "out.raw").read_bytes() == path.read_bytes()
