"""vhdx-headers"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhdx.headers import (
    HEADER_LENGTH,
    HEADER_OFFSETS,
    REGION_TABLE_LENGTH,
    REGION_TABLE_OFFSETS,
    SIGNATURE,
    sum_of,
)
from ..base import Check, Evidence, Finding, Reference, Severity
from ..subject import Subject

MS_VHDX = Reference(
    "[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format",
    "https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/",
)


class VhdxHeaders(Check):
    id = "vhdx-headers"
    title = "both headers and both region tables of a VHDX are intact"
    severity = Severity.WARNING
    what = "The checksums of the two headers and the two region tables; the tables are the same."
    why = (
        "Each is there twice so that a crash while one is written hurts nobody. Where one is "
        "damaged nothing is in reserve, and qemu reads the first region table only."
    )
    fix = "Compare the file with the original. If it is whole, `vhdfast convert` reads it."
    references = (MS_VHDX,)
    order = 12

    def run(self, subject: Subject) -> Iterator[Finding]:
        source = subject.source
        if not (subject.format == "vhdx" or subject.head.startswith(SIGNATURE)):
            yield self.skipped("this is no VHDX")
            return
        last = REGION_TABLE_OFFSETS[-1] + REGION_TABLE_LENGTH
        if source.size < last:
            yield self.unknown(f"the file has {source.size} bytes, the headers take {last}")
            return
        wrong = 0
        tables: list[bytes] = []
        for which, offsets, length, signature in (
            ("header", HEADER_OFFSETS, HEADER_LENGTH, b"head"),
            ("region table", REGION_TABLE_OFFSETS, REGION_TABLE_LENGTH, b"regi"),
        ):
            for ordinal, offset in zip(("first", "second"), offsets, strict=True):
                data = source.read_exact(offset, length, which)
                if which == "region table":
                    tables.append(data)
                problem = _problem(data, signature, offset)
                if problem is not None:
                    wrong += 1
                    yield self.failed(
                        f"the {ordinal} {which} is damaged", problem,
                        remedy="compare the file with the original",
                    )  # fmt: skip
        if wrong:
            return
        if tables[0] != tables[1]:
            yield self.failed(
                "both region tables are intact, and differ",
                Evidence(
                    "second region table", "another than the first", "the same",
                    offset=REGION_TABLE_OFFSETS[1],
                ),
                remedy=subject.convert_command,
            )  # fmt: skip
        else:
            yield self.passed("both headers and both region tables are intact")


def _problem(data: bytes, signature: bytes, offset: int) -> Evidence | None:
    if data[:4] != signature:
        return Evidence("signature", repr(data[:4]), repr(signature), offset=offset)
    stored, computed = int.from_bytes(data[4:8], "little"), sum_of(data)
    if stored != computed:
        return Evidence("checksum", f"{stored:#010x}", f"{computed:#010x}", offset=offset + 4)
    return None
