"""vhdfast: a disk image to a fixed VHD that Azure accepts, at the speed of the disk.

The names below are the importable backend (docs/api.md); they are loaded when they are first used,
so that importing vhdfast costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers know the name; importing typing would cost more than all else

if TYPE_CHECKING:
    from typing import Any

    from ._native import crc32c, is_zero, vhd_checksum, zero_runs
    from .api import (
        ConvertPlan,
        ConvertResult,
        Created,
        check,
        compare,
        convert,
        convert_in_place,
        create,
        plan_conversion,
        plan_conversion_in_place,
        plan_repair,
        plan_resize,
        repair,
        resize,
        undo,
    )
    from .checks import CheckedImage, CheckOptions, Finding, Selection
    from .comparing import Comparison
    from .converting_in_place import ConvertInPlacePlan
    from .errors import VhdfastError
    from .extents import EXTENT, Extent, ExtentMap, Kind
    from .formats import ImageInfo, Notice
    from .hashing import DiskDigest, hash_image
    from .image import Image, open_image
    from .in_place import InPlaceResult, RepairPlan, ResizePlan
    from .monitor import Monitor

_HOME = {
    "crc32c": "_native",
    "is_zero": "_native",
    "vhd_checksum": "_native",
    "zero_runs": "_native",
    "ConvertPlan": "api",
    "ConvertResult": "api",
    "Created": "api",
    "check": "api",
    "compare": "api",
    "convert": "api",
    "convert_in_place": "api",
    "create": "api",
    "hash_image": "hashing",
    "plan_conversion": "api",
    "plan_conversion_in_place": "api",
    "plan_repair": "api",
    "plan_resize": "api",
    "repair": "api",
    "resize": "api",
    "undo": "api",
    "CheckOptions": "checks",
    "CheckedImage": "checks",
    "Finding": "checks",
    "Selection": "checks",
    "Comparison": "comparing",
    "ConvertInPlacePlan": "converting_in_place",
    "VhdfastError": "errors",
    "EXTENT": "extents",
    "Extent": "extents",
    "ExtentMap": "extents",
    "Kind": "extents",
    "ImageInfo": "formats",
    "Notice": "formats",
    "DiskDigest": "hashing",
    "InPlaceResult": "in_place",
    "RepairPlan": "in_place",
    "ResizePlan": "in_place",
    "Image": "image",
    "open_image": "image",
    "Monitor": "monitor",
}

__all__ = [
    "EXTENT",
    "CheckOptions",
    "CheckedImage",
    "Comparison",
    "ConvertInPlacePlan",
    "ConvertPlan",
    "ConvertResult",
    "Created",
    "DiskDigest",
    "Extent",
    "ExtentMap",
    "Finding",
    "Image",
    "ImageInfo",
    "InPlaceResult",
    "Kind",
    "Monitor",
    "Notice",
    "RepairPlan",
    "ResizePlan",
    "Selection",
    "VhdfastError",
    "check",
    "compare",
    "convert",
    "convert_in_place",
    "crc32c",
    "create",
    "hash_image",
    "is_zero",
    "open_image",
    "plan_conversion",
    "plan_conversion_in_place",
    "plan_repair",
    "plan_resize",
    "repair",
    "resize",
    "undo",
    "vhd_checksum",
    "zero_runs",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
