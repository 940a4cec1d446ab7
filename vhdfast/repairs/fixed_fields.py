"""Fields that have one value in the footer of every fixed disk: features, version, data offset."""

from __future__ import annotations

from ..formats.vhd.dynamic import COOKIE as HEADER_COOKIE
from ..formats.vhd.footer import NO_OFFSET
from .base import Repair
from .draft import Draft

FEATURES = 2  # the reserved bit, always set
VERSION = 0x00010000


class FixedFields(Repair):
    """None of them says where data lies, so that the one right value loses nothing.

    Source: Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format".
    """

    name = "fixed-fields"
    order = 55

    def examine(self, draft: Draft) -> None:
        if not draft.is_fixed:
            return
        footer, place = draft.footer, draft.disk_end
        if footer.features != FEATURES:
            draft.found(
                "footer-features",
                f"the footer's features are {footer.features:#x}, expected {FEATURES:#x}",
                offset=place,
            )
            draft.set(features=FEATURES)
        if footer.version != VERSION:
            major, minor = divmod(footer.version, 1 << 16)
            draft.found(
                "footer-version", f"the footer's version is {major}.{minor}, expected 1.0",
                offset=place,
            )  # fmt: skip
            draft.set(version=VERSION)
        if footer.data_offset != NO_OFFSET:
            is_inside = footer.data_offset < draft.source.size
            if is_inside and draft.source.read(footer.data_offset, 8) == HEADER_COOKIE:
                raise draft.unproven(
                    "the footer says that the disk is fixed, and points to a dynamic header",
                    footer.data_offset,
                    "copy the image again and compare checksums",
                )
            draft.found(
                "footer-data-offset",
                f"the footer points to {footer.data_offset:#x}, where a fixed disk has nothing",
                offset=place,
            )
            draft.set(data_offset=NO_OFFSET)
