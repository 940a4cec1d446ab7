"""What changing a file in place refuses, and that the file is then as it was."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import pattern, peek, poke
from vhdfast import edits
from vhdfast.edits import Change, Stage, System, Write
from vhdfast.errors import (
    ImageError,
    InternalError,
    InUseError,
    NoSpaceError,
    SourceChangedError,
    TargetError,
    UndoError,
    VhdfastError,
    WriteError,
)
from vhdfast.files import Identity

OLD = pattern(1, 5000)
UNDO = ".disk.vhdfast-undo"
STAGES = (Stage((Write(6000, b"behind", "one"),)), Stage((Write(100, b"inside", "two"),)))


def plan(path: Path, *stages: Stage) -> Change:
    with open(path, "rb") as file:
        seen = Identity.of(file.fileno())
    return Change(str(path), "test", stages or STAGES, seen)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(OLD)
    return path


@contextlib.contextmanager
def untouched(path: Path) -> Iterator[None]:
    """Neither the file nor its time changes, and nothing appears beside it."""
    before = path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(path.parent))
    yield
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(path.parent))) == before


def refused(kind: type[VhdfastError], change: Change, text: str) -> None:
    with untouched(Path(change.path)), pytest.raises(kind, match=text) as caught:
        edits.apply(change)
    assert type(caught.value) is kind


# ---- others use the file ------------------------------------------------------------------------


def test_a_file_that_another_program_may_write_to(disk: Path) -> None:
    change = plan(disk)
    with open(disk, "r+b"):
        refused(InUseError, change, "another program has the file open for writing")
    edits.apply(change)


def test_a_file_that_is_only_read_elsewhere_is_changed(disk: Path) -> None:
    with open(disk, "rb"):
        edits.apply(plan(disk))
    assert peek(disk, 100, 6) == b"inside"


def test_a_file_on_which_another_program_holds_a_lock(disk: Path) -> None:
    # As qemu locks bytes of an image that it has open, also one that it only reads.
    lock = struct.pack("@hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0)
    with open(disk, "rb") as file:
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, lock)
        refused(InUseError, plan(disk), "another program holds a lock")


def test_a_disk_that_qemu_reads(disk: Path, tmp_path: Path) -> None:
    if shutil.which("qemu-nbd") is None:
        pytest.skip("qemu-nbd is not installed (apt install qemu-utils)")
    daemon = subprocess.Popen(
        ["qemu-nbd", "-f", "raw", "--read-only", "-k", tmp_path / "socket", disk]
    )
    try:
        for _ in range(1000):
            if daemon.poll() is None and not (tmp_path / "socket").exists():
                time.sleep(0.01)
        refused(InUseError, plan(disk), "another program")
    finally:
        daemon.kill()
        daemon.wait()


def test_a_program_that_starts_meanwhile_finds_the_file_locked(disk: Path) -> None:
    lock = struct.pack("@hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0)

    class Looking(System):
        seen = 0

        def sync(self, fd: int) -> None:
            with open(disk, "rb") as file, pytest.raises(OSError) as caught:
                fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, lock)
            assert caught.value.errno in (errno.EAGAIN, errno.EACCES)
            self.seen += 1
            super().sync(fd)

    looking = Looking()
    edits.apply(plan(disk), system=looking)
    assert looking.seen == 5


# ---- the file -----------------------------------------------------------------------------------


def test_a_file_that_was_written_to_since_the_plan(disk: Path) -> None:
    change = plan(disk)
    poke(disk, 4000, b"!")
    os.utime(disk, ns=(0, change.seen.modified_ns + 1))  # type: ignore[operator]
    refused(SourceChangedError, change, "written to since the change was planned")


def test_a_file_that_took_the_place_of_the_planned_one(disk: Path) -> None:
    change = plan(disk)
    times = disk.stat().st_atime_ns, disk.stat().st_mtime_ns
    shutil.copy(disk, disk.with_name("copy"))
    os.utime(disk.with_name("copy"), ns=times)
    os.replace(disk.with_name("copy"), disk)
    refused(SourceChangedError, change, "written to since the change was planned")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen = Identity(0, 0, 0, 0)
    for path in (pipe, Path("/dev/null"), tmp_path):
        with pytest.raises(TargetError, match="no regular file"):
            edits.apply(Change(str(path), "test", STAGES, seen))
    with pytest.raises(TargetError, match="cannot be opened"):
        edits.apply(Change(str(tmp_path / "missing"), "test", STAGES, seen))
    with pytest.raises(ImageError, match="cannot be opened"):
        edits.interrupted(tmp_path / "missing")


def test_a_link_leads_to_the_file_and_the_undo_file_lies_beside_that(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    disk = tmp_path / "far" / "disk"
    disk.write_bytes(OLD)
    link = tmp_path / "link"
    link.symlink_to(disk)
    kept = edits.apply(Change(str(link), "test", STAGES, plan(disk).seen))
    assert kept == str(tmp_path / "far" / UNDO)
    assert link.is_symlink()
    edits.undo(link)
    assert disk.read_bytes() == OLD


def test_more_data_than_an_undo_file_keeps_is_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * ((16 << 20) + 8192))
    change = plan(path, Stage(size=4096))
    refused(TargetError, change, "more than 16777216 bytes of data would be cut off")


def test_zeros_are_cut_off_however_many_they_are(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(OLD)
    os.truncate(path, 1 << 40)
    poke(path, 1 << 39, b"data")
    edits.apply(plan(path, Stage(size=5000)))
    assert path.stat().st_size == 5000
    assert (tmp_path / UNDO).stat().st_size < 10000
    edits.undo(path)
    assert path.stat().st_size == 1 << 40
    assert peek(path, (1 << 39) - 4, 12) == bytes(4) + b"data" + bytes(4)


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        ((), "0 stages"),
        ((Stage(size=1),) * 33, "33 stages"),
        ((Stage((Write(0, b"", "nothing"),)),), "a write of nothing"),
        ((Stage((Write(-1, b"x", "before"),)),), "before the file"),
        ((Stage((Write(0, b"xx", "one"), Write(1, b"x", "two"))),), "overlap"),
        ((Stage((Write(10, b"xx", "one"),), size=11),), "behind a size of 11"),
        ((Stage(size=-1),), "a size of -1"),
        ((Stage(size=1 << 63),), "a size of"),
        ((Stage((Write(0, bytes((16 << 20) + 1), "much"),)),), "bytes to write"),
        ((Stage(tuple(Write(i, b"x", "many") for i in range(4097))),), "4097 writes"),
    ],
)
def test_a_planner_that_breaks_the_rules(disk: Path, stages: tuple[Stage, ...], text: str) -> None:
    change = Change(str(disk), "test", stages, plan(disk).seen)
    refused(InternalError, change, text)


# ---- failures -----------------------------------------------------------------------------------


class Failing(System):
    """Fails at one step; with `for_good` at every one that follows."""

    def __init__(self, at: int, number: int = errno.EIO, for_good: bool = False) -> None:
        self.at, self.number, self.for_good, self.steps = at, number, for_good, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps - 1 == self.at or (self.for_good and self.steps > self.at):
            raise OSError(self.number, os.strerror(self.number))

    def create(self, path: str) -> int:
        self.step()
        return super().create(path)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self.step()
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.step()
        super().sync(fd)


@pytest.mark.parametrize("at", range(9))
def test_a_failure_takes_everything_back(disk: Path, at: int) -> None:
    with pytest.raises(NoSpaceError):
        edits.apply(plan(disk), system=Failing(at, errno.ENOSPC))
    assert disk.read_bytes() == OLD
    assert os.listdir(disk.parent) == ["disk"]


@pytest.mark.parametrize("at", range(9))
def test_an_interruption_takes_everything_back(disk: Path, at: int) -> None:
    class Interrupting(Failing):
        def step(self) -> None:
            self.steps += 1
            if self.steps - 1 == self.at:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edits.apply(plan(disk), system=Interrupting(at))
    assert disk.read_bytes() == OLD
    assert os.listdir(disk.parent) == ["disk"]


def test_a_failure_that_cannot_be_taken_back_keeps_the_undo_file(disk: Path) -> None:
    # Steps: create, write, sync; mark, sync; write, sync; write.
    with pytest.raises(WriteError, match="taking it back failed too.*half made") as caught:
        edits.apply(plan(disk), system=Failing(7, for_good=True))
    record = edits.interrupted(disk)
    assert record is not None and record.title == "test"
    assert str(caught.value).count(str(disk)) == 1
    assert edits.undo(disk).title == "test"
    assert disk.read_bytes() == OLD


@pytest.mark.parametrize("at", [100, 6000])
def test_no_space_for_a_hole_is_no_reason_to_call_the_change_half_made(disk: Path, at: int) -> None:
    class Full(System):
        def write(self, fd: int, data: bytes, offset: int) -> None:
            if offset == at and os.fstat(fd).st_ino == disk.stat().st_ino:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(fd, data, offset)

    with pytest.raises(NoSpaceError) as caught:
        edits.apply(plan(disk), system=Full())
    assert "half made" not in str(caught.value)
    assert disk.read_bytes() == OLD
    assert os.listdir(disk.parent) == ["disk"]


def test_a_failure_at_the_very_end_leaves_the_change(disk: Path) -> None:
    with pytest.raises(WriteError, match="the change is made"):
        edits.apply(plan(disk), system=Failing(9))
    assert peek(disk, 100, 6) == b"inside"
    edits.complete(disk)
    edits.undo(disk)
    assert disk.read_bytes() == OLD


def test_an_undo_file_where_nothing_may_be_written(disk: Path) -> None:
    change = plan(disk)
    with untouched(disk), pytest.raises(WriteError, match="undo file cannot be written"):
        edits.apply(change, "/proc/undo")


# ---- undoing ------------------------------------------------------------------------------------


def test_nothing_to_undo_and_nothing_to_complete(disk: Path) -> None:
    for act in (edits.undo, edits.complete):
        with untouched(disk), pytest.raises(UndoError, match="no undo file"):
            act(disk)
    edits.apply(plan(disk))
    with untouched(disk), pytest.raises(UndoError, match="nothing to undo or to complete"):
        edits.complete(disk)


@pytest.mark.parametrize("offset", [100, 105, 6003])
def test_undo_refuses_a_range_that_was_written_to_since(disk: Path, offset: int) -> None:
    edits.apply(plan(disk))
    poke(disk, offset, b"?")
    with untouched(disk), pytest.raises(UndoError, match="something else wrote to it"):
        edits.undo(disk)


def test_undo_refuses_a_range_that_has_its_old_bytes_again(disk: Path) -> None:
    edits.apply(plan(disk))
    poke(disk, 100, OLD[100:106])
    with untouched(disk), pytest.raises(UndoError, match="something else wrote to it"):
        edits.undo(disk)


@pytest.mark.parametrize("size", [6005, 6007, 5000])
def test_undo_refuses_another_size(disk: Path, size: int) -> None:
    edits.apply(plan(disk))
    os.truncate(disk, size)
    with untouched(disk), pytest.raises(UndoError, match="something else wrote to it"):
        edits.undo(disk)


def test_undo_does_not_cut_off_what_the_guest_wrote_meanwhile(disk: Path) -> None:
    edits.apply(plan(disk))
    poke(disk, 5500, b"new")
    with untouched(disk), pytest.raises(UndoError, match="behind the size of 5000") as caught:
        edits.undo(disk)
    assert caught.value.offset is not None and 5000 <= caught.value.offset <= 5500


def test_undo_leaves_what_was_written_elsewhere(disk: Path) -> None:
    edits.apply(plan(disk))
    poke(disk, 2000, b"guest")
    edits.undo(disk)
    assert disk.read_bytes() == OLD[:2000] + b"guest" + OLD[2005:]


class Stopping(System):
    """Dies at a step, without taking anything back."""

    def __init__(self, at: int) -> None:
        self.at = at

    def sync(self, fd: int) -> None:
        self.at -= 1
        if self.at < 0:
            raise SystemExit
        super().sync(fd)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.at < 0:
            raise SystemExit
        super().write(fd, data, offset)


def test_completing_refuses_a_file_that_was_written_to_since(disk: Path) -> None:
    with pytest.raises(SystemExit):
        edits.apply(plan(disk), system=Stopping(2))
    poke(disk, 6002, b"?")
    for act in (edits.complete, edits.undo):
        with untouched(disk), pytest.raises(UndoError, match="neither what was there"):
            act(disk)


def test_completing_does_not_cut_off_what_was_written_meanwhile(disk: Path) -> None:
    os.truncate(disk, 20000)
    with pytest.raises(SystemExit):
        edits.apply(plan(disk, Stage((Write(0, b"x", "one"),)), Stage(size=5000)),
                    system=Stopping(2))  # fmt: skip
    poke(disk, 15000, b"new")
    with untouched(disk), pytest.raises(UndoError, match="behind the size of 5000"):
        edits.complete(disk)
    edits.undo(disk)
    assert peek(disk, 15000, 3) == b"new"


def test_a_new_change_waits_for_an_interrupted_one(disk: Path) -> None:
    with pytest.raises(SystemExit):
        edits.apply(plan(disk), system=Stopping(2))
    change = plan(disk)
    refused(UndoError, change, r"an earlier change \(test\) was interrupted")


def test_changes_on_top_of_each_other_are_undone_one_by_one(disk: Path) -> None:
    for text in (b"one", b"two", b"THREE"):
        edits.apply(plan(disk, Stage((Write(10, text, "text"),))))
    assert sorted(os.listdir(disk.parent)) == [UNDO, UNDO + "-2", UNDO + "-3", "disk"]
    for text in (b"two" + OLD[13:15], b"one", OLD[10:15]):
        edits.undo(disk)
        assert peek(disk, 10, len(text)) == text
    assert disk.read_bytes() == OLD


def test_an_undo_file_elsewhere(disk: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    assert edits.apply(plan(disk), place) == str(place)
    change = plan(disk)
    with untouched(disk), pytest.raises(UndoError, match="undo file of an earlier change"):
        edits.apply(change, place)
    with pytest.raises(UndoError, match="no undo file"):
        edits.undo(disk)
    edits.undo(disk, place)
    assert disk.read_bytes() == OLD


@pytest.mark.parametrize(
    "content", [b"a note", bytes(4096), pattern(7, 511) + bytes(5000), b"vhdfUND?" + bytes(600)]
)
def test_a_file_of_the_users_named_as_undo_file_stays(
    disk: Path, tmp_path: Path, content: bytes
) -> None:
    place = tmp_path / "mine"
    place.write_bytes(content)
    change = plan(disk)
    with untouched(disk), untouched(place), pytest.raises(UndoError, match="no undo file, and is"):
        edits.apply(change, place)
    for act in (edits.check_not_interrupted, edits.undo, edits.complete):
        with untouched(disk), untouched(place), pytest.raises(UndoError):
            act(disk, place)


def test_an_empty_file_named_as_undo_file_is_used(disk: Path, tmp_path: Path) -> None:
    place = tmp_path / "mktemp"
    place.touch(0o600)
    edits.apply(plan(disk), place)
    edits.undo(disk, place)
    assert disk.read_bytes() == OLD


def test_the_file_itself_is_no_undo_file(disk: Path, tmp_path: Path) -> None:
    poke(disk, 511, b"\0")
    other = tmp_path / "link"
    other.hardlink_to(disk)
    change = plan(disk)
    for place in (disk, other):
        with untouched(disk), pytest.raises(UndoError, match="the file that is changed"):
            edits.apply(change, place)
        with untouched(disk), pytest.raises(UndoError, match="the file that is changed"):
            edits.undo(disk, place)


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    path.write_bytes(OLD)
    edits.apply(plan(path))
    edits.undo(path)
    assert path.read_bytes() == OLD


def test_two_names_that_begin_alike_have_undo_files_of_their_own(tmp_path: Path) -> None:
    one, other = (tmp_path / ("n" * 220 + end) for end in "ab")
    one.write_bytes(OLD)
    edits.apply(plan(one))
    shutil.copy(one, other)
    with pytest.raises(UndoError, match="no undo file"):
        edits.undo(other)
    edits.undo(one)


# ---- undo files from strangers ------------------------------------------------------------------


def craft(disk: Path, state: bytes = b"P", **changes: object) -> Path:
    """An undo file as another program would write it, from docs/internals/in-place.md."""
    told: dict[str, object] = {
        "title": "test", "name": "disk", "size": 5000, "old": [[100, 6]],
        "stages": [{"size": None, "writes": [[100, 6, "two", ""]]}],
    }  # fmt: skip
    data = changes.pop("data", OLD[100:106] + b"inside")
    assert isinstance(data, bytes)
    text = json.dumps({**told, **changes}).encode()
    head = b"vhdfUNDO" + struct.pack(">IIQ", 1, len(text), len(data))
    digest = hashlib.sha256(head + text + data).digest()
    place = disk.with_name(UNDO)
    place.write_bytes((head + digest).ljust(511, b"\0") + state + text + data)
    place.chmod(0o600)
    return place


def test_a_crafted_undo_file_works(disk: Path) -> None:
    craft(disk)
    assert edits.complete(disk).record.name == "disk"
    assert peek(disk, 100, 6) == b"inside"
    edits.undo(disk)
    assert disk.read_bytes() == OLD


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1},
        {"size": 1 << 63},
        {"size": "5000"},
        {"size": 5000.0},
        {"size": True},
        {"title": None},
        {"name": 7},
        {"old": 7},
        {"old": []},
        {"old": [[100, 6, 1]]},
        {"old": [[100, 7]]},
        {"old": [[4998, 6]]},
        {"old": [[1 << 62, 6]]},
        {"old": [[101, 6]]},
        {"old": [[100, 3], [104, 3]]},
        {"old": [[103, 3], [100, 3]]},
        {"old": [[100, 6], [106, 0]]},
        {"old": [[100, 0]] * 10000},
        {"stages": []},
        {"stages": [{}]},
        {"stages": [7]},
        {"stages": [{"size": None, "writes": [[100, 6, "two"]]}]},
        {"stages": [{"size": None, "writes": [[100, 5, "two", ""]]}]},
        {"stages": [{"size": None, "writes": [[100, 7, "two", ""]]}]},
        {"stages": [{"size": None, "writes": [[1 << 63, 6, "two", ""]]}]},
        {"stages": [{"size": 50, "writes": [[100, 6, "two", ""]]}]},
        {"stages": [{"size": None, "writes": [[100, 6, 7, ""]]}]},
        {"stages": [{"size": None, "writes": [[100, 6, "two", ""]]}] + [{"size": 1}] * 2},
        {"stages": [{"size": 5000, "writes": []}] * 100},
        {"data": b""},
        {"data": bytes(13)},
    ],
)
def test_an_undo_file_that_describes_no_change(disk: Path, changes: dict[str, object]) -> None:
    craft(disk, **changes)
    for act in (edits.complete, edits.undo, edits.interrupted):
        with untouched(disk), pytest.raises(UndoError, match="undo file is damaged"):
            act(disk)


def test_every_byte_of_an_undo_file_counts(disk: Path) -> None:
    place = craft(disk)
    whole = place.read_bytes()
    for at in range(len(whole)):
        if 56 <= at < 511:
            continue  # not used
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with untouched(disk), pytest.raises(UndoError):
            edits.complete(disk)
    for length in range(1, len(whole) - 1, 37):
        place.write_bytes(whole[:-length])
        with untouched(disk), pytest.raises(UndoError):
            edits.complete(disk)


@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=700), st.booleans())
def test_any_bytes_as_an_undo_file(tmp_path: Path, content: bytes, is_begun: bool) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(OLD)
    place = tmp_path / UNDO
    place.write_bytes((b"vhdfUNDO" + content).ljust(512, b"P") if is_begun else content)
    place.chmod(0o600)
    for act in (edits.complete, edits.undo):
        with pytest.raises(UndoError):
            act(disk)
    assert disk.read_bytes() == OLD


def test_an_undo_file_that_was_never_finished_is_nothing(disk: Path) -> None:
    for content in (b"", b"vhdfUNDO", bytes(512), craft(disk, b"\0").read_bytes()):
        disk.with_name(UNDO).write_bytes(content)
        assert edits.interrupted(disk) is None
    edits.apply(plan(disk))
    assert sorted(os.listdir(disk.parent)) == [UNDO, "disk"]
    edits.undo(disk)


def test_another_version_of_undo_file(disk: Path) -> None:
    poke(craft(disk), 8, struct.pack(">I", 2))
    with untouched(disk), pytest.raises(UndoError, match="version 2, expected 1"):
        edits.undo(disk)


def test_an_undo_file_that_others_may_write_is_not_trusted(disk: Path) -> None:
    place = craft(disk)
    place.chmod(0o622)
    with untouched(disk), pytest.raises(UndoError, match="another user may have written it"):
        edits.complete(disk)


def test_an_undo_file_of_another_user_is_not_trusted(disk: Path, as_root: None) -> None:
    os.chown(craft(disk), 4711, 4711)
    with untouched(disk), pytest.raises(UndoError, match="another user may have written it"):
        edits.complete(disk)


def test_a_device_named_as_undo_file_is_not_said_to_be_removed(disk: Path) -> None:
    change = plan(disk)
    with untouched(disk), pytest.raises(UndoError, match="no regular file") as caught:
        edits.apply(change, "/dev/null")
    assert "remove" not in (caught.value.hint or "")


def test_an_undo_file_behind_a_link_is_not_followed(disk: Path) -> None:
    place = craft(disk)
    real = place.rename(disk.with_name("real"))
    place.symlink_to(real)
    with untouched(disk), pytest.raises(UndoError, match="cannot be opened"):
        edits.complete(disk)


def test_nothing_but_the_named_file_is_written(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(OLD)
    craft(disk, name=str(other))
    edits.complete(disk)
    assert other.read_bytes() == OLD
    assert peek(disk, 100, 6) == b"inside"
