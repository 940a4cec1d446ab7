"""Internal snapshots: each is an L1 table of its own.

Source: QEMU, docs/interop/qcow2, "Snapshots". The state of a machine that a snapshot may hold lies
beyond the end of the disk and is never read.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import InvalidImageError, UsageError, printable
from ...files import Source
from ...units import MAX_OFFSET
from .header import SNAPSHOTS_AT, Header

__all__ = ["LISTED", "Snapshot", "choose", "walk"]

MAX_SNAPSHOTS = 65536
MAX_TABLE = 64 << 20
MAX_EXTRA = 1024
LISTED = 20  # in messages and in what `info` shows

_ENTRY = struct.Struct(">QIHHIIQII")
_EXTRA = struct.Struct(">QQ")
assert (_ENTRY.size, _EXTRA.size) == (40, 16)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One entry of the table. Sizes and offsets in bytes.

    virtual_size: None where the entry does not say. offset, end: of the entry in the file.
    """

    id: str
    name: str
    l1_offset: int
    l1_size: int
    virtual_size: int | None
    seconds: int
    offset: int
    end: int

    def __str__(self) -> str:
        return f"{printable(self.id)} {printable(self.name)!r}"

    def to_dict(self) -> dict[str, object]:
        made = datetime.datetime.fromtimestamp(self.seconds, datetime.UTC)
        return {
            "id": printable(self.id),
            "name": printable(self.name),
            "date": made.isoformat(),
            "size": self.virtual_size,
        }


def walk(source: Source, header: Header) -> Iterator[Snapshot]:
    """The snapshots, one after the other. Raises InvalidImageError, CorruptImageError."""

    def invalid(offset: int, problem: str) -> InvalidImageError:
        return InvalidImageError(problem, path=source.path, offset=offset)

    count, start = header.snapshot_count, header.snapshots_offset
    if count > MAX_SNAPSHOTS:
        raise invalid(SNAPSHOTS_AT, f"{count} snapshots, expected {MAX_SNAPSHOTS} or fewer")
    if count and (start % header.cluster_size or start > MAX_OFFSET):
        raise invalid(
            SNAPSHOTS_AT + 4,
            f"the snapshot table is said to lie at {start:#x}, no multiple of "
            f"{header.cluster_size} in the file",
        )
    at = start
    for index in range(count):
        what = f"entry of snapshot {index + 1}"
        entry = source.read_exact(at, _ENTRY.size, what)
        (l1_offset, l1_size, id_size, name_size, seconds, _, _, _, extra_size) = _ENTRY.unpack(
            entry
        )
        if extra_size > MAX_EXTRA:
            raise invalid(
                at + 36,
                f"the {what} has {extra_size} bytes of extra data, expected {MAX_EXTRA} or fewer",
            )
        end = at + -(-(_ENTRY.size + extra_size + id_size + name_size) // 8) * 8
        if end - start > MAX_TABLE:
            raise invalid(at, f"the snapshot table takes more than {MAX_TABLE} bytes")
        rest = source.read_exact(at + _ENTRY.size, extra_size + id_size + name_size, what)
        size = _EXTRA.unpack_from(rest)[1] if extra_size >= _EXTRA.size else None
        yield Snapshot(
            id=rest[extra_size : extra_size + id_size].decode("utf-8", "replace"),
            name=rest[extra_size + id_size :].decode("utf-8", "replace"),
            l1_offset=l1_offset,
            l1_size=l1_size,
            virtual_size=size,
            seconds=seconds,
            offset=at,
            end=end,
        )
        at = end


def choose(source: Source, header: Header, wanted: str) -> Snapshot:
    """The snapshot with this id, or else with this name.

    Raises UsageError where there is none or more than one, and what `walk` raises.
    """
    listed: list[Snapshot] = []
    by_id: list[Snapshot] = []
    by_name: list[Snapshot] = []
    for snapshot in walk(source, header):
        if len(listed) < LISTED:
            listed.append(snapshot)
        for value, found in ((snapshot.id, by_id), (snapshot.name, by_name)):
            if value == wanted and len(found) < LISTED:
                found.append(snapshot)
    found = by_id or by_name
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{printable(wanted)!r} is the {'id' if by_id else 'name'} of {len(found)} snapshots: "
            f"{_list(found, len(found))}",
            path=source.path,
            hint="say the id of the one that is meant" if not by_id else None,
        )
    there = _list(listed, header.snapshot_count) if listed else "it has no snapshots"
    raise UsageError(
        f"there is no snapshot {printable(wanted)!r} in the image",
        path=source.path,
        hint=f"there are: {there}" if listed else there,
    )


def _list(snapshots: list[Snapshot], count: int) -> str:
    text = ", ".join(map(str, snapshots))
    return text + (f" and {count - len(snapshots)} more" if count > len(snapshots) else "")
