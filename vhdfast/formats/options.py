"""How an image is to be read: what users say, and what formats are told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from ..errors import UsageError
from ..references import References
from ..streams import Unpacking

__all__ = ["OpenOptions", "ReadOptions"]

Path = str | os.PathLike[str]


class ReadOptions(TypedDict, total=False):
    """How to read an image: what `open_image`, `convert` and the like take by keyword."""

    chs_size: bool  # take the size of a VHD from its geometry, as old readers do
    ask_holes: bool  # False: do not ask the file system for holes, where that is slow
    snapshot: str | None  # the disk as it was then: id or name of an internal snapshot (qcow2)
    parents: Sequence[Path]  # the parent of the image, its parent's …, where the image's word for
    # it is missing or wrong
    backing_format: str | None  # of a backing file whose format the image does not give; "auto"
    # detects it
    allow_references: Sequence[Path]  # files, or directories with all below them, that the image
    # may name besides those in its own directory
    allow_all_references: bool  # the image may name any file
    disk: str | None  # which disk of a container that holds several: its name, or 1, 2 …
    temporary: Path | None  # directory for what must be unpacked first (default: TMPDIR)


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """ReadOptions as formats see them; what a format has no use for it ignores."""

    chs_size: bool = False
    ask_holes: bool = True
    snapshot: str | None = None
    parents: tuple[str, ...] = ()
    backing_format: str | None = None
    disk: str | None = None
    temporary: str | None = None
    references: References = field(default_factory=References)
    trail: tuple[tuple[object, ...], ...] = ()  # identities of the images above this one
    container: str | None = None  # what the image lies in, for people
    unpacking: Unpacking = field(default_factory=Unpacking)

    @property
    def is_outermost(self) -> bool:
        """Whether nothing lies around or above the image: the user named this very file."""
        return self.container is None and not self.trail

    @classmethod
    def of(cls, options: ReadOptions) -> OpenOptions:
        """Raises UsageError for a name that is no option."""
        given = dict(options)
        unknown = set(given) - set(ReadOptions.__annotations__)
        if unknown:
            raise UsageError(f"unknown option {', '.join(sorted(unknown))}")
        references = References(
            options.get("allow_references", ()), options.get("allow_all_references", False)
        )
        temporary = options.get("temporary")
        for name in ("allow_references", "allow_all_references"):
            given.pop(name, None)
        given["parents"] = tuple(os.fspath(path) for path in options.get("parents", ()))
        given["temporary"] = None if temporary is None else os.fspath(temporary)
        return cls(references=references, **given)  # type: ignore[arg-type]
