"""What may be replaced by a new file without anyone seeing it, and what comes out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import MIB, pattern
from tests.support.standin import HANDED_OVER, answer


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(pattern(1, MIB))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.raw"
    path.write_bytes(b"what was there")
    path.chmod(0o640)
    return path


@pytest.fixture
def mask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def convert(source: Path, target: Path | str) -> tuple[int, str]:
    return answer(None, "convert", "-f", "raw", "-O", "raw", source, target)


def test_an_existing_target_is_replaced_and_keeps_its_permissions(disk: Path, target: Path) -> None:
    assert convert(disk, target) == (0, "")
    assert target.read_bytes() == disk.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.usefixtures("mask")
def test_a_new_target_gets_the_permissions_that_qemu_img_gives(disk: Path, tmp_path: Path) -> None:
    assert convert(disk, tmp_path / "new") == (0, "")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_nobody_reads_the_target_before_it_is_whole(
    disk: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real_open = os.open

    def spy(path: str, flags: int, *rest: int) -> int:
        fd = real_open(path, flags, *rest)
        if ".target.raw." in str(path):
            seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return fd

    monkeypatch.setattr(os, "open", spy)
    target.chmod(0o600)
    assert convert(disk, target) == (0, "")
    assert seen and set(seen) == {0o600}


def test_a_link_leads_to_the_target(disk: Path, target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("target.raw")
    assert convert(disk, link) == (0, "")
    assert link.is_symlink() and target.read_bytes() == disk.read_bytes()
    dangling = tmp_path / "dangling"
    dangling.symlink_to("made")
    assert convert(disk, dangling) == (0, "")
    assert dangling.is_symlink() and (tmp_path / "made").read_bytes() == disk.read_bytes()


def handed(disk: Path, target: Path | str, reason: str) -> None:
    status, why = convert(disk, target)
    assert status == HANDED_OVER and reason in why, why


def test_a_target_with_other_names_is_handed_over(disk: Path, target: Path, tmp_path: Path) -> None:
    os.link(target, tmp_path / "other")
    handed(disk, target, "other names")
    assert target.read_bytes() == b"what was there"


def test_a_target_that_is_open_is_handed_over(disk: Path, target: Path) -> None:
    with open(target, "rb"):
        handed(disk, target, "open elsewhere")
    assert convert(disk, target) == (0, "")


def test_a_target_with_attributes_is_handed_over(disk: Path, target: Path) -> None:
    try:
        os.setxattr(target, "user.comment", b"mine")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    handed(disk, target, "attributes")


@pytest.mark.usefixtures("as_root")
def test_a_target_of_another_user_is_handed_over(disk: Path, target: Path) -> None:
    os.chown(target, 12345, -1)
    handed(disk, target, "another user or group")


@pytest.mark.parametrize("kind", ["directory", "pipe", "in-no-directory", "device", "loop"])
def test_a_target_that_is_no_file_is_handed_over(kind: str, disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "in-no-directory":
        path = path / "target"
    elif kind == "device":
        path = Path("/dev/null")
    else:
        path.symlink_to("odd")
    handed(disk, path, "")
    assert not list(tmp_path.glob(".*"))


def test_the_source_as_target_is_handed_over(disk: Path, tmp_path: Path) -> None:
    before = disk.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(disk)
    for target in (disk, link):
        handed(disk, target, "")
    assert disk.read_bytes() == before


def test_a_full_file_system_is_handed_over_and_leaves_nothing(
    disk: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_statvfs = os.statvfs

    def full(path: str) -> os.statvfs_result:
        answer = list(real_statvfs(path))
        answer[4] = 1  # f_bavail
        return os.statvfs_result(answer)

    monkeypatch.setattr(os, "statvfs", full)
    handed(disk, target, "too full")
    assert target.read_bytes() == b"what was there"


def test_what_fails_on_the_way_leaves_nothing(
    disk: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vhdfast.errors import VhdfastError, WriteError
    from vhdfast.image import Image

    def fail(*words: object) -> None:
        raise WriteError("writing failed: No space left on device")

    monkeypatch.setattr(Image, "copy_rows", fail)
    with pytest.raises(VhdfastError):
        convert(disk, target)
    assert target.read_bytes() == b"what was there"
    assert sorted(os.listdir(tmp_path)) == ["disk.raw", "target.raw"]
