"""Every error that vhdfast raises, with its stable code and exit code.

The library raises these and nothing else for what goes wrong with images, targets and machines;
the command line maps them to exit codes in one place. Findings about an image that is readable
are values (`vhdfast.formats.Notice`), never exceptions.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

__all__ = [
    "AmbiguousFormatError",
    "CopyError",
    "CorruptImageError",
    "ImageError",
    "InUseError",
    "InternalError",
    "InvalidImageError",
    "MissingReferenceError",
    "NoSpaceError",
    "PartitionTableError",
    "ReadError",
    "SourceChangedError",
    "TargetError",
    "TargetExistsError",
    "TargetTooLargeError",
    "UndoError",
    "UnknownFormatError",
    "UnprovenError",
    "UnsafeReferenceError",
    "UnsupportedImageError",
    "UsageError",
    "VerifyError",
    "VhdfastError",
    "WriteError",
    "printable",
]


MAX_PATH = 4096  # characters of a path in a message

# What to do about most damage.
CUT_SHORT = "the image is cut short: copy it again and compare checksums"
DAMAGED = "the image is damaged: copy it again and compare checksums"
CONVERT_ELSEWHERE = "convert the image with the program that made it"


def printable(text: str, limit: int = 1024) -> str:
    """A name out of an image, fit for a message: what cannot be printed becomes '?'."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


def _clean(text: str) -> str:
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


class VhdfastError(Exception):
    """What went wrong, where, and what to do.

    message: what was found and what was expected, one sentence without a full stop.
    path, offset: where (offset in bytes in that file; both optional).
    hint: what to do, an imperative sentence (optional).

    `code` is a stable word for programs, unique to its class; `exit_code` is the exit status of
    the command line.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 70
    _by_code: ClassVar[dict[str, type[VhdfastError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__ or cls.code in VhdfastError._by_code:
            raise TypeError(f"{cls.__name__} needs a code of its own, {cls.code!r} is taken")
        VhdfastError._by_code[cls.code] = cls

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        # Formats make names printable where they quote them; what slips through ends here.
        self.message = _clean(message)
        super().__init__(self.message)
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        self.hint = None if hint is None else _clean(hint)

    def __str__(self) -> str:
        # A path is as it is for programs; a file beside a hostile image may have any name.
        where = "" if self.path is None else f"{printable(self.path, MAX_PATH)}: "
        if self.offset is not None:
            where += f"at offset {self.offset:#x}: "
        return f"{where}{self.message}" + (f"; {self.hint}" if self.hint else "")

    def __reduce__(self) -> Any:
        return (_rebuild, (type(self), self.message, self.path, self.offset, self.hint))

    def to_dict(self) -> dict[str, Any]:
        """The error as the JSON contract has it (docs/json.md)."""
        return {
            "code": self.code,
            "exit_code": self.exit_code,
            "message": self.message,
            "path": self.path,
            "offset": self.offset,
            "hint": self.hint,
        }


def _rebuild(
    kind: type[VhdfastError], message: str, path: str | None, offset: int | None, hint: str | None
) -> VhdfastError:
    return kind(message, path=path, offset=offset, hint=hint)


class UsageError(VhdfastError):
    """The call itself is wrong: options that contradict each other, a size that is no size."""

    code = "usage"
    exit_code = 2


class ImageError(VhdfastError):
    """The source cannot be used."""

    code = "image"
    exit_code = 4


class UnknownFormatError(ImageError):
    """No known format matches and nothing speaks for a raw disk."""

    code = "unknown-format"


class AmbiguousFormatError(ImageError):
    """The file is a valid beginning of two formats at once."""

    code = "ambiguous-format"


class InvalidImageError(ImageError):
    """The file is not what its format demands: a field out of bounds, a table outside the file."""

    code = "invalid-image"


class CorruptImageError(ImageError):
    """The file was once right and is damaged: a checksum, an overlap, a block outside the file."""

    code = "corrupt-image"


class UnsupportedImageError(ImageError):
    """A valid image that this version does not read (a format, a feature, an encryption)."""

    code = "unsupported-image"


class MissingReferenceError(ImageError):
    """A file that the image needs (its parent, an extent) is not there."""

    code = "missing-reference"


class UnsafeReferenceError(ImageError):
    """The image names a file outside what the user allowed it to read."""

    code = "unsafe-reference"


class UnprovenError(ImageError):
    """A change in place that cannot be proven to lose nothing."""

    code = "unproven"


class PartitionTableError(ImageError):
    """The disk's partition table does not allow what was asked for."""

    code = "partition-table"


class CopyError(VhdfastError):
    """Copying failed after it had begun, or could not begin for want of access or space."""

    code = "copy"
    exit_code = 5


class ReadError(CopyError):
    """The source could not be read."""

    code = "read"


class WriteError(CopyError):
    """The target could not be written."""

    code = "write"


class NoSpaceError(CopyError):
    """The target's file system has too little room."""

    code = "no-space"


class SourceChangedError(CopyError):
    """The source was written to, cut or replaced while it was being read."""

    code = "source-changed"


class VerifyError(CopyError):
    """--verify found a difference between the source and what was written."""

    code = "verify"


class TargetError(VhdfastError):
    """The target cannot be what was asked for."""

    code = "target"
    exit_code = 6


class TargetExistsError(TargetError):
    """The target exists and --force was not given."""

    code = "target-exists"


class TargetTooLargeError(TargetError):
    """The target would be larger than its file system or its format can hold."""

    code = "target-too-large"


class InUseError(TargetError):
    """A file that is to be changed in place is open for writing, or locked, elsewhere."""

    code = "in-use"


class UndoError(TargetError):
    """The undo file is missing, damaged or in the way, or the file is not what it speaks of."""

    code = "undo"


class InternalError(VhdfastError):
    """A defect in vhdfast."""

    code = "internal"
    exit_code = 70
