"""VHDX files, packed by hand from [MS-VHDX], with a CRC-32C of their own."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from . import KIB, MIB, SparseFile

HEADERS = (64 * KIB, 128 * KIB)
REGION_TABLES = (192 * KIB, 256 * KIB)
LOG = 1 * MIB
METADATA = 2 * MIB
BAT = 3 * MIB
NO_LOG = uuid.UUID(int=0)
LOG_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
BAT_ID = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_ID = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")

# name: (offset, bytes)
HEADER_FIELDS = {
    "signature": (0, 4),
    "checksum": (4, 4),
    "sequence": (8, 8),
    "file_write_id": (16, 16),
    "data_write_id": (32, 16),
    "log_id": (48, 16),
    "log_version": (64, 2),
    "version": (66, 2),
    "log_length": (68, 4),
    "log_offset": (72, 8),
}


def _make_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _make_table()


@lru_cache(maxsize=512)
def crc32c(data: bytes) -> int:
    table, value = _TABLE, 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def with_checksum(data: bytes) -> bytes:
    """The structure with its checksum, at byte 4, put right."""
    blank = data[:4] + bytes(4) + data[8:]
    return data[:4] + struct.pack("<I", crc32c(blank)) + data[8:]


def make_header(
    sequence: int,
    *,
    log_id: uuid.UUID = NO_LOG,
    log_version: int = 0,
    version: int = 1,
    log_length: int = MIB,
    log_offset: int = LOG,
) -> bytes:
    data = b"head" + struct.pack("<IQ", 0, sequence)
    data += uuid.UUID(int=1).bytes_le + uuid.UUID(int=2).bytes_le + log_id.bytes_le
    data += struct.pack("<HHIQ", log_version, version, log_length, log_offset)
    return with_checksum(data.ljust(4 * KIB, b"\0"))


def make_regions(entries: Sequence[tuple[uuid.UUID, int, int, int]]) -> bytes:
    """entries: (identifier, offset, length, required)."""
    data = b"regi" + struct.pack("<III", 0, len(entries), 0)
    for identifier, offset, length, required in entries:
        data += identifier.bytes_le + struct.pack("<QII", offset, length, required)
    return with_checksum(data.ljust(64 * KIB, b"\0"))


def make_metadata(items: Sequence[tuple[uuid.UUID, bytes, int]]) -> bytes:
    """items: (identifier, bytes, flags); they follow the table at 64 KiB, 16 bytes aligned."""
    table = b"metadata" + struct.pack("<HH", 0, len(items)) + bytes(20)
    stored = b""
    for identifier, value, flags in items:
        table += identifier.bytes_le
        table += struct.pack("<IIII", 64 * KIB + len(stored), len(value), flags, 0)
        stored += value.ljust(-(-len(value) // 16) * 16, b"\0")
    return table.ljust(64 * KIB, b"\0") + stored


def make_locator(pairs: dict[str, str]) -> bytes:
    """A parent locator with these keys and values."""
    head = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le
    head += struct.pack("<HH", 0, len(pairs))
    entries, text = b"", b""
    start = 20 + 12 * len(pairs)
    for key, value in pairs.items():
        key_bytes, value_bytes = key.encode("utf-16-le"), value.encode("utf-16-le")
        at = start + len(text)
        entries += struct.pack("<IIHH", at, at + len(key_bytes), len(key_bytes), len(value_bytes))
        text += key_bytes + value_bytes
    return head + entries + text


def make_log_entry(
    sequence: int,
    changes: Sequence[tuple[int, bytes | int]],
    *,
    tail: int = 0,
    flushed: int = 0,
    last: int = 0,
    log_id: uuid.UUID = LOG_ID,
) -> bytes:
    """changes: (file offset, 4096 bytes) for data, (file offset, length) for zeros."""
    descriptors, sectors = b"", b""
    for offset, change in changes:
        if isinstance(change, int):
            descriptors += b"zero" + bytes(4) + struct.pack("<QQQ", change, offset, sequence)
            continue
        assert len(change) == 4096
        descriptors += b"desc" + change[-4:] + change[:8] + struct.pack("<QQ", offset, sequence)
        sectors += b"data" + struct.pack("<I", sequence >> 32) + change[8:-4]
        sectors += struct.pack("<I", sequence & 0xFFFFFFFF)
    space = -(-(64 + len(descriptors)) // 4096) * 4096
    head = b"loge" + struct.pack("<IIIQII", 0, space + len(sectors), tail, sequence,
                                 len(changes), 0)  # fmt: skip
    head += log_id.bytes_le + struct.pack("<QQ", flushed, last)
    return with_checksum((head + descriptors).ljust(space, b"\0") + sectors)


@dataclass
class Vhdx:
    """A VHDX: call `store`, `state` and `log`, then `build`.

    1 MiB log, 2 MiB metadata region, 3 MiB BAT region, then the blocks.
    """

    virtual_size: int
    block_size: int = MIB
    sector: int = 512
    physical: int = 4096
    fixed: bool = False
    flags: int | None = None  # of the file parameters, where `fixed` is not all
    sequences: tuple[int, int] = (7, 8)
    creator: str = "a test"
    log_id: uuid.UUID = NO_LOG
    header: dict[str, int] = field(default_factory=dict)
    items: dict[uuid.UUID, tuple[bytes, int] | None] = field(default_factory=dict)
    more_regions: list[tuple[uuid.UUID, int, int, int]] = field(default_factory=list)
    bat: dict[int, int] = field(default_factory=dict)  # by index, not by block
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    log_pieces: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chunk_ratio = (self.sector << 23) // self.block_size
        count = -(-self.virtual_size // self.block_size)
        self.bat_length = -(-8 * self.index(count + 1) // MIB) * MIB
        self.next = BAT + self.bat_length

    def index(self, block: int) -> int:
        return block + block // self.chunk_ratio

    def store(self, block: int, content: bytes = b"", at: int | None = None) -> int:
        """Store a fully present block and return where it lies."""
        at = self.next if at is None else at
        self.state(block, 6, at)
        if content:
            self.pieces.append((at, content))
        self.next = max(self.next, at + self.block_size)
        return at

    def state(self, block: int, state: int, at: int = 0) -> None:
        self.bat[self.index(block)] = at | state

    def log(self, at: int, entry: bytes) -> None:
        """Put an entry into the log at byte `at` of it, around its end if need be."""
        self.log_id = LOG_ID
        before = entry[: MIB - at]
        self.log_pieces.append((at, before))
        if len(before) < len(entry):
            self.log_pieces.append((0, entry[len(before) :]))

    def metadata_items(self) -> list[tuple[uuid.UUID, bytes, int]]:
        flags = int(self.fixed) if self.flags is None else self.flags
        items: dict[uuid.UUID, tuple[bytes, int] | None] = {
            FILE_PARAMETERS: (struct.pack("<II", self.block_size, flags), 4),
            DISK_SIZE: (struct.pack("<Q", self.virtual_size), 6),
            DISK_ID: (uuid.UUID(int=3).bytes_le, 6),
            LOGICAL_SECTOR: (struct.pack("<I", self.sector), 6),
            PHYSICAL_SECTOR: (struct.pack("<I", self.physical), 6),
            **self.items,
        }
        return [(key, *value) for key, value in items.items() if value is not None]

    def build(self) -> SparseFile:
        image = SparseFile(self.next)
        image.put(0, b"vhdxfile" + self.creator.encode("utf-16-le"))
        for offset, sequence in zip(HEADERS, self.sequences, strict=True):
            image.put(offset, make_header(sequence, log_id=self.log_id, **self.header))
        regions = [(BAT_ID, BAT, self.bat_length, 1), (METADATA_ID, METADATA, MIB, 1)]
        for offset in REGION_TABLES:
            image.put(offset, make_regions(regions + self.more_regions))
        for at, data in self.log_pieces:
            image.put(LOG + at, data)
        image.put(METADATA, make_metadata(self.metadata_items()))
        for index, entry in self.bat.items():
            image.put(BAT + 8 * index, struct.pack("<Q", entry))
        for at, data in self.pieces:
            image.put(at, data)
        return image
