"""VMX: which disks a VMware machine uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MIB
from tests.support.build_vdi import vdi
from vhdfast import open_image
from vhdfast.errors import (
    InvalidImageError,
    MissingReferenceError,
    UnknownFormatError,
    UnsafeReferenceError,
    UnsupportedImageError,
    UsageError,
    VhdfastError,
)

Refused = Callable[..., VhdfastError]

MACHINE = """\
.encoding = "UTF-8"
config.version = "8"
displayName = "a machine"
scsi0.present = "TRUE"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "a.vdi"
ide1:0.present = "TRUE"
ide1:0.fileName = "tools.iso"
ide1:0.deviceType = "cdrom-image"
sata0:1.present = "TRUE"
sata0:1.fileName = "linux.iso"
floppy0.fileName = "floppy.flp"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    vdi(virtual_size=MIB).write(tmp_path / "a.vdi")
    vdi(virtual_size=2 * MIB).write(tmp_path / "b.vdi")
    path = tmp_path / "m.vmx"
    path.write_text(MACHINE)
    return path


def size_of(path: Path, **options: object) -> int:
    with open_image(path, **options) as image:  # type: ignore[arg-type]
        return image.virtual_size


def test_the_one_disk_of_a_machine(machine: Path) -> None:
    with open_image(machine) as image:
        assert image.path == str(machine.parent / "a.vdi")
        assert image.info().details["container"] == f"VMX (VMware machine), {machine}"
        assert image.is_same_file(str(machine))


@pytest.mark.parametrize(
    "more",
    [
        'scsi0:1.fileName = "b.vdi"',  # not said to be present
        'scsi0:1.present = "FALSE"\nscsi0:1.fileName = "b.vdi"',
        'scsi0:1.present = "TRUE"\nscsi0:1.fileName = ""',
        'scsi0:1.present = "TRUE"',
        'scsi1.present = "FALSE"\nscsi1:0.present = "TRUE"\nscsi1:0.fileName = "b.vdi"',
        'ide0:0.present = "TRUE"\nide0:0.fileName = "auto detect"\n'
        'ide0:0.deviceType = "atapi-cdrom"',
        '# scsi0:1.present = "TRUE"\n#scsi0:1.fileName = "b.vdi"\nnonsense\n',
    ],
)
def test_what_is_no_disk_of_the_machine(machine: Path, more: str) -> None:
    machine.write_text(MACHINE + more)
    assert size_of(machine) == MIB


@pytest.mark.parametrize("slot", ["scsi1:15", "sata0:0", "ide0:0", "nvme0:0"])
def test_every_kind_of_slot(machine: Path, slot: str, refused: Refused) -> None:
    machine.write_text(MACHINE + f'{slot}.present = "true"\n{slot.upper()}.FILENAME = b.vdi # x\n')
    refused(UsageError, machine, "2 disks", "a.vdi", "b.vdi")
    assert size_of(machine, disk="b.vdi") == 2 * MIB


def test_disks_are_numbered_in_the_order_of_their_slots(machine: Path, refused: Refused) -> None:
    lines = [
        f'scsi0:{unit}.present = "TRUE"\nscsi0:{unit}.fileName = "{name}"'
        for unit, name in ((10, "b.vdi"), (2, "c.vdi"))
    ]
    machine.write_text(MACHINE + "\n".join(lines))
    refused(UsageError, machine, "1: a.vdi, 2: c.vdi, 3: b.vdi")
    assert size_of(machine, disk="3") == 2 * MIB


def test_quotation_marks_are_written_with_a_bar(machine: Path) -> None:
    (machine.parent / "a.vdi").rename(machine.parent / 'a".vdi')
    machine.write_text(MACHINE.replace("a.vdi", "a|22.vdi"))
    assert size_of(machine) == MIB


@pytest.mark.parametrize("encoding", ["windows-1252", "GBK", "Shift_JIS", "utf-8"])
def test_encodings(machine: Path, encoding: str) -> None:
    name = {"windows-1252": "größe.vdi", "utf-8": "größe.vdi"}.get(encoding, "机.vdi")
    (machine.parent / "a.vdi").rename(machine.parent / name)
    text = MACHINE.replace("UTF-8", encoding).replace("a.vdi", name)
    machine.write_bytes(text.encode(encoding))
    assert size_of(machine) == MIB


@pytest.mark.parametrize("encoding", ["rot13", "punycode", "zlib", "windows-9999", "x\x07"])
def test_unknown_encodings_are_refused(machine: Path, refused: Refused, encoding: str) -> None:
    machine.write_text(MACHINE.replace("UTF-8", encoding))
    refused(UnsupportedImageError, machine, "not known here")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../b.vdi", UnsafeReferenceError),
        ("/etc/passwd", UnsafeReferenceError),
        ("..\\\\b.vdi", UnsafeReferenceError),
        ("C:\\\\VMs\\\\b.vdi", UnsafeReferenceError),
        ("c.vdi", MissingReferenceError),
        ("a|00.vdi", InvalidImageError),
    ],
)
def test_names_are_held_to_the_directory(
    machine: Path, refused: Refused, name: str, kind: type[VhdfastError]
) -> None:
    machine.write_text(MACHINE.replace("a.vdi", name.replace("\\\\", "\\")))
    refused(kind, machine, "disk")


def test_one_slot_with_two_files(machine: Path, refused: Refused) -> None:
    machine.write_text(MACHINE + 'SCSI0:0.fileName = "b.vdi"')
    refused(InvalidImageError, machine, "twice", "a.vdi", "b.vdi")


def test_a_machine_without_disks(machine: Path, refused: Refused) -> None:
    machine.write_text('config.version = "8"\n')
    refused(UnsupportedImageError, machine, "no disk in it")


def test_a_machine_that_names_itself(machine: Path, refused: Refused) -> None:
    machine.write_text(MACHINE.replace("a.vdi", "m.vmx"))
    refused(UnsupportedImageError, machine, "inside another one")


def test_settings_of_a_gigabyte(machine: Path, refused: Refused) -> None:
    machine.write_text(MACHINE + "#" * 512)
    with open(machine, "r+b") as file:
        file.truncate(1 << 30)
    refused(InvalidImageError, machine, "or fewer")


def test_bytes_under_the_name_of_a_machine(machine: Path, refused: Refused) -> None:
    machine.write_bytes(b"=\0" * 500)
    refused(UnknownFormatError, machine, "no known format")


def test_more_disks_than_a_machine_has(machine: Path, refused: Refused) -> None:
    machine.write_text(
        "".join(
            f'scsi0:{unit}.present = "TRUE"\nscsi0:{unit}.fileName = "{unit}.vdi"\n'
            for unit in range(2000)
        )
    )
    refused(InvalidImageError, machine, "2000 disks")
    machine.write_text(
        "".join(
            f'scsi0:{unit}.present = "TRUE"\nscsi0:{unit}.fileName = "{unit}.vdi"\n'
            for unit in range(30)
        )
    )
    error = refused(UsageError, machine, "and 10 more")
    assert "20: 19.vdi" in str(error)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(st.text(max_size=40) | st.sampled_from(MACHINE.splitlines()), max_size=20))
def test_any_settings_end_in_a_documented_way(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "m.vmx"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        with open_image(path) as image:
            image.info()
    except VhdfastError as error:
        assert error.exit_code in (2, 4)


def test_a_line_of_blanks_takes_no_time(machine: Path) -> None:
    machine.write_text(f"{MACHINE}annotation ={' ' * 20_000}two words\n")
    start = time.monotonic()
    assert size_of(machine) == MIB
    assert time.monotonic() - start < 1
