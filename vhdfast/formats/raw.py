"""Raw: the file is the disk."""

from __future__ import annotations

import os

import numpy as np

from .. import contents
from ..errors import InvalidImageError
from ..extents import Kind, Rows, make_rows
from ..files import Source
from .base import Glimpse, ImageFormat, ImageInfo, OpenOptions

__all__ = ["RawImage"]

_LUKS = b"LUKS\xba\xbe"


class RawImage(ImageFormat):
    """A raw disk in a regular file or on a block device."""

    name = "raw"
    title = "raw disk (file or block device)"
    is_flat = True
    suffixes = (".raw", ".img", ".dd", ".bin", ".iso", ".hdd", ".disk")

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        """Never: any bytes are a raw disk. `detect` takes raw last, and only with evidence."""
        return None

    @classmethod
    def evidence(cls, glimpse: Glimpse, is_device: bool) -> str | None:
        """What speaks for a raw disk, or None."""
        found = contents.describe(glimpse.at)
        if found is not None:
            return found
        if is_device:
            return "a block device"
        suffix = os.path.splitext(glimpse.name)[1].lower()
        return f"its name ends in {suffix}" if suffix in cls.suffixes else None

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        if source.size == 0:
            raise InvalidImageError(
                "the file is empty, a disk has at least one byte",
                path=source.path,
                hint="check that the copy or download was completed",
            )
        self.virtual_size = source.size
        if self._sectors_are_4096_bytes():
            self.sector_size = 4096
        if source.read(0, len(_LUKS)) == _LUKS:
            # A whole disk may be encrypted on purpose, and qemu makes images that look the same.
            self.notice(
                "encrypted",
                "the disk begins with a LUKS header; its bytes are taken as they are, encrypted. "
                "To decrypt an image made by qemu-img: qemu-img convert --object "
                "secret,id=key,file=PASSWORD_FILE --image-opts "
                "driver=luks,key-secret=key,file.filename=IMAGE -O raw disk.raw",
                offset=0,
            )

    def _sectors_are_4096_bytes(self) -> bool:
        signature = b"EFI PART"
        return (
            self.source.read(4096, 8) == signature and self.source.read(512, 8) != signature
        )

    def info(self) -> ImageInfo:
        return self.make_info("device" if self.source.is_device else "file")

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return make_rows(np.array([offset]), length, Kind.DATA, offset)
