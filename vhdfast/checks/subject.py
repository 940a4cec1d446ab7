"""What is checked: an image with all that checks ask of it, each looked up once."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..errors import ImageError, UnknownFormatError, VhdfastError
from ..extents import Kind
from ..files import Source, open_source
from ..formats import OpenOptions
from ..formats.qcow2 import Qcow2Image
from ..formats.vhd import VhdImage
from ..formats.vhd.footer import COOKIE, FOOTER_LENGTH, DiskType, Footer
from ..guest.partitions import PartitionTable, read_partitions
from ..image import Image, open_as
from ..monitor import Monitor
from ..units import MIB, round_up
from .census import Census, Layout, layout_of, take_census
from .refcounts import Refcounts, count_references

__all__ = ["CheckOptions", "Subject", "open_subject"]

VHD_SUFFIXES = (".vhd", ".vpc")

Role = Literal["os", "data", "auto"]
Generation = Literal["1", "2", "auto"]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How images are judged."""

    as_is: bool | None = None  # True: as what is uploaded; False: as a source of `convert`; None:
    # a fixed VHD, or what its name calls one, as it is
    role: Role = "auto"  # what the disk is to be in Azure
    generation: Generation = "auto"  # of the virtual machine


class Subject:
    """An image under check. `image` is None where it cannot be opened; `error` says why.

    All offsets are bytes in `source`, the file that holds the image: the unpacked one where the
    image was compressed, the disk's part of it where it lies in a container.
    """

    def __init__(
        self, path: str, source: Source, image: Image | None, error: ImageError | None,
        options: CheckOptions,
    ) -> None:  # fmt: skip
        self.path = path
        self.source = source
        self.image = image
        self.error = error
        self.options = options
        self.monitor = Monitor()  # told of what takes long

    # ---- the file -------------------------------------------------------------------------------

    @property
    def file_size(self) -> int:
        return self.source.size

    @cached_property
    def tail(self) -> bytes:
        """The last 512 bytes, where a fixed VHD has its footer."""
        return self.source.read(max(0, self.file_size - FOOTER_LENGTH), FOOTER_LENGTH)

    @property
    def tail_offset(self) -> int:
        return max(0, self.file_size - FOOTER_LENGTH)

    @cached_property
    def head(self) -> bytes:
        """The first 512 bytes, where a dynamic VHD has its footer's copy."""
        return self.source.read(0, FOOTER_LENGTH)

    # ---- as a VHD -------------------------------------------------------------------------------

    @cached_property
    def footer(self) -> Footer | None:
        """The footer at the very end, whatever it says."""
        return Footer.parse(self.tail) if len(self.tail) == FOOTER_LENGTH else None

    @cached_property
    def head_footer(self) -> Footer | None:
        """The footer's copy at the very start."""
        return Footer.parse(self.head)

    @property
    def is_vhd(self) -> bool:
        """Whether it is a VHD, or has been one, or its name calls it one."""
        if self.image is not None and self.image.layer.name != "raw":
            return isinstance(self.image.layer, VhdImage)
        return (
            self.footer is not None
            or self.head.startswith(COOKIE)
            or self.path.lower().endswith(VHD_SUFFIXES)
        )

    @property
    def is_sparse_vhd(self) -> bool:
        """Whether it is a dynamic or differencing VHD."""
        if self.image is not None and isinstance(self.image.layer, VhdImage):
            return self.image.layer.footer.disk_type != DiskType.FIXED
        sparse = (DiskType.DYNAMIC, DiskType.DIFFERENCING)
        copies = (self.footer, self.head_footer)
        return any(copy is not None and copy.disk_type in sparse for copy in copies)

    @property
    def is_fixed_vhd(self) -> bool:
        """Whether it is a fixed VHD, or what should be one."""
        return self.is_vhd and not self.is_sparse_vhd

    # ---- as a disk ------------------------------------------------------------------------------

    @property
    def format(self) -> str | None:
        return None if self.image is None else self.image.layer.name

    @cached_property
    def subformat(self) -> str | None:
        return None if self.image is None else self.image.info().subformat

    @cached_property
    def virtual_size(self) -> int | None:
        """Bytes of the virtual disk; for a fixed VHD what its footer says, not what is there."""
        if self.is_fixed_vhd and self.footer is not None:
            return self.footer.current_size
        return None if self.image is None else self.image.virtual_size

    @property
    def is_judged_as_is(self) -> bool:
        """Whether this file is what will be uploaded, not a source of `convert`."""
        return self.is_fixed_vhd if self.options.as_is is None else self.options.as_is

    @property
    def convert_command(self) -> str:
        """The command that makes an accepted disk of it."""
        stem, suffix = os.path.splitext(self.path)
        target = f"{stem}-azure.vhd" if suffix.lower() == ".vhd" else f"{stem}.vhd"
        return f"vhdfast convert {shlex.quote(self.path)} {shlex.quote(target)}"

    @property
    def quoted_path(self) -> str:
        """The path as a shell takes it."""
        return shlex.quote(self.path)

    def size_after_convert(self) -> int | None:
        """Bytes of the virtual disk that `convert` would make of it."""
        return None if self.image is None else round_up(self.image.virtual_size, MIB)

    @cached_property
    def partitions(self) -> PartitionTable | None:
        """The partition table; None where the disk has none, or cannot be read.

        Raises what reading the disk raises.
        """
        image = self.image
        if image is None:
            return None
        return read_partitions(image.pread, image.virtual_size, image.sector_size)

    def place_of(self, offset: int) -> int | None:
        """Where the file has the byte at `offset` of the disk; None where it is stored nowhere in
        it, or compressed.

        Raises ImageError where the image's tables are wrong.
        """
        if self.image is None or not 0 <= offset < self.image.virtual_size:
            return None
        if self.image.layer.is_flat:
            return offset
        row = self.image.extents(offset, 1).rows[0]
        return int(row["file_offset"]) if row["kind"] == Kind.DATA and row["file"] == 0 else None

    @cached_property
    def layout(self) -> Layout | None:
        """How the image's file is laid out; None where it has no such blocks, or cannot be read."""
        return None if self.image is None else layout_of(self.image.layer)

    @cached_property
    def census(self) -> Census | None:
        """Where all blocks of the image's own file lie. Raises what reading its tables raises."""
        return None if self.layout is None else take_census(self.layout)

    @cached_property
    def refcounts(self) -> Refcounts | None:
        """The refcounts of a qcow2 image; None of other images. Raises what reading them raises."""
        layer = None if self.image is None else self.image.layer
        return count_references(layer) if isinstance(layer, Qcow2Image) else None

    @cached_property
    def map_error(self) -> VhdfastError | None:
        """What is wrong with the image's tables: one walk through all of its map."""
        if self.image is None:
            return None
        self.monitor.start("checking", self.image.virtual_size)
        try:
            for window in self.image.windows():
                self.monitor.advance(window.end)
        except VhdfastError as error:
            return error
        finally:
            self.monitor.finish()
        return None


@contextlib.contextmanager
def open_subject(
    path: str, format: str | None, how: OpenOptions, options: CheckOptions
) -> Iterator[Subject]:
    """An image to be checked, open as long as the context lasts.

    Raises ReadError, UsageError and, for a file that is not there, ImageError. A file that is not
    a proper image is a subject whose `error` says so.
    """
    try:
        image = open_as(path, format, how)
    except ImageError as error:
        with contextlib.closing(open_source(path)) as source:  # raises where there is no file
            if isinstance(error, UnknownFormatError):
                try:
                    # Without its footer a fixed VHD is a raw disk: it can be looked into as one.
                    image = _as_raw(path, how)
                except VhdfastError:
                    yield Subject(path, source, None, error, options)
                    return
                with image:
                    yield Subject(path, image.layer.source, image, error, options)
                return
            yield Subject(path, source, None, error, options)
            return
    with image:
        yield Subject(path, image.layer.source, image, None, options)


def _as_raw(path: str, how: OpenOptions) -> Image:
    return open_as(path, "raw", how)
