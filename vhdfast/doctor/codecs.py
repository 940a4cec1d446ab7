"""Decompressors: the libraries that are in use, and that each decodes what it should."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import zlib
from collections.abc import Iterator

import numpy as np

from .. import _native
from ..errors import VhdfastError
from ..extents import Codec, Kind, make_rows
from ..files import MemorySource
from .base import Examination, Item, Request, State
from .program import version_of

__all__ = ["Codecs"]

_TEXT = b"vhdfast " * 64
# A zstd frame of _TEXT (RFC 8878), made by zstd 1.5.7.
_ZSTD = bytes.fromhex("28b52ffd6000017d00004076686466617374200100f5530b17")


class Codecs(Examination):
    """What decodes compressed blocks of images, and what unpacks whole compressed files."""

    name = "codecs"
    group = "vhdfast"
    order = 22

    def run(self, request: Request) -> Iterator[Item]:
        yield _blocks()
        yield _streams()


def _blocks() -> Item:
    try:
        codecs = importlib.import_module("vhdfast.codecs")
    except ImportError as error:
        return Item(
            "blocks", State.PROBLEM, f"compressed blocks cannot be read: {error}",
            "install vhdfast again, with libdeflate, zlib and libzstd",
        )  # fmt: skip
    versions = _linked_versions()
    shown = ", ".join(f"{name} {version or ''}".strip() for name, version in versions.items())
    broken = [codec.name.lower() for codec, packed in _packed() if not _decodes(codec, packed)]
    details = {"versions": versions, "broken": broken, "module": codecs.__name__}
    if broken:
        return Item(
            "blocks", State.PROBLEM, f"{shown}: {', '.join(broken)} not decoded right",
            "install the libraries again; use no image that was made here", details,
        )  # fmt: skip
    return Item("blocks", State.OK, f"{shown}; all decode", None, details)


def _packed() -> list[tuple[Codec, bytes]]:
    raw = zlib.compressobj(6, zlib.DEFLATED, -12)
    return [
        (Codec.DEFLATE, raw.compress(_TEXT) + raw.flush()),
        (Codec.ZLIB, zlib.compress(_TEXT)),
        (Codec.ZSTD, _ZSTD),
    ]


def _decodes(codec: Codec, packed: bytes) -> bool:
    """Whether the engine, and what --verify reads with, both decode it."""
    from ..codecs import decode, decoder

    rows = make_rows(np.array([0]), len(_TEXT), Kind.COMPRESSED)
    rows["stored_length"], rows["decoded_length"] = len(packed), len(_TEXT)
    rows["codec"] = codec
    buffer = bytearray(len(_TEXT))
    table = _native.SourceTable([MemorySource(packed, codec.name)])
    try:
        _native.read_segment(table, rows, 0, buffer, decoder())
    except VhdfastError:
        return False
    return bytes(buffer) == _TEXT and decode(codec, packed, len(_TEXT)) == _TEXT


def _linked_versions() -> dict[str, str | None]:
    """Versions of the libraries that the codecs are linked with; libdeflate tells none."""
    from .. import _codecs

    # A symbol is looked for in what the module is linked with, too.
    linked = ctypes.CDLL(_codecs.__file__)
    return {
        "libdeflate": None,
        "zlib": _call(linked, "zlibVersion"),
        "libzstd": _call(linked, "ZSTD_versionString"),
    }


def _call(library: ctypes.CDLL, name: str) -> str | None:
    try:
        function = getattr(library, name)
    except AttributeError:
        return None
    function.restype, function.argtypes = ctypes.c_char_p, []
    answer: bytes | None = function()
    return None if answer is None else answer.decode("ascii", "replace")


def _streams() -> Item:
    """Whole files in gzip, xz, bzip2 and zstd: Python's own modules, and zstandard."""
    modules = {"gzip": "zlib", "xz": "lzma", "bzip2": "bz2", "zstd": "zstandard"}
    missing = [name for name, module in modules.items() if not _can_import(module)]
    there = [name for name in modules if name not in missing]
    details = {"readable": there, "missing": missing, "zstandard": version_of("zstandard")}
    text = f"{', '.join(there)} files are unpacked"
    if not missing:
        return Item("packed files", State.OK, text, None, details)
    remedy = "pip install zstandard"
    if missing != ["zstd"]:
        remedy = "use a Python that was built with all its modules"
    text += f"; {', '.join(missing)} files are not"
    return Item("packed files", State.WARNING, text, remedy, details)


def _can_import(module: str) -> bool:
    if importlib.util.find_spec(module) is None:
        return False
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
