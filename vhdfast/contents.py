"""What the first bytes of a *disk* say: partition tables and file systems.

Detection takes a file for a raw disk only where something here (or its name) speaks for it, and
conversion refuses partition tables that a disk of 512-byte sectors would not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

__all__ = ["HEAD_LENGTH", "describe", "file_system_size", "file_systems", "partition_table"]

# The farthest sign is the btrfs superblock's, at 64 KiB + 64.
HEAD_LENGTH = 0x11000

ReadAt = Callable[[int, int], bytes]  # (offset, length) -> up to length bytes

_FILE_SYSTEMS: tuple[tuple[int, bytes, str], ...] = (
    (0x438, b"\x53\xef", "ext2/3/4"),
    (0, b"XFSB", "XFS"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (0x36, b"FAT1", "FAT"),
    (0x52, b"FAT32", "FAT"),
    (0x8001, b"CD001", "ISO 9660"),
    (0x218, b"LVM2 001", "LVM2 physical volume"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0xFF6, b"SWAPSPACE2", "swap"),
    (0xFF6, b"SWAP-SPACE", "swap"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "md member"),
    (0, b"hsqs", "squashfs"),
    (0x400, b"\x10\x20\xf5\xf2", "F2FS"),
    (0x55C, b"\x19\x01\x54\x19", "UFS"),
    (0x2020, b"_MLB", "JFS"),
)


def _has_mbr(sector: bytes) -> bool:
    """A boot signature and at least one plausible partition entry, no impossible one."""
    if sector[510:512] != b"\x55\xaa":
        return False
    used = 0
    for at in range(446, 510, 16):
        entry = sector[at : at + 16]
        if entry[0] not in (0x00, 0x80):
            return False
        if entry[4] and int.from_bytes(entry[12:16], "little"):
            used += 1
    return used > 0


def partition_table(read_at: ReadAt, sector_size: int) -> str | None:
    """"GPT" or "MBR" where a table made for this sector size (512 or 4096 bytes) is there.

    An MBR does not tell its sector size: it is found with either.
    """
    if read_at(sector_size, 8) == b"EFI PART":
        return "GPT"
    return "MBR" if _has_mbr(read_at(0, 512)) else None


def file_systems(read_at: ReadAt) -> Iterator[tuple[int, str]]:
    """(offset of its signature, name) of what may be a file system, or the like, from byte 0 on."""
    for offset, magic, name in _FILE_SYSTEMS:
        if read_at(offset, len(magic)) == magic:
            yield offset, name


def file_system_size(read_at: ReadAt) -> int | None:
    """Bytes that a file system on the whole disk says it has; None where that is not known here.

    ext2 to 4, XFS, btrfs, NTFS and exFAT, by their superblocks; those of Linux are in its
    documentation of file systems, the others in Microsoft's.
    """

    def field(offset: int, length: int, order: Literal["little", "big"] = "little") -> int:
        return int.from_bytes(read_at(offset, length), order)

    names = {name for _, name in file_systems(read_at)}
    if "ext2/3/4" in names:
        is_64_bit = field(0x460, 4) & 0x80
        blocks = field(0x404, 4) | (field(0x550, 4) << 32 if is_64_bit else 0)
        return blocks << 10 + (field(0x418, 4) & 0xF)
    if "XFS" in names:
        return field(4, 4, "big") * field(8, 8, "big")
    if "btrfs" in names:
        return field(0x10070, 8)
    if "NTFS" in names:  # its last sector, a copy of the first, is not counted
        return (field(0x28, 8) + 1) * field(0x0B, 2)
    if "exFAT" in names:
        return field(0x48, 8) << (field(0x6C, 1) & 0xF)
    return None


def describe(read_at: ReadAt) -> str | None:
    """What a disk holds ("a GPT partition table", "XFS signature"), None if it shows nothing."""
    for sector_size in (512, 4096):
        if read_at(sector_size, 8) == b"EFI PART":
            return f"a GPT partition table ({sector_size}-byte sectors)"
    for _, name in file_systems(read_at):
        return f"{name} signature"
    sector = read_at(0, 512)
    if _has_mbr(sector):
        return "an MBR partition table"
    if sector[510:512] == b"\x55\xaa":
        return "a boot sector"
    return None
