"""Snapshot children beside an image, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from vhdfast import open_image
from vhdfast.files import MemorySource, SourceFile
from vhdfast.siblings import newer_states

from ..support import KIB, MIB
from ..support.build_vhd import DynamicVhd, differencing
from ..support.build_vhdx import write_vhdx


def found(folder: Path, name: str, *beside: str) -> list[str]:
    for other in (name, *beside):
        (folder / other).touch()
    with SourceFile(folder / name) as source:
        return newer_states(source)


@pytest.mark.parametrize(
    ("name", "beside", "expected"),
    [
        ("d.vmdk", ["d-000001.vmdk", "d-000002.vmdk"], ["d-000001.vmdk", "d-000002.vmdk"]),
        ("d.vmdk", ["d-flat.vmdk", "d-s001.vmdk", "d-000001-delta.vmdk", "e-000001.vmdk"], []),
        ("d.vmdk", ["d-1.vmdk", "d-0000001.vmdk", "D-000001.vmdk"], []),
        ("d.VMDK", ["d-000001.vmdk"], ["d-000001.vmdk"]),
        ("d-000002.vmdk", ["d.vmdk", "d-000001.vmdk", "d-000003.vmdk"], ["d-000003.vmdk"]),
        ("d[1].vmdk", ["d[1]-000001.vmdk", "d1-000001.vmdk"], ["d[1]-000001.vmdk"]),
        ("d.img", ["d-000001.vmdk"], []),
        (
            "d.vhdx",
            ["d_12345678-1234-1234-1234-123456789ABC.avhdx", "d_1.avhdx"],
            ["d_12345678-1234-1234-1234-123456789ABC.avhdx"],
        ),
    ],
)
def test_names(tmp_path: Path, name: str, beside: list[str], expected: list[str]) -> None:
    assert found(tmp_path, name, *beside) == expected


def test_what_lies_in_no_directory_has_no_siblings() -> None:
    assert newer_states(MemorySource(b"", "d.vmdk")) == []


def test_only_so_many_are_named(tmp_path: Path) -> None:
    assert len(found(tmp_path, "d.vmdk", *(f"d-{n:06}.vmdk" for n in range(100)))) == 64


CHECKPOINT = "12345678-1234-1234-1234-123456789ABC"


def test_a_vhd_with_a_checkpoint_beside_it(tmp_path: Path) -> None:
    path = DynamicVhd(4 * KIB, 4 * KIB).build().write(tmp_path / "d.vhd")
    (tmp_path / f"d_{CHECKPOINT}.avhd").touch()
    with open_image(path) as image:
        (notice,) = image.notices
    assert notice.code == "snapshot-child"
    assert f"d_{CHECKPOINT}.avhd lies beside it" in notice.message


def test_a_vhdx_with_a_checkpoint_beside_it(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB)
    (tmp_path / f"d_{CHECKPOINT}.avhdx").touch()
    with open_image(path) as image:
        assert [notice.code for notice in image.notices] == ["snapshot-child"]


def test_the_checkpoint_itself_is_no_old_state(tmp_path: Path) -> None:
    DynamicVhd(4 * KIB, 4 * KIB).build().write(tmp_path / "d.vhd")
    child = tmp_path / f"d_{CHECKPOINT}.avhd"
    differencing(4 * KIB, 4 * KIB, relative=".\\d.vhd").build().write(child)
    with open_image(child) as image:
        assert image.notices == ()
