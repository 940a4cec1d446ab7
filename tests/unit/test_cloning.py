"""Whether blocks can be shared, tried; tests/interop/test_reflink.py is where they can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vhdfast
from tests.support import KIB, MIB, pattern
from vhdfast import _native
from vhdfast.cloning import MIN_CLONE, Cloning
from vhdfast.extents import Kind, make_rows
from vhdfast.files import FileSlice, MemorySource, Source, SourceFile


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


def test_a_file_system_that_tells_no_block_size(
    tmp_path: Path,
    source: SourceFile,
    tried: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result((0,) * 11))
    Cloning.into(str(tmp_path), [source])
    assert tried == [(0, 4096), (0, 64 * KIB)]


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


class Far(Source):
    """What comes over a network: neither a descriptor nor memory."""

    path, size = "http://host/base.raw", MIB

    def fileno(self) -> None:
        return None


def test_beside_a_source_that_comes_over_a_network(tmp_path: Path, source: SourceFile) -> None:
    """A file on top of a parent at a URL, where the file system can clone."""
    cloning = Cloning([source, Far()], [4096, 0])
    rows = make_rows([0, 64 * KIB, 128 * KIB], 64 * KIB, Kind.DATA, [0, 0, 64 * KIB])
    rows["file"] = [1, 0, 1]
    assert cloning.count(rows) == 64 * KIB
    with open(tmp_path / "target", "w+b") as target:
        cloned, rest = cloning.clone(rows, _native.Sink(target.fileno(), MIB, "target"))
    left = [0, 64 * KIB, 128 * KIB] if cloned == 0 else [0, 128 * KIB]
    assert rest["offset"].tolist() == left
    assert rest["file"].tolist() == ([1, 0, 1] if cloned == 0 else [1, 1])
