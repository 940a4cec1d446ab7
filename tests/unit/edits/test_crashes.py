"""A change that crashes anywhere ends as it was meant to, or as if it had never begun."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import pattern
from vhdfast import edits
from vhdfast.edits import Change, Stage, Write
from vhdfast.files import Identity

from .crashing import Crash, CrashingSystem

UNDO = ".disk.vhdfast-undo"


def identity(path: Path) -> Identity:
    with open(path, "rb") as file:
        return Identity.of(file.fileno())


def applied(old: bytes, stages: tuple[Stage, ...]) -> bytes:
    """The file as it should be afterwards, by the plainest means."""
    content = bytearray(old)
    for stage in stages:
        for write in stage.writes:
            content.extend(bytes(max(0, write.end - len(content))))
            content[write.offset : write.end] = write.data
        if stage.size is not None:
            content[stage.size :] = bytes(max(0, stage.size - len(content)))
    return bytes(content)


def make(folder: Path, old: bytes, stages: tuple[Stage, ...]) -> tuple[Path, Change]:
    path = folder / "disk"
    path.write_bytes(old)
    return path, Change(str(path), "test", stages, identity(path))


# The change of a fixed VHD that grows, one that shrinks, one whose stages write over each other and
# one that goes back and forth.
GROW = (
    Stage((Write(20480, pattern(1, 512), "footer"),)),
    Stage((Write(12288, bytes(512), "old footer"),)),
)
SHRINK = (
    Stage((Write(4096, pattern(2, 512), "footer"),)),
    Stage(size=4608),
)
OVERLAP = (
    Stage((Write(100, pattern(3, 400), "one"), Write(12700, pattern(4, 400), "two"))),
    Stage((Write(300, pattern(5, 400), "three"),), size=12900),
    Stage((Write(12850, pattern(6, 1000), "four"), Write(0, b"x", "five"))),
)
ZIGZAG = (
    Stage(size=30000),
    Stage((Write(9000, pattern(7, 21000), "much"),)),
    Stage(size=200),
    Stage((Write(10000, b"end", "end"),)),
)
OLD = pattern(9, 1000) + bytes(7000) + pattern(10, 4288) + pattern(11, 512)
CHANGES = {"grow": GROW, "shrink": SHRINK, "overlap": OVERLAP, "zigzag": ZIGZAG}


def run(system: CrashingSystem, step: str, change: Change, keep: bool) -> bool:
    """Whether it came to its end."""
    with contextlib.suppress(Crash):
        if step == "apply":
            edits.apply(change, keep=keep, system=system)
        elif step == "complete":
            edits.complete(change.path, keep=keep, system=system)
        else:
            edits.undo(change.path, system=system)
        return True
    return False


def check_settled(path: Path, old: bytes, new: bytes) -> None:
    """Nothing is under way: then the file is whole."""
    assert path.read_bytes() in (old, new)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_without_a_crash(name: str, keep: bool, tmp_path: Path) -> None:
    path, change = make(tmp_path, OLD, CHANGES[name])
    kept = edits.apply(change, keep=keep)
    assert path.read_bytes() == applied(OLD, CHANGES[name])
    assert kept == (str(tmp_path / UNDO) if keep else None)
    assert sorted(os.listdir(tmp_path)) == ([UNDO, "disk"] if keep else ["disk"])
    if keep:
        edits.undo(path)
        assert path.read_bytes() == OLD
        assert os.listdir(tmp_path) == ["disk"]


@pytest.mark.parametrize("recovery", ["complete", "undo"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_crash_before_every_step(name: str, keep: bool, recovery: str, tmp_path: Path) -> None:
    old, new = OLD, applied(OLD, CHANGES[name])
    counting = CrashingSystem(None, random.Random(0))
    _, change = make(tmp_path, OLD, CHANGES[name])
    edits.apply(change, keep=keep, system=counting)
    begun = 0
    for at in range(counting.steps):
        for seed in range(4):
            for left in tmp_path.iterdir():
                left.unlink()
            path, change = make(tmp_path, OLD, CHANGES[name])
            assert not run(CrashingSystem(at, random.Random(seed)), "apply", change, keep)
            if edits.interrupted(path) is None:
                check_settled(path, old, new)
                continue
            begun += 1
            assert run(CrashingSystem(None, random.Random(0)), recovery, change, keep)
            assert path.read_bytes() == (new if recovery == "complete" else old)
            assert edits.interrupted(path) is None
            assert (tmp_path / UNDO).exists() == (keep and recovery == "complete")
    assert begun > 8


@pytest.mark.parametrize("recovery", ["complete", "undo"])
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_crash_before_every_step_of_undoing(name: str, recovery: str, tmp_path: Path) -> None:
    new = applied(OLD, CHANGES[name])
    _, change = make(tmp_path, OLD, CHANGES[name])
    edits.apply(change)
    counting = CrashingSystem(None, random.Random(0))
    edits.undo(change.path, system=counting)
    begun = 0
    for at in range(counting.steps):
        for seed in range(4):
            path, change = make(tmp_path, OLD, CHANGES[name])
            edits.apply(change)
            assert not run(CrashingSystem(at, random.Random(seed)), "undo", change, True)
            if edits.interrupted(path) is None:
                check_settled(path, OLD, new)
            else:
                begun += 1
                assert run(CrashingSystem(None, random.Random(0)), recovery, change, True)
                assert path.read_bytes() == OLD
            for left in tmp_path.iterdir():
                left.unlink()
    assert begun > 8


RANGES = st.tuples(st.integers(0, 30000), st.integers(1, 6000), st.integers(0, 250))


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, tuple[Stage, ...]]:
    old = bytearray(draw(st.integers(0, 30000)))
    for offset, length, seed in draw(st.lists(RANGES, max_size=3)):
        old[offset : offset + length] = pattern(seed, length)[: max(0, len(old) - offset)]
    stages, size = [], len(old)
    for _ in range(draw(st.integers(1, 4))):
        writes: list[Write] = []
        for offset, length, seed in draw(st.lists(RANGES, max_size=3)):
            data = bytes(length) if seed % 5 == 0 else pattern(seed, length)
            if all(offset + length <= w.offset or w.end <= offset for w in writes):
                writes.append(Write(offset, data, "bytes"))
        size = max([size, *(write.end for write in writes)])
        if draw(st.booleans()):
            lowest = max((write.end for write in writes), default=0)
            size = draw(st.integers(lowest, 40000))
            stages.append(Stage(tuple(writes), size))
        else:
            stages.append(Stage(tuple(writes)))
    return bytes(old), tuple(stages)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes(), st.booleans(), st.integers(0, 1000), st.integers(0, 2**32),
    st.lists(st.tuples(st.sampled_from(["complete", "undo"]), st.integers(0, 12)), max_size=3),
    st.sampled_from(["complete", "undo"]),
)  # fmt: skip
def test_any_change_any_crash_and_crashes_while_recovering(
    change_and_old: tuple[bytes, tuple[Stage, ...]],
    keep: bool,
    at: int,
    seed: int,
    recoveries: list[tuple[str, int]],
    last: str,
) -> None:
    old, stages = change_and_old
    new = applied(old, stages)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, change = make(Path(folder), old, stages)
        counting = CrashingSystem(None, chance)
        edits.apply(change, keep=keep, system=counting)
        for left in Path(folder).iterdir():
            left.unlink()
        path, change = make(Path(folder), old, stages)
        run(CrashingSystem(at % (counting.steps + 1), chance), "apply", change, keep)
        for step, crash in recoveries:
            if edits.interrupted(path) is not None:
                run(CrashingSystem(crash, chance), step, change, keep)
        record = edits.interrupted(path)
        if record is None:
            check_settled(path, old, new)
            return
        run(CrashingSystem(None, chance), last, change, keep)
        undone = last == "undo" or record.state == b"U"
        assert path.read_bytes() == (old if undone else new)
        assert edits.interrupted(path) is None
