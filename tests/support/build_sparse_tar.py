"""Writes sparse members of tar files for tests, in each of GNU's encodings, entry by entry."""

from __future__ import annotations

from collections.abc import Sequence

from .build_tar import BLOCK, header, number, padded, pax

GNU = b"ustar  \0"
ENCODINGS = ("old", "0.0", "0.1", "1.0")

Entry = tuple[int, int]  # (offset, length)


def old_gnu(
    name: str,
    size: int | bytes,
    entries: Sequence[Entry | bytes],
    data: bytes,
    *,
    stored: int | None = None,
    magic: bytes = GNU,
    last: bool = True,
) -> bytes:
    """A member of type S. entries: of 24 bytes each where they are bytes.

    last: whether the last block of the map says that it is the last.
    """
    fields = [
        entry if isinstance(entry, bytes) else number(entry[0]) + number(entry[1])
        for entry in entries
    ]
    blocks = [fields[at : at + 21] for at in range(4, len(fields), 21)]
    total = size if isinstance(size, bytes) else number(size)
    more = b"\1" if blocks or not last else b"\0"
    extra = [(386, b"".join(fields[:4])), (482, more), (483, total)]
    count = len(data) if stored is None else stored
    out = header(name.encode(), count, b"S", magic=magic, extra=extra)
    for index, block in enumerate(blocks):
        is_last = index == len(blocks) - 1 and last
        out += b"".join(block).ljust(504, b"\0") + (b"\0" if is_last else b"\1") + bytes(7)
    return out + padded(data)


def in_extended_header(
    name: str, records: Sequence[tuple[str, object]], data: bytes, *, size: int | None = None
) -> bytes:
    """A member behind an extended header of these records."""
    head = pax([(key, str(value)) for key, value in records])
    return head + header(name.encode(), len(data) if size is None else size) + padded(data)


def pax_00(name: str, size: int, entries: Sequence[Entry], data: bytes) -> bytes:
    records: list[tuple[str, object]] = [
        ("GNU.sparse.size", size), ("GNU.sparse.numblocks", len(entries)),
    ]  # fmt: skip
    for offset, length in entries:
        records += [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", length)]
    return in_extended_header(name, records, data)


def pax_01(name: str, size: int, entries: Sequence[Entry], data: bytes) -> bytes:
    records = [
        ("GNU.sparse.size", size), ("GNU.sparse.numblocks", len(entries)),
        ("GNU.sparse.name", name),
        ("GNU.sparse.map", ",".join(f"{offset},{length}" for offset, length in entries)),
    ]  # fmt: skip
    return in_extended_header("GNUSparseFile.1/x", records, data)


def map_text(entries: Sequence[Entry]) -> bytes:
    return b"%d\n" % len(entries) + b"".join(b"%d\n%d\n" % entry for entry in entries)


def pax_10(
    name: str, size: object, entries: Sequence[Entry], data: bytes, text: bytes | None = None
) -> bytes:
    """text: the map as it stands, where it is not that of the entries."""
    records = [
        ("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.name", name),
        ("GNU.sparse.realsize", size),
    ]  # fmt: skip
    body = padded(map_text(entries) if text is None else text)
    return in_extended_header("GNUSparseFile.1/x", records, body + data)


def sparse_member(
    encoding: str, name: str, size: int, entries: Sequence[Entry], data: bytes
) -> bytes:
    make = {"old": old_gnu, "0.0": pax_00, "0.1": pax_01, "1.0": pax_10}[encoding]
    return make(name, size, entries, data)  # type: ignore[operator]


def pieces_of(content: bytes, unit: int = BLOCK) -> list[Entry]:
    """Runs of units that are not all zeros, and the end of the file as GNU tar writes it."""
    runs: list[Entry] = []
    for at in range(0, len(content), unit):
        part = content[at : at + unit]
        if not any(part):
            continue
        if runs and sum(runs[-1]) == at:
            runs[-1] = (runs[-1][0], runs[-1][1] + len(part))
        else:
            runs.append((at, len(part)))
    if not runs or sum(runs[-1]) != len(content):
        runs.append((len(content), 0))
    return runs


def stored_of(content: bytes, entries: Sequence[Entry]) -> bytes:
    return b"".join(content[at : at + length] for at, length in entries)


def pack_sparse(encoding: str, name: str, content: bytes, unit: int = BLOCK) -> bytes:
    """A member that holds `content` but for its units of zeros."""
    entries = pieces_of(content, unit)
    return sparse_member(encoding, name, len(content), entries, stored_of(content, entries))
