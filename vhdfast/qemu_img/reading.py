"""Sources, opened only where vhdfast and qemu-img read the very same disk from them.

What both say about an image is compared where there is a qemu-img to ask: it knows which damage it
refuses, and which size its version takes for a VHD. What it says nothing about, the bytes, is
judged here.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from typing import Any

import numpy as np

from ..errors import VhdfastError
from ..extents import Kind
from ..files import SourceFile
from ..formats import FORMATS, ImageFormat, OpenOptions
from ..formats.vhd import VhdImage
from ..formats.vhd.footer import LARGEST_GEOMETRY, DiskType
from ..image import Image
from ..references import References
from ..units import SECTOR, round_up
from .locks import is_written_elsewhere
from .probing import PROBE_BYTES, probe
from .real import HandOver, ask_chain

__all__ = ["QEMU_NAMES", "check_name", "open_alike", "size_of"]

# Names of formats: qemu's, ours. Others are handed over: no speed to be gained, or too many quirks.
SERVED = {
    "raw": "raw",
    "vpc": "vhd",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vdi": "vdi",
    "vhdx": "vhdx",
}
QEMU_NAMES = {ours: theirs for theirs, ours in SERVED.items()}
# Creators whose VHDs every qemu since 2.6 takes the exact size of.
EXACT_CREATORS = (b"win ", b"qem2", b"tap\0", b"CTXS")
VMDK_COMPRESSED = 1 << 16  # of the header's flags
# Notices that say nothing about how the image is read.
HARMLESS = {"snapshot-child", "encrypted", "qemu-chs-size"}

_PROTOCOL = re.compile(r"[^/]*:")


def check_name(path: str) -> None:
    """Raise HandOver for what qemu-img does not take for the name of a file: "json:…", "nbd:…"."""
    if not path or path.endswith("/") or _PROTOCOL.match(path):
        raise HandOver(f"{path!r} is not a plain file name")


def size_of(image: Image) -> int:
    """Bytes of the disk in qemu-img's eyes, which counts whole sectors."""
    return round_up(image.virtual_size, SECTOR)


def open_alike(real: str | None, path: str, format_name: str | None, share: bool) -> Image:
    """Open a source that qemu-img would read to the same bytes.

    format_name: what -f says, in qemu's words. share: -U was given. Raises HandOver.
    """
    check_name(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise HandOver(f"{path} is not a regular file")
    except (OSError, ValueError) as error:
        raise HandOver(f"{path} cannot be looked at: {error}") from error
    if format_name is not None and format_name not in SERVED:
        raise HandOver(f"format {format_name!r} is not served")
    answer = None if real is None else ask_chain(real, path, format_name, share)
    if answer is not None:
        said = str(answer[0].get("format")) if answer else ""
        format_name = format_name or said
    try:
        image = _open(path, format_name)
    except VhdfastError as error:
        raise HandOver(f"vhdfast does not read {error}") from error
    try:
        doubt = _doubt(image, real is None)
        if doubt is None and answer is not None:
            doubt = _disagreement(image, answer)
        if doubt is not None:
            raise HandOver(f"{path}: {doubt}")
    except VhdfastError as error:
        image.close()
        raise HandOver(f"vhdfast does not read {error}") from error
    except BaseException:
        image.close()
        raise
    return image


def _open(path: str, format_name: str | None) -> Image:
    """The image as a file of that format and nothing else: no archive, no compressed stream.

    Other files are followed wherever they lie, as qemu-img, which would get the command otherwise,
    follows them.
    """
    source = SourceFile(path)
    references = References(allow_all=True)
    try:
        if format_name is None:
            format_name = probe(source.read(0, PROBE_BYTES), path)
        if format_name not in SERVED:
            raise HandOver(f"{path} is a {format_name} image, which is not served")
        kind = FORMATS[SERVED[format_name]]
        return Image(kind(source, OpenOptions(references=references)))
    except BaseException:
        source.close()
        references.close()
        raise


# ---- what makes us doubt ------------------------------------------------------------------------


def _doubt(image: Image, is_alone: bool) -> str | None:
    """Why qemu-img may read other bytes than we do, None where nothing speaks for it."""
    layers = list(image.layer.chain())
    if len(layers) > 1 and {layer.name for layer in layers} - {"qcow2", "raw"}:
        return "it has a parent"
    if len(image.layer.sources) != len(layers):
        return "it consists of several files"
    for source in image.layer.sources:
        if type(source) is not SourceFile or source.is_device:
            return "not all of it is plain files"
        # Not all that `info` is asked for takes the locks that reading takes.
        if is_written_elsewhere(source.fileno()):
            return "another process may be writing to it"
    for layer in layers:
        judge = _JUDGES.get(layer.name)
        doubt = None if judge is None else judge(layer, is_alone)
        if doubt is not None:
            return doubt
    notices = [notice for notice in image.notices if notice.code not in HARMLESS]
    return str(notices[0]) if notices else None


def _doubt_vhd(layer: ImageFormat, is_alone: bool) -> str | None:
    assert isinstance(layer, VhdImage)
    footer = layer.footer
    if footer.disk_type == DiskType.DIFFERENCING:
        return "a differencing VHD, which qemu-img reads without its parent"
    is_exact = footer.geometry == LARGEST_GEOMETRY or footer.creator in EXACT_CREATORS
    if is_alone and not is_exact and footer.chs_size != footer.current_size:
        return "versions of qemu-img differ in the size that they see"
    if footer.disk_type == DiskType.FIXED:
        begins = layer.source.read(0, 8)
        return "its first sector looks like a footer" if begins == b"conectix" else None
    return _partial_blocks(layer)


def _partial_blocks(layer: VhdImage) -> str | None:
    """qemu-img pays no attention to the bitmaps of a block; they must say what it thinks."""
    assert layer.table is not None
    block = np.uint64(layer.table.block_size)
    at, end = 0, layer.virtual_size
    while at < end:
        rows = layer.rows(at, end - at, 65536)
        data = rows[rows["kind"] == Kind.DATA]
        ends = data["offset"] + data["length"]
        whole = (data["offset"] % block == 0) & ((ends % block == 0) | (ends == end))
        if not whole.all() or layer.table.empty_bitmaps:
            return "blocks are written in part, of which qemu-img reads all"
        at = int(rows[-1]["offset"]) + int(rows[-1]["length"])
    return None


def _doubt_vmdk(layer: ImageFormat, is_alone: bool) -> str | None:
    magic, _version, flags = struct.unpack("<4sII", layer.source.read(0, 12).ljust(12, b"\0"))
    if magic != b"KDMV":
        return "its descriptor is a text, which qemu-img reads in its own way"
    if flags & VMDK_COMPRESSED:
        # A damaged grain may decode to more than a grain: qemu-img refuses it, vhdfast takes its
        # beginning.
        return "its grains are compressed, of which qemu-img refuses more that are damaged"
    return None


def _doubt_vhdx(layer: ImageFormat, is_alone: bool) -> str | None:
    return None if layer.sector_size == SECTOR else "its sectors are not of 512 bytes"


_JUDGES = {"vhd": _doubt_vhd, "vmdk": _doubt_vmdk, "vhdx": _doubt_vhdx}


def _disagreement(image: Image, answer: list[dict[str, Any]]) -> str | None:
    """Where qemu-img's own word about the image and its chain is not ours."""
    layers = list(image.layer.chain())
    if len(answer) != len(layers):
        return f"qemu-img sees {len(answer)} images in its chain, vhdfast {len(layers)}"
    for theirs, layer in zip(answer, layers, strict=True):
        if SERVED.get(str(theirs.get("format"))) != layer.name:
            return f"qemu-img takes {layer.source.path} for {theirs.get('format')}"
        size = round_up(layer.virtual_size, SECTOR)
        if theirs.get("virtual-size") != size:
            return f"qemu-img sees {theirs.get('virtual-size')} bytes, vhdfast {size}"
        if os.path.realpath(str(theirs.get("filename"))) != os.path.realpath(layer.source.path):
            return f"qemu-img reads {theirs.get('filename')}, vhdfast {layer.source.path}"
        if theirs.get("encrypted"):
            return "it is encrypted"
    return None
