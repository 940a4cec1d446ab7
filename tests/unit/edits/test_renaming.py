"""A change that gives the file another name, crashing anywhere."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

from tests.support import pattern
from vhdfast import edits
from vhdfast.edits import Change, Stage, System, Write
from vhdfast.errors import TargetError, TargetExistsError, UndoError, WriteError

from .crashing import Crash, CrashingSystem
from .test_crashes import OLD, identity

NEW = OLD + pattern(3, 512)
STAGES = (Stage((Write(len(OLD), pattern(3, 512), "footer"),)),)


def make(folder: Path, replace: bool = False) -> Change:
    for left in folder.iterdir():
        left.unlink()
    path = folder / "disk.raw"
    path.write_bytes(OLD)
    return Change(str(path), "test", STAGES, identity(path), "disk.vhd", replace)


def files(folder: Path) -> dict[str, bytes]:
    """{name: content} of all but undo files."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if "undo" not in path.name}


def undo_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "undo" in path.name)


def under_way(folder: Path) -> Path | None:
    """The name, of the two that the user may say, under which a change is found."""
    for name in ("disk.raw", "disk.vhd"):
        with contextlib.suppress(Exception):
            if edits.interrupted(folder / name) is not None:
                return folder / name
    return None


@pytest.mark.parametrize("keep", [True, False])
def test_the_name_changes_with_the_bytes_and_back(keep: bool, tmp_path: Path) -> None:
    kept = edits.apply(make(tmp_path), keep=keep)
    assert files(tmp_path) == {"disk.vhd": NEW}
    assert kept == (str(tmp_path / ".disk.vhd.vhdfast-undo") if keep else None)
    assert undo_files(tmp_path) == ([".disk.vhd.vhdfast-undo"] if keep else [])
    if keep:
        assert edits.undo(tmp_path / "disk.vhd").names == ("disk.raw", "disk.vhd")
        assert files(tmp_path) == {"disk.raw": OLD}
        assert undo_files(tmp_path) == []


@pytest.mark.parametrize("recovery", ["complete", "undo"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_crash_before_every_step(keep: bool, recovery: str, tmp_path: Path) -> None:
    counting = CrashingSystem(None, random.Random(0))
    edits.apply(make(tmp_path), keep=keep, system=counting)
    begun, renamed = 0, 0
    for at in range(counting.steps):
        for seed in range(2):
            change = make(tmp_path)
            with contextlib.suppress(Crash):
                edits.apply(change, keep=keep, system=CrashingSystem(at, random.Random(seed)))
            path = under_way(tmp_path)
            if path is None:
                assert files(tmp_path) in ({"disk.raw": OLD}, {"disk.vhd": NEW})
                continue
            begun += 1
            renamed += (tmp_path / "disk.vhd").exists()
            if recovery == "complete":
                edits.complete(path, keep=keep)
                assert files(tmp_path) == {"disk.vhd": NEW}
                assert undo_files(tmp_path) == ([".disk.vhd.vhdfast-undo"] if keep else [])
            else:
                edits.undo(path)
                assert files(tmp_path) == {"disk.raw": OLD}
                assert undo_files(tmp_path) == []
            assert under_way(tmp_path) is None
    assert begun > 8 and renamed > 2


@pytest.mark.parametrize("recovery", ["complete", "undo"])
def test_a_crash_before_every_step_of_undoing(recovery: str, tmp_path: Path) -> None:
    edits.apply(make(tmp_path))
    counting = CrashingSystem(None, random.Random(0))
    edits.undo(tmp_path / "disk.vhd", system=counting)
    begun = 0
    for at in range(counting.steps):
        for seed in range(2):
            edits.apply(make(tmp_path))
            with contextlib.suppress(Crash):
                edits.undo(tmp_path / "disk.vhd", system=CrashingSystem(at, random.Random(seed)))
            path = under_way(tmp_path)
            if path is not None:
                begun += 1
                (edits.complete if recovery == "complete" else edits.undo)(path)
                assert files(tmp_path) == {"disk.raw": OLD}
                assert undo_files(tmp_path) == []
            else:
                assert files(tmp_path) in ({"disk.raw": OLD}, {"disk.vhd": NEW})
    assert begun > 8


def test_crashes_while_recovering_too(tmp_path: Path) -> None:
    for seed in range(40):
        chance = random.Random(seed)
        with contextlib.suppress(Crash):
            edits.apply(
                make(tmp_path), keep=True, system=CrashingSystem(chance.randrange(12), chance)
            )
        for _ in range(3):
            path = under_way(tmp_path)
            if path is None:
                break
            with contextlib.suppress(Crash):
                edits.complete(path, system=CrashingSystem(chance.randrange(8), chance))
        path = under_way(tmp_path)
        if path is not None:
            edits.complete(path)
        assert files(tmp_path) in ({"disk.raw": OLD}, {"disk.vhd": NEW})


def test_a_name_that_is_taken_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    change = make(tmp_path)
    (tmp_path / "disk.vhd").write_bytes(b"mine")
    with pytest.raises(TargetExistsError):
        edits.apply(change)
    assert files(tmp_path) == {"disk.raw": OLD, "disk.vhd": b"mine"}
    assert undo_files(tmp_path) == []


def test_a_name_that_is_taken_may_be_replaced(tmp_path: Path) -> None:
    change = make(tmp_path, replace=True)
    (tmp_path / "disk.vhd").write_bytes(b"mine")
    edits.apply(change, keep=False)
    assert files(tmp_path) == {"disk.vhd": NEW}


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    change = make(tmp_path, replace=True)
    (tmp_path / "disk.vhd").mkdir()
    with pytest.raises(TargetError, match="no file"):
        edits.apply(change)
    assert (tmp_path / "disk.raw").read_bytes() == OLD


class Meddling(System):
    """Someone takes the new name just before the rename."""

    def rename(self, old: str, new: str, replace: bool) -> None:
        if not os.path.exists(new):
            Path(new).write_bytes(b"theirs")
        super().rename(old, new, replace)


def test_a_name_that_is_taken_meanwhile_undoes_the_change(tmp_path: Path) -> None:
    with pytest.raises(TargetExistsError):
        edits.apply(make(tmp_path), system=Meddling())
    assert files(tmp_path) == {"disk.raw": OLD, "disk.vhd": b"theirs"}
    assert undo_files(tmp_path) == []


class Refusing(System):
    def rename(self, old: str, new: str, replace: bool) -> None:
        raise OSError(36, "File name too long")


def test_a_rename_that_fails_undoes_the_change(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="too long"):
        edits.apply(make(tmp_path), system=Refusing())
    assert files(tmp_path) == {"disk.raw": OLD}
    assert undo_files(tmp_path) == []


class Stopping(System):
    """The machine stops at the rename, just before it or just after; nothing is taken back."""

    def __init__(self, renamed: bool) -> None:
        self.renamed, self.is_dead = renamed, False

    def rename(self, old: str, new: str, replace: bool) -> None:
        if self.renamed:
            os.rename(old, new)
        self.is_dead = True
        raise Crash

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.is_dead:
            raise Crash
        super().write(fd, data, offset)


def crashed(tmp_path: Path, renamed: bool) -> None:
    with contextlib.suppress(Crash):
        edits.apply(make(tmp_path), keep=False, system=Stopping(renamed))


def test_a_crash_just_behind_the_rename_is_found_by_the_old_name(tmp_path: Path) -> None:
    for recovery in (edits.complete, edits.undo):
        crashed(tmp_path, renamed=True)
        assert files(tmp_path) == {"disk.vhd": NEW}
        assert undo_files(tmp_path) == [".disk.raw.vhdfast-undo"]
        recovery(tmp_path / "disk.raw")
        wanted = {"disk.vhd": NEW} if recovery is edits.complete else {"disk.raw": OLD}
        assert files(tmp_path) == wanted


def test_completing_never_replaces_a_file_unasked(tmp_path: Path) -> None:
    crashed(tmp_path, renamed=False)
    (tmp_path / "disk.vhd").write_bytes(b"mine")
    before = files(tmp_path)
    path = tmp_path / "disk.raw"
    with pytest.raises(TargetExistsError):
        edits.complete(path)
    assert files(tmp_path) == before
    edits.complete(path, keep=False, replace=True)
    assert files(tmp_path) == {"disk.vhd": NEW}


def test_undoing_never_replaces_a_file_unasked(tmp_path: Path) -> None:
    edits.apply(make(tmp_path))
    (tmp_path / "disk.raw").write_bytes(b"mine")
    with pytest.raises(TargetExistsError):
        edits.undo(tmp_path / "disk.vhd")
    assert files(tmp_path) == {"disk.raw": b"mine", "disk.vhd": NEW}
    edits.undo(tmp_path / "disk.vhd", replace=True)
    assert files(tmp_path) == {"disk.raw": OLD}


def test_both_names_after_a_hard_link_that_was_cut_short(tmp_path: Path) -> None:
    """Where the file system cannot rename without replacing, a link comes first."""
    crashed(tmp_path, renamed=False)
    os.link(tmp_path / "disk.raw", tmp_path / "disk.vhd")
    edits.complete(tmp_path / "disk.raw", keep=False)
    assert files(tmp_path) == {"disk.vhd": NEW}


@pytest.mark.parametrize("names", [["disk.raw"], ["disk.raw", "../x"], ["a", "a"], ["a", ""]])
def test_an_undo_file_with_other_names_is_damaged(names: list[str], tmp_path: Path) -> None:
    from dataclasses import replace

    from vhdfast.edits.record import Record

    edits.apply(make(tmp_path))
    place = tmp_path / ".disk.vhd.vhdfast-undo"
    with open(place, "r+b") as file:
        record = Record.read(file.fileno(), str(place))
        assert record is not None
        packed = bytearray(replace(record, names=tuple(names)).pack())
        packed[511] = ord("D")
        file.seek(0)
        file.truncate()
        file.write(packed)
    with pytest.raises(UndoError, match="names"):
        edits.undo(tmp_path / "disk.vhd")
    assert files(tmp_path) == {"disk.vhd": NEW}


def test_names_that_are_no_text_come_back(tmp_path: Path) -> None:
    raw, vhd = (os.path.join(os.fsencode(tmp_path), name) for name in (b"d\xff.raw", b"d\xff.vhd"))
    with open(raw, "wb") as file:
        file.write(OLD)
    path = Path(os.fsdecode(raw))
    new = os.fsdecode(os.path.basename(vhd))
    edits.apply(Change(str(path), "test", STAGES, identity(path), new))
    assert os.path.exists(vhd)
    edits.undo(os.fsdecode(vhd))
    assert path.read_bytes() == OLD


def test_a_rename_alone_leaves_no_undo_file(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "disk.raw"
    change = Change(str(path), "test", (), identity(path), "disk.vhd")
    assert edits.apply(change) is None
    assert files(tmp_path) == {"disk.vhd": OLD}
    assert undo_files(tmp_path) == []


def test_a_third_name_that_someone_gave_it_stays(tmp_path: Path) -> None:
    edits.apply(make(tmp_path))
    os.rename(tmp_path / "disk.vhd", tmp_path / "other.vhd")
    os.rename(tmp_path / ".disk.vhd.vhdfast-undo", tmp_path / ".other.vhd.vhdfast-undo")
    (tmp_path / "disk.vhd").write_bytes(b"another disk")
    edits.undo(tmp_path / "other.vhd")
    assert files(tmp_path) == {"other.vhd": OLD, "disk.vhd": b"another disk"}
