"""OVF descriptors beside their disks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.support import MIB, pattern, poke
from tests.support.build_tar import archive, envelope, member
from tests.support.build_vdi import vdi
from tests.unit.containers.conftest import open_files
from vhdfast import open_image
from vhdfast.errors import (
    InvalidImageError,
    MissingReferenceError,
    SourceChangedError,
    UnknownFormatError,
    UnsafeReferenceError,
    UnsupportedImageError,
    UsageError,
    VhdfastError,
)

Refused = Callable[..., VhdfastError]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """An OVF of one disk, a.vdi."""
    vdi(virtual_size=2 * MIB, blocks={1: pattern(1, MIB)}).write(tmp_path / "a.vdi")
    path = tmp_path / "m.ovf"
    path.write_bytes(envelope([("f", "a.vdi")], ["f"]))
    return path


def test_the_disk_beside_the_descriptor(machine: Path) -> None:
    with open_image(machine) as image:
        assert image.pread(0, 2 * MIB) == bytes(MIB) + pattern(1, MIB)
        assert image.path == str(machine.parent / "a.vdi")
        assert image.info().details["container"] == f"OVF, {machine}"
        assert image.is_same_file(str(machine))
        assert image.is_same_file(str(machine.parent / "a.vdi"))
    assert not {name for name in open_files() if name.startswith(str(machine.parent))}


def test_a_descriptor_that_changes_is_a_source_that_changes(machine: Path) -> None:
    with open_image(machine) as image:
        image.check_unchanged()
        machine.write_bytes(b"")
        with pytest.raises(SourceChangedError):
            image.check_unchanged()


def test_convert_and_verify(machine: Path, tmp_path: Path) -> None:
    result = vhdfast.convert(machine, tmp_path / "out.vhd", verify_copy=True)
    assert result.verified == MIB


def test_several_disks(machine: Path, refused: Refused) -> None:
    machine.write_bytes(
        envelope([("f", "a.vdi"), ("g", "b.vdi")], ["g", "f"], attributes='ovf:size="2048"')
    )
    refused(UsageError, machine, "1: b.vdi (2 KiB), 2: a.vdi (2 KiB)")
    with open_image(machine, disk="a.vdi") as image:
        assert image.virtual_size == 2 * MIB
    with open_image(machine, disk="2", format="vdi") as image:
        assert image.virtual_size == 2 * MIB


def test_other_makers_attributes_do_not_count(machine: Path) -> None:
    text = machine.read_bytes().replace(b"ovf:href", b'vbox:href="x" ovf:href')
    machine.write_bytes(text.replace(b"<Envelope", b'<Envelope xmlns:vbox="v"'))
    with open_image(machine) as image:
        assert image.virtual_size == 2 * MIB


def test_a_reference_by_the_href_itself(machine: Path) -> None:
    machine.write_bytes(envelope([("other", "a.vdi")], ["a.vdi"]))
    with open_image(machine) as image:
        assert image.virtual_size == 2 * MIB


def test_an_escaped_href(machine: Path) -> None:
    (machine.parent / "a.vdi").rename(machine.parent / "a disk.vdi")
    machine.write_bytes(envelope([("f", "a%20disk.vdi")], ["f"]))
    with open_image(machine) as image:
        assert image.virtual_size == 2 * MIB


@pytest.mark.parametrize(
    ("href", "kind"),
    [
        ("../../etc/passwd", UnsafeReferenceError),
        ("%2e%2e/a.vdi", UnsafeReferenceError),
        ("/etc/passwd", UnsafeReferenceError),
        ("http://host/a.vdi", UnsafeReferenceError),
        ("b.vdi", MissingReferenceError),
        ("b%20.vdi", MissingReferenceError),
        ("%00", InvalidImageError),
    ],
)
def test_an_href_is_held_to_the_directory(
    machine: Path, refused: Refused, href: str, kind: type[VhdfastError]
) -> None:
    machine.write_bytes(envelope([("f", href)], ["f"]))
    refused(kind, machine, "disk")


def test_allowed_files_elsewhere_are_opened(machine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "disks"
    folder.mkdir()
    (machine.parent / "a.vdi").rename(folder / "a.vdi")
    machine.write_bytes(envelope([("f", "disks/a.vdi")], ["f"]))
    with open_image(machine, allow_references=[folder]) as image:
        assert image.virtual_size == 2 * MIB


@pytest.mark.parametrize(
    ("attributes", "fragment"),
    [('ovf:compression="gzip"', "gunzip"), ('ovf:chunkSize="9"', "cat a.vdi.0* > a.vdi")],
)
def test_packed_disks_are_refused(
    machine: Path, refused: Refused, attributes: str, fragment: str
) -> None:
    machine.write_bytes(envelope([("f", "a.vdi")], ["f"], attributes=attributes))
    refused(UnsupportedImageError, machine, fragment)


def test_identity_is_no_compression(machine: Path) -> None:
    machine.write_bytes(envelope([("f", "a.vdi")], ["f"], attributes='ovf:compression="identity"'))
    with open_image(machine) as image:
        assert image.virtual_size == 2 * MIB


def test_a_descriptor_that_names_itself(machine: Path, refused: Refused) -> None:
    machine.write_bytes(envelope([("f", "m.ovf")], ["f"]))
    refused(UnsupportedImageError, machine, "inside another one")


def test_a_descriptor_that_names_an_archive(machine: Path, refused: Refused) -> None:
    archive(member("a.raw", b"x")).write(machine.parent / "x.ova")
    machine.write_bytes(envelope([("f", "x.ova")], ["f"]))
    refused(UnsupportedImageError, machine, "inside another one", "x.ova")


def test_what_a_guest_writes_is_no_descriptor(tmp_path: Path) -> None:
    vdi(virtual_size=MIB).write(tmp_path / "a.vdi")
    path = tmp_path / "disk.raw"
    path.write_bytes(envelope([("f", "a.vdi")], ["f"]).ljust(MIB, b"\0"))
    with open_image(path) as image:
        assert (image.info().format, image.virtual_size) == ("raw", MIB)


def test_bytes_under_the_name_of_a_descriptor(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "m.ovf"
    path.write_bytes(b"\x7f" * 700)
    refused(UnknownFormatError, path, "no known format")


def test_a_descriptor_without_disks(machine: Path, refused: Refused) -> None:
    machine.write_bytes(envelope([("f", "a.vdi")], [""]))
    refused(UnsupportedImageError, machine, "no disk in it")


def test_a_damaged_disk_leaves_nothing_open(machine: Path, refused: Refused) -> None:
    poke(machine.parent / "a.vdi", 0x170, bytes(8))
    error = refused(InvalidImageError, machine, "0 bytes", offset=0x170)
    assert error.path == str(machine.parent / "a.vdi")


def test_a_directory_lists_containers_too(
    machine: Path, vhdfast_cli: Callable[..., object]
) -> None:
    archive(member("a.raw", b"x")).write(machine.parent / "x.OVA")
    (machine.parent / "m.vmx").write_text("x = 1")
    done = vhdfast_cli("convert", machine.parent)
    output = done.stdout  # type: ignore[attr-defined]
    for name in ("a.vdi", "m.ovf", "m.vmx", "x.OVA"):
        assert f"{machine.parent}/{name}\n" in output
