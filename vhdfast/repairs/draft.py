"""The VHD as it is, and as it is to be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ..errors import (
    UnprovenError,
)
from ..files import SourceFile
from ..formats.vhd.dynamic import DynamicHeader
from ..formats.vhd.footer import (
    LARGEST_GEOMETRY,
    DiskType,
    Footer,
)
from .base import Finding, RepairOptions

__all__ = ["Copy", "Draft", "plain"]


def plain(footer: Footer) -> Footer:
    """A footer without its checksum."""
    return dataclasses.replace(footer, stored_checksum=0, checksum=0)


@dataclass(frozen=True, slots=True)
class Copy:
    """A footer as it lies in the file: its bytes (511 or 512) and where they begin."""

    offset: int
    data: bytes

    @property
    def footer(self) -> Footer | None:
        return Footer.parse(self.data)

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass
class Draft:
    """What repairs look at and change.

    end, head: the footer at the end, and the copy at the start of a dynamic disk, as they are;
    None where there is none. old_footer: the one that counts, as it is; footer: as it is to be.
    """

    source: SourceFile
    options: RepairOptions
    end: Copy | None
    head: Copy | None
    old_footer: Footer
    footer: Footer
    header: DynamicHeader | None = None
    fix_header: bool = False  # its checksum is to be put right
    data_end: int = 0  # of a dynamic disk: where its last block, table or locator ends
    file_end: int = 0  # where the footer's last byte lies, or the file ends where it has none
    drop_behind: bool = False  # what lies behind the footer is to be removed
    move_gpt: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_fixed(self) -> bool:
        return self.old_footer.disk_type == DiskType.FIXED

    @property
    def subformat(self) -> str:
        return DiskType(self.old_footer.disk_type).name.lower()

    @property
    def disk_end(self) -> int:
        """Where a fixed disk's bytes end in the file: its footer begins there."""
        return self.source.size if self.end is None else self.end.offset

    def found(
        self, code: str, message: str, repaired: bool = True, offset: int | None = None
    ) -> None:
        self.findings.append(Finding(code, message, repaired, offset))

    def set(self, **fields: object) -> None:
        """Fields of the footer that is to be."""
        self.footer = dataclasses.replace(self.footer, **fields)  # type: ignore[arg-type]

    def resize(self, size: int) -> None:
        """Another size; the geometry then is the one that no reader computes a size from."""
        self.set(current_size=size, original_size=size, geometry=LARGEST_GEOMETRY)

    def unproven(self, message: str, offset: int | None, hint: str) -> UnprovenError:
        return UnprovenError(message, path=self.source.path, offset=offset, hint=hint)
