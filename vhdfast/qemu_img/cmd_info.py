"""qemu-img info: one image without any below it."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

from .commands import Call
from .options import take_apart
from .printing import human_size, output_form, plain_text, print_json
from .real import HandOver

if TYPE_CHECKING:
    from ..formats import ImageFormat
    from ..formats.qcow2.header import Header

IS_SLOW = False

LONG = ("--output=", "--backing-chain", "--force-share")
# qcow2 header: offsets, and bits of the compatible features.
COMPATIBLE_AT, REFCOUNT_ORDER_AT = 72 + 8, 96
LAZY_REFCOUNTS = 1


def run(call: Call) -> int:
    words = take_apart(call.words, "f:U", LONG)
    form = output_form(words)
    if len(words.operands) != 1:
        raise HandOver("one image is described")

    from .reading import QEMU_NAMES, open_alike, size_of

    path = plain_text(words.operands[0])
    share = "-U" in words or "--force-share" in words
    with open_alike(call.real, path, words.last("-f"), share) as image:
        layer = image.layer
        if layer.parent is not None:
            raise HandOver("it has a backing file")
        document: dict[str, Any] = {"virtual-size": size_of(image), "filename": path}
        cluster = image.info().block_size
        if cluster is not None:
            document["cluster-size"] = cluster
        document["format"] = QEMU_NAMES[layer.name]
        document["actual-size"] = os.stat(path).st_blocks * 512
        specific = _specific(layer)
        if specific:
            document["format-specific"] = {"type": document["format"], "data": specific}
        document["dirty-flag"] = False
    if form == "json":
        print_json([document] if "--backing-chain" in words else document)
    else:
        _print_text(document, specific)
    return 0


def _specific(layer: ImageFormat) -> dict[str, Any]:
    """What only this format has. Raises HandOver where not all of it is known."""
    if layer.name == "vmdk":
        raise HandOver("what is special about a VMDK is not known here")
    if layer.name != "qcow2":
        return {}
    header: Header = layer.header  # type: ignore[attr-defined]
    if header.snapshot_count or header.incompatible & 3:
        raise HandOver("it has snapshots, or is dirty or damaged")
    codec = {1: "zlib", 3: "zstd"}[int(header.codec)]
    if header.version == 2:
        return {"compat": "0.10", "compression-type": codec, "refcount-bits": 16}
    (compatible,) = struct.unpack(">Q", layer.source.read(COMPATIBLE_AT, 8))
    (order,) = struct.unpack(">I", layer.source.read(REFCOUNT_ORDER_AT, 4))
    if order > 6 or header.autoclear:
        raise HandOver("it has bitmaps, or a wrong header")
    return {
        "compat": "1.1",
        "compression-type": codec,
        "lazy-refcounts": bool(compatible & LAZY_REFCOUNTS),
        "refcount-bits": 1 << order,
        "corrupt": False,
        "extended-l2": header.is_extended,
    }


def _print_text(document: dict[str, Any], specific: dict[str, Any]) -> None:
    size = document["virtual-size"]
    print(f"image: {document['filename']}")
    print(f"file format: {document['format']}")
    print(f"virtual size: {human_size(size)} ({size} bytes)")
    print(f"disk size: {human_size(document['actual-size'])}")
    if "cluster-size" in document:
        print(f"cluster_size: {document['cluster-size']}")
    if specific:
        print("Format specific information:")
    for name, value in specific.items():
        text = str(value).lower() if isinstance(value, bool) else value
        print(f"    {name.replace('-', ' ')}: {text}")
