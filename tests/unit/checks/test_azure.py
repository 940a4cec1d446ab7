"""What Azure demands: each check on images that pass, that fail, and that it says nothing of."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import GIB, MIB, SparseFile, pattern
from tests.support.build_vhd import (
    FOOTER_FIELDS,
    NOWHERE,
    DynamicVhd,
    fixed,
    make_footer,
    with_checksum,
)
from tests.support.build_vhdx import write_vhdx
from vhdfast import api
from vhdfast.checks import (
    CheckedImage,
    CheckOptions,
    Evidence,
    Finding,
    Outcome,
    Selection,
    Severity,
)
from vhdfast.errors import ImageError, UsageError

SIZE = 20 * MIB
TAIL = SIZE  # where the footer of the disk below begins


def disk(size: int = SIZE) -> SparseFile:
    """A disk that begins with a boot sector and is empty but for it."""
    image = SparseFile(size)
    image.put(0, pattern(1, 512))
    return image


def check(path: Path, *select: str, **options: Any) -> CheckedImage:
    return api.check(path, options=CheckOptions(**options), selection=Selection(select))


def one(path: Path, name: str, **options: Any) -> Finding:
    (finding,) = check(path, name, **options).findings
    assert finding.check == name
    return finding


def make(tmp_path: Path, image: SparseFile, name: str = "disk.vhd") -> Path:
    return image.write(tmp_path / name)


def is_right(finding: Finding) -> bool:
    return finding.outcome is Outcome.PASS


def is_obstacle(finding: Finding) -> bool:
    return (finding.outcome, finding.severity) == (Outcome.FAIL, Severity.ERROR)


# ---- the whole ----------------------------------------------------------------------------------


def test_a_disk_as_azure_wants_it_has_no_obstacle(tmp_path: Path) -> None:
    checked = check(make(tmp_path, fixed(disk())))
    assert [finding for finding in checked.findings if finding.outcome is Outcome.FAIL] == []
    assert checked.verdict() == "no known obstacle"
    assert checked.exit_code(strict=True) == 0
    assert (checked.format, checked.subformat) == ("vhd", "fixed")
    assert (checked.virtual_size, checked.file_size) == (SIZE, SIZE + 512)
    assert checked.judged_as_is


def test_what_convert_writes_has_no_obstacle(tmp_path: Path) -> None:
    raw = make(tmp_path, disk(SIZE + 512), "disk.raw")
    api.convert(raw, tmp_path / "out.vhd")
    checked = check(tmp_path / "out.vhd")
    assert checked.exit_code(strict=True) == 0
    assert {finding.outcome for finding in checked.findings} <= {Outcome.PASS, Outcome.SKIPPED}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        check(tmp_path / "missing.vhd")


def test_a_file_is_as_it_was_after_a_check(tmp_path: Path) -> None:
    path = make(tmp_path, fixed(disk(), geometry=(1, 2, 3)))
    before, status = path.read_bytes(), path.stat()
    check(path)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == status.st_mtime_ns


# ---- the footer's fields ------------------------------------------------------------------------

FIELDS: list[tuple[str, dict[str, Any], Severity, str, str, str]] = [
    # check, footer with it wrong, severity, field, found, expected
    ("footer-version", {"version": 0x00020001}, Severity.ERROR, "version",
     "0x00020001", "0x00010000"),
    ("footer-features", {"features": 0}, Severity.WARNING, "features", "0x0", "0x2"),
    ("footer-features", {"features": 3}, Severity.WARNING, "features", "0x3", "0x2"),
    ("footer-features", {"features": 0x12}, Severity.WARNING, "features", "0x12", "0x2"),
    ("footer-data-offset", {"data_offset": 512}, Severity.WARNING, "data_offset",
     "0x200", hex(NOWHERE)),
    ("footer-unique-id", {"unique_id": bytes(16)}, Severity.WARNING, "unique_id",
     "00000000-0000-0000-0000-000000000000", "a UUID"),
    ("footer-geometry", {"geometry": (100, 4, 17)}, Severity.WARNING, "cylinders",
     "100/4/17", "65535/16/255, or one that fits the current size"),
    ("footer-geometry", {"geometry": (1000, 16, 63)}, Severity.WARNING, "cylinders",
     "1000/16/63", "65535/16/255, or one that fits the current size"),
    ("footer-size", {"current_size": SIZE + MIB}, Severity.ERROR, "current_size",
     str(SIZE + MIB), str(SIZE)),
    ("footer-size", {"current_size": SIZE - MIB}, Severity.ERROR, "current_size",
     str(SIZE - MIB), str(SIZE)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "footer", "severity", "field", "found", "expected"),
    FIELDS,
    ids=[f"{row[0]}-{row[4]}" for row in FIELDS],
)
def test_a_field_of_the_footer_that_is_wrong(
    tmp_path: Path, name: str, footer: dict[str, Any], severity: Severity, field: str,
    found: str, expected: str,
) -> None:  # fmt: skip
    finding = one(make(tmp_path, fixed(disk(), **footer)), name)
    assert (finding.outcome, finding.severity) == (Outcome.FAIL, severity)
    evidence = finding.evidence[0]
    assert (evidence.found, evidence.expected) == (found, expected)
    assert evidence.offset == TAIL + FOOTER_FIELDS[field][0]
    # No proof leads to another version, or to bytes that are not there.
    is_mended = name != "footer-version" and found != str(SIZE + MIB)
    assert (finding.remedy == f"vhdfast repair {tmp_path / 'disk.vhd'}") is is_mended


@pytest.mark.parametrize("name", sorted({row[0] for row in FIELDS} | {"footer-checksum"}))
def test_a_field_of_the_footer_that_is_right(tmp_path: Path, name: str) -> None:
    assert is_right(one(make(tmp_path, fixed(disk())), name))


@pytest.mark.parametrize(
    "name",
    sorted({row[0] for row in FIELDS} | {"footer-checksum", "front-copy", "footer-timestamp"}),
)
def test_the_footer_of_a_fixed_disk_is_not_asked_of_others(tmp_path: Path, name: str) -> None:
    write_vhdx(tmp_path / "disk.vhdx", virtual_size=SIZE, blocks={})
    assert one(tmp_path / "disk.vhdx", name).outcome is Outcome.SKIPPED


def test_a_wrong_checksum(tmp_path: Path) -> None:
    image = fixed(disk())
    image.put(TAIL + 64, b"\x01\x02\x03\x04")
    finding = one(make(tmp_path, image), "footer-checksum")
    assert (finding.outcome, finding.severity) == (Outcome.FAIL, Severity.WARNING)
    right = make_footer(SIZE)[64:68].hex()
    assert finding.evidence == (Evidence("checksum", "0x01020304", f"0x{right}", None, TAIL + 64),)


def test_a_geometry_that_spans_the_size_is_right(tmp_path: Path) -> None:
    size = 640 * 16 * 4 * 512
    image = fixed(disk(size), geometry=(640, 16, 4))
    assert is_right(one(make(tmp_path, image), "footer-geometry"))


def test_the_geometry_of_the_specification_is_right(tmp_path: Path) -> None:
    # qemu-img create -f vpc 20M takes the next size for it: 41,004 sectors, 603 x 4 x 17.
    image = fixed(disk(), geometry=(602, 4, 17))
    assert is_right(one(make(tmp_path, image), "footer-geometry"))


def test_a_time_in_the_future_is_a_note(tmp_path: Path) -> None:
    finding = one(make(tmp_path, fixed(disk(), timestamp=0xFFFFFFFF)), "footer-timestamp")
    assert (finding.outcome, finding.severity) == (Outcome.FAIL, Severity.NOTE)
    assert finding.evidence[0].found == "2136-02-07 06:28:15 UTC"
    assert is_right(one(make(tmp_path, fixed(disk())), "footer-timestamp"))


@pytest.mark.parametrize("suffix", ["vhd", "dynamic"])
def test_a_saved_machine(tmp_path: Path, suffix: str) -> None:
    if suffix == "vhd":
        image = fixed(disk(), saved_state=1)
    else:
        image = DynamicVhd(SIZE, footer={"saved_state": 1}).build()
    finding = one(make(tmp_path, image), "footer-saved-state")
    assert (finding.outcome, finding.severity) == (Outcome.FAIL, Severity.WARNING)
    assert is_right(one(make(tmp_path, fixed(disk())), "footer-saved-state"))


def test_a_disk_type_that_there_is_not(tmp_path: Path) -> None:
    footer = with_checksum(make_footer(SIZE)[:60] + b"\0\0\0\x07" + make_footer(SIZE)[64:], 64)
    image = disk()
    image.append(footer)
    finding = one(make(tmp_path, image), "footer-type")
    assert is_obstacle(finding)
    assert finding.evidence[0].offset == TAIL + 60
    assert is_right(one(make(tmp_path, fixed(disk())), "footer-type"))


# ---- where the footer is ------------------------------------------------------------------------


def short_footer() -> SparseFile:
    image = fixed(disk())
    image.cut(SIZE + 511)
    return image


def footer_without_cookie() -> SparseFile:
    image = fixed(disk())
    image.put(SIZE, b"conectiy")
    return image


def footer_with_bytes_behind() -> SparseFile:
    image = fixed(disk())
    image.append(bytes(1536))
    return image


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (short_footer, "one byte short"),
        (footer_without_cookie, "cookie is damaged"),
        (footer_with_bytes_behind, "followed by 1536 bytes"),
        (disk, "no VHD footer: it is a raw disk, or was cut short"),
        (lambda: SparseFile(100), "fewer than a footer"),
    ],
    ids=["511 bytes", "cookie", "behind", "none", "tiny"],
)
def test_a_file_called_vhd_without_its_footer_in_place(
    tmp_path: Path, build: Callable[[], SparseFile], words: str
) -> None:
    checked = check(make(tmp_path, build()), "footer-present")
    (finding,) = checked.findings
    assert is_obstacle(finding)
    assert words in finding.message
    assert checked.exit_code() == 1


def test_a_footer_in_its_place(tmp_path: Path) -> None:
    finding = one(make(tmp_path, fixed(disk())), "footer-present")
    assert is_right(finding)
    assert finding.evidence[0].offset == TAIL


def test_a_footer_is_not_asked_of_a_source(tmp_path: Path) -> None:
    path = make(tmp_path, disk(), "disk.raw")
    assert one(path, "footer-present").outcome is Outcome.SKIPPED
    assert is_obstacle(one(path, "footer-present", as_is=True))


def test_a_copy_of_a_footer_left_at_the_start(tmp_path: Path) -> None:
    image = fixed(disk())
    image.put(0, make_footer(SIZE, 3, data_offset=512))
    finding = one(make(tmp_path, image), "front-copy")
    assert is_obstacle(finding)
    assert finding.evidence[0].offset == 0
    assert is_right(one(make(tmp_path, fixed(disk())), "front-copy"))


# ---- format and size ----------------------------------------------------------------------------


def test_another_format_is_a_note_with_the_command_that_converts_it(tmp_path: Path) -> None:
    write_vhdx(tmp_path / "my disk.vhdx", virtual_size=SIZE, blocks={})
    path = tmp_path / "my disk.vhdx"
    finding = one(path, "fixed-vhd")
    assert (finding.outcome, finding.severity) == (Outcome.FAIL, Severity.NOTE)
    assert finding.evidence[0].found == "vhdx, dynamic"
    source, target = f"'{path}'", f"'{tmp_path / 'my disk.vhd'}'"
    assert finding.remedy == f"vhdfast convert {source} {target}"
    assert check(path).verdict() == "no known obstacle after conversion"


def test_the_command_says_what_it_took_to_read_the_image(tmp_path: Path) -> None:
    text = tmp_path / "no-disk"
    text.write_bytes(b"some text\n" * 100)
    remedy = one(text, "whole-mib").remedy
    assert remedy == f"vhdfast convert --from raw {text} {text}.vhd"
    image = DynamicVhd(SIZE).build()
    path = make(tmp_path, image, "dynamic")
    found = api.check(path, from_format="vhd", selection=Selection(["fixed-vhd"])).findings[0]
    assert found.remedy == f"vhdfast convert --from vhd {path} {path}.vhd"


def test_the_command_names_no_target_that_convert_names_better(tmp_path: Path) -> None:
    """Of a compressed file that would be disk.raw.vhd, in an archive one for all its disks."""
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(gzip.compress(bytes(SIZE)))
    assert one(path, "fixed-vhd").remedy == f"vhdfast convert {path}"
    for number in (1, 2):
        (tmp_path / f"disk{number}.raw").write_bytes(bytes(MIB))
    path = tmp_path / "two.tar"
    subprocess.run(["tar", "-cf", path, "-C", tmp_path, "disk1.raw", "disk2.raw"], check=True)
    found = api.check(path, disk="2", selection=Selection(["fixed-vhd"])).findings[0]
    assert found.remedy == f"vhdfast convert --disk 2 {path}"


def test_another_format_is_an_obstacle_to_an_upload(tmp_path: Path) -> None:
    path = make(tmp_path, DynamicVhd(SIZE).build())
    assert one(path, "fixed-vhd").severity is Severity.NOTE
    assert is_obstacle(one(path, "fixed-vhd", as_is=True))
    assert is_right(one(make(tmp_path, fixed(disk()), "fixed.vhd"), "fixed-vhd"))


def test_a_fixed_vhd_in_a_stream_is_none(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd.gz"
    plain = make(tmp_path, fixed(disk()))
    path.write_bytes(gzip.compress(plain.read_bytes()))
    finding = one(path, "fixed-vhd", as_is=True)
    assert is_obstacle(finding)
    assert "gzip" in finding.message


@pytest.mark.parametrize(
    ("size", "wanted", "file"), [(SIZE + 512, 21 * MIB, 22020608), (67125248, 68157440, 68157952)]
)
def test_a_size_that_is_no_whole_mib(tmp_path: Path, size: int, wanted: int, file: int) -> None:
    path = make(tmp_path, fixed(disk(size)))
    finding = one(path, "whole-mib")
    assert is_obstacle(finding)
    assert finding.evidence[0] == Evidence("virtual size", str(size), str(wanted))
    assert f"a file of {file} bytes" in finding.message
    said = f"unsupported virtual size of {size} bytes. The size must be a whole number (in MBs)."
    assert said in finding.evidence[1].found
    assert finding.remedy == f"vhdfast repair {path}"


def test_a_source_of_an_odd_size_is_rounded_by_convert(tmp_path: Path) -> None:
    path = make(tmp_path, disk(SIZE + 512), "disk.raw")
    finding = one(path, "whole-mib")
    assert (finding.outcome, finding.severity) == (Outcome.FAIL, Severity.NOTE)
    assert finding.remedy is not None and finding.remedy.startswith("vhdfast convert")


def test_a_fixed_vhd_can_be_judged_as_a_source(tmp_path: Path) -> None:
    finding = one(make(tmp_path, fixed(disk(SIZE + 512))), "whole-mib", as_is=False)
    assert finding.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("size", "is_legal"),
    [
        (19 * MIB, False),
        (20 * MIB, True),
        (32767 * GIB, True),
        (32768 * GIB, False),
    ],
)
def test_the_sizes_of_managed_disks(tmp_path: Path, size: int, is_legal: bool) -> None:
    try:
        path = make(tmp_path, fixed(disk(size)))
    except OSError:
        pytest.skip("the file system holds no file of that size")
    finding = one(path, "size-limits")
    assert is_right(finding) if is_legal else is_obstacle(finding)


def test_a_source_is_measured_as_convert_rounds_it(tmp_path: Path) -> None:
    path = make(tmp_path, disk(20 * MIB - 512), "disk.raw")
    assert is_right(one(path, "size-limits"))


@pytest.mark.parametrize(
    ("size", "options", "outcome"),
    [
        (2048 * GIB, {}, Outcome.PASS),
        (2049 * GIB, {}, Outcome.UNKNOWN),
        (2049 * GIB, {"generation": "1"}, Outcome.FAIL),
        (2049 * GIB, {"generation": "2"}, Outcome.PASS),
        (4095 * GIB, {"generation": "2"}, Outcome.PASS),
        (4096 * GIB, {"generation": "2"}, Outcome.FAIL),
        (4096 * GIB, {}, Outcome.FAIL),
        (4096 * GIB, {"role": "data"}, Outcome.SKIPPED),
    ],
)
def test_the_sizes_of_os_disks(
    tmp_path: Path, size: int, options: dict[str, Any], outcome: Outcome
) -> None:
    path = make(tmp_path, fixed(disk(size)))
    assert one(path, "os-disk-size", **options).outcome is outcome


def test_what_is_too_large_for_one_generation_only_is_undecided(tmp_path: Path) -> None:
    checked = check(make(tmp_path, fixed(disk(2049 * GIB))))
    assert checked.verdict().startswith("not judged: ")
    assert checked.exit_code() == 3


def test_a_table_for_4096_byte_sectors_on_a_disk_of_512(tmp_path: Path) -> None:
    image = disk()
    image.put(4096, b"EFI PART")
    finding = one(make(tmp_path, fixed(image)), "sector-size")
    assert is_obstacle(finding)
    assert is_right(one(make(tmp_path, fixed(disk()), "other.vhd"), "sector-size"))


def test_an_image_of_4096_byte_sectors(tmp_path: Path) -> None:
    block = bytearray(MIB)
    block[4096:4104] = b"EFI PART"
    write_vhdx(
        tmp_path / "table.vhdx", virtual_size=SIZE, blocks={0: bytes(block)}, sector_size=4096
    )
    write_vhdx(tmp_path / "bare.vhdx", virtual_size=SIZE, blocks={}, sector_size=4096)
    assert is_obstacle(one(tmp_path / "table.vhdx", "sector-size"))
    assert is_right(one(tmp_path / "bare.vhdx", "sector-size"))


# ---- which checks run ---------------------------------------------------------------------------


def test_checks_are_chosen_by_id_group_and_pattern(tmp_path: Path) -> None:
    path = make(tmp_path, fixed(disk()))
    names = {finding.check for finding in check(path, "footer-*").findings}
    assert "footer-size" in names and "whole-mib" not in names
    groups = {finding.check for finding in check(path, "structure").findings}
    assert "tables" in groups and "whole-mib" not in groups
    ignoring = api.check(path, selection=Selection(ignore=["whole-mib"]))
    assert "whole-mib" not in {finding.check for finding in ignoring.findings}


def test_a_check_that_there_is_not_is_a_wrong_call(tmp_path: Path) -> None:
    path = make(tmp_path, fixed(disk()))
    for selection in (Selection(["no-such"]), Selection(ignore=["no-such"])):
        with pytest.raises(UsageError, match="no-such"):
            api.check(path, selection=selection)


def test_a_warning_fails_a_strict_check(tmp_path: Path) -> None:
    checked = check(make(tmp_path, fixed(disk(), features=0)))
    assert checked.exit_code() == 0
    assert checked.exit_code(strict=True) == 1
