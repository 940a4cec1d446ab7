"""Writes VHDX files for tests, from [MS-VHDX] alone: it shares nothing with the reader.

    path = write_vhdx(tmp_path / "disk.vhdx", virtual_size=8 * MIB, blocks={3: b"..."})

lays out: the header section, the log at 1 MiB, the metadata at 2 MiB, the BAT at 3 MiB, then the
payload blocks. Damage is done afterwards: `poke` writes bytes, `seal` makes the checksums right
again. Its CRC-32C is a table in Python, so that the reader's kernels are not trusted to agree with
themselves.
"""

from __future__ import annotations

import functools
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import KIB, MIB, peek, poke

HEADERS = (64 * KIB, 128 * KIB)
REGION_TABLES = (192 * KIB, 256 * KIB)
LOG = MIB
METADATA = 2 * MIB
BAT = 3 * MIB

BAT_REGION = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_REGION = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
VIRTUAL_DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR_SIZE = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR_SIZE = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
VHDX_LOCATOR = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")

NO_LOG = uuid.UUID(int=0)
LOG_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
DISK_ID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
FILE_ID = uuid.UUID("aaaaaaaa-0000-0000-0000-000000000001")
DATA_ID = uuid.UUID("bbbbbbbb-0000-0000-0000-000000000002")
CREATOR = "build_vhdx 1.0"


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


@functools.lru_cache(maxsize=256)
def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, reflected), a byte at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def sealed(data: bytes) -> bytes:
    """The structure with its checksum, at byte 4, made right."""
    cleared = data[:4] + bytes(4) + data[8:]
    return cleared[:4] + struct.pack("<I", crc32c(cleared)) + cleared[8:]


# ---- the log ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """Put these 4096 bytes at `offset` of the file."""

    offset: int
    sector: bytes


@dataclass(frozen=True)
class Zero:
    """Put `length` zeros at `offset` of the file."""

    offset: int
    length: int


@dataclass(frozen=True)
class Entry:
    """One log entry; `tail` is in bytes from the log's start, the sequence's first by default."""

    sequence: int
    changes: Sequence[Data | Zero] = ()
    tail: int | None = None
    flushed: int | None = None  # the file's size by default
    last: int | None = None
    log_id: uuid.UUID = LOG_ID
    padding: int = 0  # sectors more than it needs

    def to_bytes(self, tail: int, file_size: int) -> bytes:
        descriptors, sectors = b"", b""
        for change in self.changes:
            if isinstance(change, Zero):
                descriptors += struct.pack(
                    "<4sIQQQ", b"zero", 0, change.length, change.offset, self.sequence
                )
                continue
            body = change.sector
            assert len(body) == 4096
            descriptors += b"desc" + body[4092:] + body[:8]
            descriptors += struct.pack("<QQ", change.offset, self.sequence)
            sectors += b"data" + struct.pack("<I", self.sequence >> 32) + body[8:4092]
            sectors += struct.pack("<I", self.sequence & 0xFFFFFFFF)
        head_length = -(-(64 + len(descriptors)) // 4096) * 4096
        length = head_length + len(sectors) + 4096 * self.padding
        head = struct.pack(
            "<4sIIIQII16sQQ",
            b"loge", 0, length, tail if self.tail is None else self.tail, self.sequence,
            len(self.changes), 0, self.log_id.bytes_le,
            file_size if self.flushed is None else self.flushed,
            file_size if self.last is None else self.last,
        )  # fmt: skip
        body = (head + descriptors).ljust(head_length, b"\0") + sectors
        return sealed(body.ljust(length, b"\0"))


def log_bytes(entries: Sequence[Entry], file_size: int, start: int = 0, size: int = MIB) -> bytes:
    """A log of `size` bytes with the entries one behind the other from `start` on, round about."""
    log = bytearray(size)
    at = start
    for entry in entries:
        for byte_at, part in _wrapped(entry.to_bytes(start, file_size), at, size):
            log[byte_at : byte_at + len(part)] = part
        at += len(entry.to_bytes(start, file_size))
    return bytes(log)


def _wrapped(data: bytes, at: int, size: int) -> list[tuple[int, bytes]]:
    at %= size
    return [(at, data[: size - at]), (0, data[size - at :])]


# ---- the file -----------------------------------------------------------------------------------


def header(
    sequence: int,
    *,
    log_id: uuid.UUID = NO_LOG,
    log_version: int = 0,
    version: int = 1,
    log_length: int = MIB,
    log_offset: int = LOG,
    data_id: uuid.UUID = DATA_ID,
) -> bytes:
    """One header, 4096 bytes (2.2.2)."""
    fields = struct.pack(
        "<4sIQ16s16s16sHHIQ", b"head", 0, sequence, FILE_ID.bytes_le, data_id.bytes_le,
        log_id.bytes_le, log_version, version, log_length, log_offset,
    )  # fmt: skip
    return sealed(fields.ljust(4096, b"\0"))


def region_table(entries: Sequence[tuple[uuid.UUID, int, int, int]]) -> bytes:
    """A region table of (id, offset, length, required), 64 KiB (2.2.3)."""
    body = struct.pack("<4sIII", b"regi", 0, len(entries), 0)
    for region_id, offset, length, required in entries:
        body += struct.pack("<16sQII", region_id.bytes_le, offset, length, required)
    return sealed(body.ljust(64 * KIB, b"\0"))


def metadata_region(items: Sequence[tuple[uuid.UUID, bytes, int]]) -> bytes:
    """The metadata table and its items (id, bytes, flags), one behind the other (2.6)."""
    table, bodies = struct.pack("<8sHH20s", b"metadata", 0, len(items), b""), b""
    for item_id, body, flags in items:
        table += struct.pack(
            "<16sIIII", item_id.bytes_le, 64 * KIB + len(bodies), len(body), flags, 0
        )
        bodies += body
    return table.ljust(64 * KIB, b"\0") + bodies


def parent_locator(pairs: Mapping[str, str]) -> bytes:
    """2.6.2.6, with the strings behind the table."""
    head = VHDX_LOCATOR.bytes_le + struct.pack("<HH", 0, len(pairs))
    table, strings = b"", b""
    base = len(head) + 12 * len(pairs)
    for key, value in pairs.items():
        raw_key, raw_value = key.encode("utf-16-le"), value.encode("utf-16-le")
        key_at = base + len(strings)
        table += struct.pack("<IIHH", key_at, key_at + len(raw_key), len(raw_key), len(raw_value))
        strings += raw_key + raw_value
    return head + table + strings


def standard_items(
    virtual_size: int,
    block_size: int = MIB,
    sector_size: int = 512,
    physical_sector_size: int = 4096,
    flags: int = 0,
) -> list[tuple[uuid.UUID, bytes, int]]:
    """The five items that every disk has; flags: 1 fixed, 2 with a parent."""
    return [
        (FILE_PARAMETERS, struct.pack("<II", block_size, flags), 4),
        (VIRTUAL_DISK_SIZE, struct.pack("<Q", virtual_size), 6),
        (VIRTUAL_DISK_ID, DISK_ID.bytes_le, 6),
        (LOGICAL_SECTOR_SIZE, struct.pack("<I", sector_size), 6),
        (PHYSICAL_SECTOR_SIZE, struct.pack("<I", physical_sector_size), 6),
    ]


def bat_index(block: int, block_size: int = MIB, sector_size: int = 512) -> int:
    """Where the BAT has a payload block: behind each chunk comes its sector bitmap's entry."""
    return block + block // (2**23 * sector_size // block_size)


def bitmap_index(chunk: int, block_size: int = MIB, sector_size: int = 512) -> int:
    """Where the BAT has a chunk's sector bitmap: behind its payload blocks."""
    ratio = 2**23 * sector_size // block_size
    return chunk * (ratio + 1) + ratio


def bat_length(
    virtual_size: int, block_size: int = MIB, sector_size: int = 512, has_parent: bool = False
) -> int:
    """Bytes of the BAT region, in whole MiB: the entries up to the last block's, or to the last
    bitmap's of a differencing disk."""
    last = bat_index(-(-virtual_size // block_size) - 1, block_size, sector_size)
    if has_parent:
        last = bitmap_index(-(-virtual_size // (2**23 * sector_size)) - 1, block_size, sector_size)
    return -(-8 * (last + 1) // MIB) * MIB


def linkage(data_id: uuid.UUID = DATA_ID) -> str:
    """A parent's identity as Hyper-V writes it."""
    return "{" + str(data_id) + "}"


def write_vhdx(
    path: Path,
    *,
    virtual_size: int,
    blocks: Mapping[int, bytes] | None = None,
    states: Mapping[int, int] | None = None,
    places: Mapping[int, int] | None = None,
    block_size: int = MIB,
    sector_size: int = 512,
    fixed: bool = False,
    entries: Sequence[Entry] | None = None,
    log: bytes | None = None,
    items: Sequence[tuple[uuid.UUID, bytes, int]] | None = None,
    regions: Sequence[tuple[uuid.UUID, int, int, int]] | None = None,
    short_end: bool = False,
    parent: Mapping[str, str] | None = None,
    partial: Mapping[int, bytes] | None = None,
    bitmaps: Mapping[int, bytes] | None = None,
    bitmap_states: Mapping[int, int] | None = None,
    data_id: uuid.UUID = DATA_ID,
) -> Path:
    """Write a sparse VHDX and return its path.

    blocks: payload by block number, padded with zeros to the block size; state 6. They lie in the
    mapping's order, which need not be the disk's.
    states: raw 64-bit BAT entries of blocks that have no payload.
    places: file offsets of blocks, MiB, in place of the next free one.
    entries, log: log entries from the start of the log, or the whole log; both make it dirty.
    short_end: the file ends with the last payload byte instead of a whole block.
    parent: the pairs of a parent locator, which make it a differencing disk.
    partial: payload of blocks in state 7. bitmaps: by chunk, in state 6, up to 1 MiB each.
    bitmap_states: raw entries of bitmaps that have no block.
    """
    blocks, states, places = blocks or {}, states or {}, places or {}
    partial, bitmaps, bitmap_states = partial or {}, bitmaps or {}, bitmap_states or {}
    has_parent = parent is not None
    bat_size = bat_length(virtual_size, block_size, sector_size, has_parent)
    free = BAT + bat_size
    end = free
    table: dict[int, int] = dict(states)
    with open(path, "wb") as file:
        indices: dict[int, int] = {
            bitmap_index(chunk, block_size, sector_size): entry
            for chunk, entry in bitmap_states.items()
        }
        for chunk, body in bitmaps.items():
            assert len(body) <= MIB
            indices[bitmap_index(chunk, block_size, sector_size)] = free | 6
            file.seek(free)
            file.write(body.ljust(MIB, b"\0"))
            free = end = free + MIB
        for block, body in {**blocks, **partial}.items():
            place = places.get(block, free)
            assert place % MIB == 0 and len(body) <= block_size
            table[block] = place | (7 if block in partial else 6)
            file.seek(place)
            file.write(body)
            free = max(free, place + block_size)
            end = max(end, place + (len(body) if short_end else block_size))
        file.truncate(end)
        for block, entry in table.items():
            indices[bat_index(block, block_size, sector_size)] = entry
        for index, entry in indices.items():
            file.seek(BAT + 8 * index)
            file.write(struct.pack("<Q", entry))
        if entries is not None:
            log = log_bytes(entries, end)
        if items is None:
            flags = int(fixed) | 2 * has_parent
            items = standard_items(virtual_size, block_size, sector_size, flags=flags)
            if parent is not None:
                items.append((PARENT_LOCATOR, parent_locator(parent), 4))
        if regions is None:
            regions = [(BAT_REGION, BAT, bat_size, 1), (METADATA_REGION, METADATA, MIB, 1)]
        log_id = NO_LOG if log is None else LOG_ID
        pieces = {
            0: b"vhdxfile" + CREATOR.encode("utf-16-le"),
            HEADERS[0]: header(6, log_id=log_id, data_id=data_id),
            HEADERS[1]: header(7, log_id=log_id, data_id=data_id),
            REGION_TABLES[0]: region_table(regions),
            REGION_TABLES[1]: region_table(regions),
            LOG: log or b"",
            METADATA: metadata_region(items),
        }
        for offset, body in pieces.items():
            file.seek(offset)
            file.write(body)
    return path


# ---- damage -------------------------------------------------------------------------------------


def seal(path: Path) -> None:
    """Make the checksums of both headers and both region tables right."""
    for offset, length in [(at, 4 * KIB) for at in HEADERS] + [
        (at, 64 * KIB) for at in REGION_TABLES
    ]:
        poke(path, offset, sealed(peek(path, offset, length)))


def poke_both(path: Path, places: Sequence[int], field: int, data: bytes) -> None:
    """Overwrite a field of both headers or of both region tables, with right checksums."""
    for place in places:
        poke(path, place + field, data)
    seal(path)
