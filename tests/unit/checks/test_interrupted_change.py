"""An image whose change in place was cut off is said to be neither old nor new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import MIB, SparseFile, pattern
from tests.support.build_vhd import fixed
from vhdfast import api, edits
from vhdfast.checks import Finding, Outcome, Selection
from vhdfast.errors import UndoError
from vhdfast.files import SourceFile


class Stopped(BaseException):
    """The machine stopped."""


class StopsAt(edits.System):
    """Stops when so many bytes are to be written."""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if len(data) == 777:
            raise Stopped
        super().write(fd, data, offset)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    image = SparseFile(20 * MIB)
    image.put(0, pattern(1, 512))
    return fixed(image).write(tmp_path / "disk.vhd")


def interrupt(path: Path, title: str = "resize") -> None:
    stages = (
        edits.Stage((edits.Write(4096, pattern(2, 600), "one"),)),
        edits.Stage((edits.Write(8192, pattern(3, 777), "two"),)),
    )
    with SourceFile(path) as source:
        change = edits.Change(str(path), title, stages, source.seen)
    with pytest.raises(Stopped):
        edits.apply(change, keep=True, system=StopsAt())


def look(path: Path) -> Finding:
    (finding,) = api.check(path, selection=Selection(["interrupted-change"])).findings
    return finding


def test_a_file_that_nobody_changed(disk: Path) -> None:
    assert look(disk).outcome is Outcome.PASS


def test_a_change_that_was_cut_off(disk: Path) -> None:
    interrupt(disk)
    finding = look(disk)
    assert finding.is_obstacle
    assert finding.remedy == f"vhdfast resize --apply {disk}"


def test_the_command_is_not_what_an_undo_file_says(disk: Path) -> None:
    interrupt(disk, title="x; rm -rf /")
    remedy = look(disk).remedy
    assert remedy == f"vhdfast repair --apply {disk}"


def test_a_change_that_was_completed(disk: Path) -> None:
    interrupt(disk)
    edits.complete(disk, keep=True)
    assert look(disk).outcome is Outcome.PASS


def test_an_undo_file_that_was_never_finished_began_nothing(disk: Path) -> None:
    (disk.parent / ".disk.vhd.vhdfast-undo").write_bytes(b"half of")
    assert look(disk).outcome is Outcome.PASS


def test_an_undo_file_that_may_be_anyones(disk: Path) -> None:
    (disk.parent / ".disk.vhd.vhdfast-undo").symlink_to("/etc/passwd")
    finding = look(disk)
    assert finding.outcome is Outcome.UNKNOWN
    assert "undo file" in finding.message


def test_it_is_not_converted(disk: Path) -> None:
    interrupt(disk)
    for convert in (api.convert, api.plan_conversion):
        with pytest.raises(UndoError, match="interrupted"):
            convert(disk, disk.parent / "out.vhd")
    assert not (disk.parent / "out.vhd").exists()
