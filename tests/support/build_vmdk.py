"""Writes VMDK files for tests, from VMware's "Virtual Disk Format 5.0" alone (seSparse: from what
a real extent shows): it shares nothing with the reader.

    sparse = write_sparse(tmp_path / "d.vmdk", sectors=4096, grains={3: b"..."})

A grain given as None is a zeroed one. What is written where stands in the Layout that comes back;
damage is done afterwards with `poke`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import KIB, MIB, pattern, poke  # noqa: F401 - tests against qemu-img take them from here

SECTOR = 512

Grains = Mapping[int, bytes | None]


@dataclass
class Layout:
    """Where things lie in the file, bytes."""

    path: Path
    directory: int = 0
    redundant: int = 0
    footer: int = 0
    tables: dict[int, int] = field(default_factory=dict)
    spare_tables: dict[int, int] = field(default_factory=dict)
    grains: dict[int, int] = field(default_factory=dict)


# ---- descriptors --------------------------------------------------------------------------------


def descriptor(
    extents: Sequence[str],
    create_type: str = "custom",
    cid: str = "12345678",
    parent: str = "ffffffff",
    hint: str | None = None,
    more: Sequence[str] = (),
    encoding: str | None = None,
) -> str:
    """The text of a descriptor; `extents` are whole lines."""
    lines = ["# Disk DescriptorFile", "version=1"]
    if encoding is not None:
        lines.append(f'encoding="{encoding}"')
    lines += [f"CID={cid}", f"parentCID={parent}", f'createType="{create_type}"']
    if hint is not None:
        lines.append(f'parentFileNameHint="{hint}"')
    lines += ["", "# Extent description", *extents, "", "# The Disk Data Base", "#DDB", ""]
    lines += ['ddb.adapterType = "lsilogic"', 'ddb.geometry.cylinders = "20"',
              'ddb.geometry.heads = "16"', 'ddb.geometry.sectors = "63"']  # fmt: skip
    return "\n".join([*lines, *more]) + "\n"


def write_descriptor(path: Path, extents: Sequence[str], **fields: object) -> Path:
    path.write_text(descriptor(extents, **fields))  # type: ignore[arg-type]
    return path


# ---- hosted sparse extents ----------------------------------------------------------------------


def header(
    sectors: int,
    grain: int = 128,
    *,
    version: int = 1,
    flags: int = 3,
    descriptor_at: int = 0,
    descriptor_size: int = 0,
    entries: int = 512,
    redundant: int = 0,
    directory: int = 0,
    overhead: int = 128,
    unclean: int = 0,
    compression: int = 0,
) -> bytes:
    """One sector; places and sizes in sectors."""
    return struct.pack(
        "<4sIIQQQQIQQQB4sH", b"KDMV", version, flags, sectors, grain, descriptor_at,
        descriptor_size, entries, redundant, directory, overhead, unclean, b"\n \r\n", compression,
    ).ljust(SECTOR, b"\0")  # fmt: skip


class _File:
    """A file that grows by whole sectors."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def end(self) -> int:
        return len(self.data)

    def add(self, data: bytes) -> int:
        """Where it lies, bytes."""
        at = self.end
        self.data += data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
        return at

    def put(self, at: int, data: bytes) -> None:
        self.data[at : at + len(data)] = data


def _u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def write_sparse(
    path: Path,
    sectors: int,
    grains: Grains | None = None,
    *,
    grain: int = 128,
    text: str | None = "",
    redundant: bool = True,
    order: Sequence[int] | None = None,
    **fields: int,
) -> Layout:
    """A hosted sparse extent that is not compressed.

    text: its descriptor; "" makes one of monolithicSparse, None leaves it out. order: in which
    grains lie in the file (ascending by default).
    """
    grains = dict(grains or {})
    if text == "":
        text = descriptor([f'RW {sectors} SPARSE "{path.name}"'], "monolithicSparse")
    file, layout = _File(), Layout(path)
    file.add(bytes(SECTOR))
    if text is not None:
        file.add(text.encode().ljust(20 * SECTOR, b"\0"))
    count = -(-sectors // (grain * 512))
    used = sorted({index // 512 for index in grains})
    flags = 1 | (2 if redundant else 0) | (4 if None in grains.values() else 0)

    def tables() -> tuple[int, dict[int, int]]:
        directory = file.add(bytes(4 * count))
        found = {index: file.add(bytes(2048)) for index in used}
        for index, at in found.items():
            file.put(directory + 4 * index, _u32(at // SECTOR))
        return directory, found

    if redundant:
        layout.redundant, layout.spare_tables = tables()
    layout.directory, layout.tables = tables()
    file.add(bytes(-file.end % (grain * SECTOR)))
    overhead = file.end // SECTOR
    for index in order if order is not None else sorted(grains):
        body = grains[index]
        entry = 1
        if body is not None:
            layout.grains[index] = file.add(body.ljust(grain * SECTOR, b"\0"))
            entry = layout.grains[index] // SECTOR
        for found in (layout.tables, layout.spare_tables):
            if found:
                file.put(found[index // 512] + 4 * (index % 512), _u32(entry))
    given = {
        "flags": flags, "version": 2 if flags & 4 else 1, "descriptor_at": 0 if text is None else 1,
        "descriptor_size": 0 if text is None else 20, "overhead": overhead,
        "redundant": layout.redundant // SECTOR, "directory": layout.directory // SECTOR,
    }  # fmt: skip
    file.put(0, header(sectors, grain, **{**given, **fields}))
    path.write_bytes(file.data)
    return layout


def write_stream(
    path: Path,
    sectors: int,
    grains: Mapping[int, bytes] | None = None,
    *,
    grain: int = 128,
    text: str | None = "",
    footer: bool = True,
    padding: bytes = b"",
    level: int = 6,
    streams: Mapping[int, bytes] | None = None,
    **fields: int,
) -> Layout:
    """A stream-optimized extent: its directory behind the grains, or (footer=False) named in front.

    padding: behind the end of the stream. streams: grains as they are to be stored, instead of
    compressed here.
    """
    if text == "":
        text = descriptor([f'RDONLY {sectors} SPARSE "stream.vmdk"'], "streamOptimized")
    grains = dict(grains or {})
    packed = {index: zlib.compress(body, level) for index, body in grains.items()}
    packed |= dict(streams or {})
    file, layout = _File(), Layout(path)
    file.add(bytes(SECTOR))
    if text is not None:
        file.add(text.encode().ljust(20 * SECTOR, b"\0"))
    file.add(bytes(-file.end % (128 * SECTOR)))

    def marker(value: int, kind: int) -> None:
        file.add(struct.pack("<QII", value, 0, kind))

    for index in sorted(packed):
        body = packed[index]
        layout.grains[index] = file.add(struct.pack("<QI", index * grain, len(body)) + body)
    directory = [0] * -(-sectors // (grain * 512))
    for table in sorted({index // 512 for index in packed}):
        marker(4, 1)
        entries = [layout.grains.get(512 * table + at, 0) // SECTOR for at in range(512)]
        layout.tables[table] = file.add(_u32(*entries))
        directory[table] = layout.tables[table] // SECTOR
    marker(-(-len(directory) // 128), 2)
    layout.directory = file.add(_u32(*directory))
    given = {
        "version": 3, "flags": 0x30001, "compression": 1,
        "descriptor_at": 0 if text is None else 1, "descriptor_size": 0 if text is None else 20,
        "directory": layout.directory // SECTOR,
    }  # fmt: skip
    final = header(sectors, grain, **{**given, **fields})
    if footer:
        marker(1, 3)
        layout.footer = file.add(final)
        file.put(0, header(sectors, grain, **{**given, "directory": (1 << 64) - 1, **fields}))
    else:
        file.put(0, final)
    marker(0, 0)
    path.write_bytes(bytes(file.data) + padding)
    return layout


# ---- extents of ESX -----------------------------------------------------------------------------


def write_cowd(
    path: Path,
    sectors: int,
    grains: Mapping[int, bytes] | None = None,
    *,
    grain: int = 1,
    entries: int | None = None,
    unclean: int = 0,
    version: int = 1,
    parent: bytes = b"",
) -> Layout:
    """An ESX server sparse extent; tables of 4096 entries."""
    grains = dict(grains or {})
    file, layout = _File(), Layout(path)
    file.add(bytes(2048))
    count = -(-sectors // (grain * 4096))
    layout.directory = file.add(bytes(4 * count))
    for table in sorted({index // 4096 for index in grains}):
        layout.tables[table] = file.add(bytes(4 * 4096))
        file.put(layout.directory + 4 * table, _u32(layout.tables[table] // SECTOR))
    for index in sorted(grains):
        layout.grains[index] = file.add(grains[index].ljust(grain * SECTOR, b"\0"))
        file.put(
            layout.tables[index // 4096] + 4 * (index % 4096),
            _u32(layout.grains[index] // SECTOR),
        )
    head = b"COWD" + _u32(version, 3, sectors, grain, 4, count if entries is None else entries,
                          file.end // SECTOR)  # fmt: skip
    head += parent.ljust(1024, b"\0")
    file.put(0, head)
    file.put(1648, _u32(unclean))
    path.write_bytes(file.data)
    return layout


def write_sesparse(
    path: Path,
    sectors: int,
    grains: Mapping[int, bytes | int] | None = None,
    *,
    replay: int = 0,
) -> Layout:
    """A space-efficient sparse extent. A grain that is a number is the kind that its entry has."""
    grains = dict(grains or {})
    count = -(-sectors // (8 * 4096))
    used = sorted({index // 4096 for index in grains})
    file, layout = _File(), Layout(path)
    places: list[int] = []

    def region(length: int) -> int:
        at = file.add(bytes(length))
        places.extend((at // SECTOR, (file.end - at) // SECTOR))
        return at

    file.add(bytes(SECTOR))
    volatile = region(SECTOR)
    region(1024)
    region(64 * KIB)
    layout.directory = region(8 * count)
    tables = region(32 * KIB * max(1, len(used)))
    region(4 * KIB)
    region(4 * KIB)
    file.add(bytes(-file.end % 4096))
    first = region(0)
    stored = 0
    for number, table in enumerate(used):
        layout.tables[table] = tables + 32 * KIB * number
        file.put(layout.directory + 8 * table, struct.pack("<Q", 1 << 60 | number))
    for index in sorted(grains):
        body = grains[index]
        entry = (body if isinstance(body, int) else 3) << 60
        if isinstance(body, bytes):
            layout.grains[index] = file.add(body.ljust(4096, b"\0"))
            entry |= (stored & 0xFFF) << 48 | stored >> 12
            stored += 1
        file.put(layout.tables[index // 4096] + 8 * (index % 4096), struct.pack("<Q", entry))
    places[-2:] = [first // SECTOR, (file.end - first) // SECTOR]
    head = struct.pack("<10Q", 0xCAFEBABE, 0x200000001, sectors, 8, 64, 0, 0, 0, 0, 0)
    file.put(0, head + struct.pack("<16Q", *places))
    file.put(volatile, struct.pack("<4Q", 0xCAFECAFE, 1, 7, replay))
    path.write_bytes(file.data)
    return layout
