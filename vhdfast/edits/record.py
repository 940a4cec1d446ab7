"""The undo file: all that completing or undoing a change needs, in one file beside the other.

    0     "vhdfUNDO"   8 version   12 bytes of the description   16 bytes behind it
    24    SHA-256 of the 24 bytes before it and of all from 512 on
    511   state: 0 being written, "P" begun, "D" done, "U" being undone
    512   the description, JSON: title, name, old pieces, stages
    …     the old pieces, then what the writes put there, one after the other

All integers are big-endian. The state has a byte to itself: it changes in one step.
"""

from __future__ import annotations

import hashlib
import json
import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, TypeVar

from .. import __version__
from ..errors import UndoError, VhdfastError, printable
from ..files import pread_all
from ..units import MAX_OFFSET
from .change import (
    MAX_SAVED,
    MAX_STAGES,
    MAX_WRITES,
    Stage,
    Step,
    Write,
    fault,
    is_name,
    join,
    steps,
)

__all__ = ["BEGUN", "DONE", "STATE_OFFSET", "UNDOING", "Record"]

MAGIC = b"vhdfUNDO"
VERSION = 1
HEADER_LENGTH = 512
STATE_OFFSET = 511
# The states of a record. One that is being written says that the file was not touched yet.
BEING_WRITTEN, BEGUN, DONE, UNDOING = b"\0", b"P", b"D", b"U"
MAX_DESCRIPTION = 4 << 20
MAX_PIECES = 2 * MAX_WRITES
MAX_TEXT = 400  # characters of a meaning

_HEADER = struct.Struct(">8sIIQ32s")
_SUMMED = 24  # bytes of the header that the sum covers

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Record:
    """A change, and what it replaces.

    old: (offset, bytes) of what the file held where the change writes or cuts off: ascending, none
    overlapping, within the old size. What is cut off and not in it was zero.
    """

    title: str
    name: str  # of the file, without its directory
    old_size: int
    old: tuple[tuple[int, bytes], ...]
    stages: tuple[Stage, ...]
    state: bytes = BEING_WRITTEN
    # What the file is called before and after, where the change renames it; else empty.
    names: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the change does."""
        return steps(self.old_size, self.stages)

    def pack(self) -> bytes:
        """The undo file's bytes, in the state of being written."""
        description = {
            "vhdfast": __version__,
            "title": self.title,
            "name": self.name,
            "names": list(self.names),
            "size": self.old_size,
            "old": [[offset, len(data)] for offset, data in self.old],
            "stages": [
                {
                    "size": stage.size,
                    "writes": [
                        [write.offset, len(write.data), write.what, write.meaning[:MAX_TEXT]]
                        for write in stage.writes
                    ],
                }
                for stage in self.stages
            ],
        }
        text = json.dumps(description).encode()
        data = b"".join(piece for _, piece in self.old)
        data += b"".join(write.data for stage in self.stages for write in stage.writes)
        header = _HEADER.pack(MAGIC, VERSION, len(text), len(data), b"")
        digest = hashlib.sha256(header[:_SUMMED] + text + data).digest()
        return (header[:_SUMMED] + digest).ljust(HEADER_LENGTH, b"\0") + text + data

    @staticmethod
    def is_begun(fd: int) -> bool:
        """Whether a file that `read` has no record of is an undo file, for certain. Raises OSError.

        A file of the user's, whose name was given by mistake, may have a zero at 511 as well.
        """
        return pread_all(fd, 0, len(MAGIC)) in (b"", MAGIC)

    @classmethod
    def read(cls, fd: int, path: str) -> Record | None:
        """The record in an undo file; None where it was never finished: then nothing was changed.

        Raises UndoError where it is damaged, or of another version; OSError.
        """
        header = pread_all(fd, 0, HEADER_LENGTH)
        state = header[STATE_OFFSET:]
        if state in (b"", BEING_WRITTEN):
            return None
        magic, version, text_length, data_length, digest = _HEADER.unpack_from(header)
        if magic != MAGIC or state not in (BEGUN, DONE, UNDOING):
            raise _damaged(path, "it does not begin like one")
        if version != VERSION:
            raise UndoError(
                f"an undo file of version {version}, expected {VERSION}",
                path=path,
                hint="use the vhdfast that wrote it",
            )
        if text_length > MAX_DESCRIPTION or data_length > 2 * MAX_SAVED:
            raise _damaged(path, "it gives sizes that none has")
        body = pread_all(fd, HEADER_LENGTH, text_length + data_length + 1)
        if len(body) != text_length + data_length:
            raise _damaged(path, f"{len(body)} bytes follow its header, not what that says")
        if hashlib.sha256(header[:_SUMMED] + body).digest() != digest:
            raise _damaged(path, "its checksum is wrong")
        try:
            return _parse(body[:text_length], body[text_length:], state)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _damaged(path, printable(str(error), MAX_TEXT)) from error


def _damaged(path: str, why: str) -> VhdfastError:
    return UndoError(f"the undo file is damaged: {why}", path=path, hint="restore it from a copy")


def _parse(text: bytes, data: bytes, state: bytes) -> Record:
    """The record of a description. Raises ValueError and its like for what cannot be one."""
    told = _of(dict, json.loads(text))
    parts = _Parts(data)
    pieces, listed = _of(list, told["old"]), _of(list, told["stages"])
    writes = sum(len(_of(list, stage["writes"])) for stage in listed)
    if len(pieces) > MAX_PIECES or len(listed) > MAX_STAGES or writes > MAX_WRITES:
        raise ValueError("too many pieces, stages or writes")
    old = tuple((_size(offset), parts.take(_size(length))) for offset, length in pieces)
    stages = tuple(
        Stage(
            tuple(
                Write(
                    _size(offset),
                    parts.take(_size(length)),
                    printable(_of(str, what), MAX_TEXT),
                    printable(_of(str, meaning), MAX_TEXT),
                )
                for offset, length, what, meaning in stage["writes"]
            ),
            None if stage["size"] is None else _size(stage["size"]),
        )
        for stage in listed
    )
    if parts.left:
        raise ValueError("there are bytes that nothing speaks of")
    title, name = (printable(_of(str, told[key]), MAX_TEXT) for key in ("title", "name"))
    renamed = tuple(_of(str, one) for one in _of(list, told.get("names", [])))
    record = Record(title, name, _size(told["size"]), old, stages, state, renamed)
    _check(record)
    return record


class _Parts:
    """Bytes that are handed out one part after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise ValueError("more bytes are described than there are")
        self._at += length
        return self._data[self._at - length : self._at]

    @property
    def left(self) -> int:
        return len(self._data) - self._at


def _of(kind: type[Kind], value: Any) -> Kind:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r}, expected a {kind.__name__}"[:MAX_TEXT])
    return value


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_OFFSET:
        raise ValueError(f"{value!r}, expected a size"[:MAX_TEXT])
    return value


def _check(record: Record) -> None:
    """Raise ValueError where the pieces are no change: what is wrong is never found half way."""
    reason = fault(record.old_size, record.stages)
    if reason is not None:
        raise ValueError(reason)
    if record.names and (
        len({*record.names}) != 2 or len(record.names) != 2 or not all(map(is_name, record.names))
    ):
        raise ValueError("names that no change gives")
    end = 0
    for offset, data in record.old:
        if offset < end or not data or offset + len(data) > record.old_size:
            raise ValueError(f"an old piece at {offset}")
        end = offset + len(data)
    saved = join((offset, offset + len(data)) for offset, data in record.old)
    for stage in record.stages:
        for write in stage.writes:
            low, high = write.offset, min(write.end, record.old_size)
            at = bisect_right(saved, (low, MAX_OFFSET)) - 1
            if low < high and (at < 0 or saved[at][1] < high):
                raise ValueError(f"what lay at {low} is missing")
