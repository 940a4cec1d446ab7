"""vhd-bitmaps"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...formats.vhd import VhdImage
from ...formats.vhd.dynamic import BITMAP_BATCH, UNUSED, BlockTable, DynamicHeader
from ...formats.vhd.footer import DiskType
from ...tables import WINDOW_ENTRIES
from ...units import SECTOR
from ..base import Evidence, Finding, Severity
from ..subject import Subject
from ._vhd import SparseVhdCheck

# 2 TiB in blocks of 2 MiB: each is a read of its own.
MAX_BLOCKS = 1 << 20
SHOWN = 4


class VhdBitmaps(SparseVhdCheck):
    id = "vhd-bitmaps"
    title = "all sectors of stored blocks are marked as written"
    severity = Severity.NOTE
    what = (
        "The bitmap before each stored block of a dynamic VHD, which says which of its sectors "
        "were written."
    )
    why = (
        "Sectors that are not marked read as zeros, whatever is stored; qemu ignores the bitmaps "
        "and shows what is stored. Where both differ, two programs see two disks."
    )
    fix = "A converted disk has no bitmaps, and is the same for all."
    cured_by_convert = True
    order = 41

    def look(
        self, subject: Subject, layer: VhdImage, header: DynamicHeader, table: BlockTable
    ) -> Iterator[Finding]:
        if layer.footer.disk_type == DiskType.DIFFERENCING:
            yield self.skipped("in a differencing disk unmarked sectors are the parent's")
            return
        stored, partial = 0, 0
        first: list[Evidence] = []
        for low in range(0, table.count, WINDOW_ENTRIES):
            entries = table.entries(low, min(WINDOW_ENTRIES, table.count - low))
            used = np.flatnonzero(entries != UNUSED)
            starts = entries[used] * np.uint64(SECTOR)
            # What lies elsewhere is told by block-places.
            inside = starts + np.uint64(table.bitmap_size) < np.uint64(table.limit)
            used, starts = used[inside], starts[inside]
            stored += len(used)
            if stored > MAX_BLOCKS:
                yield self.unknown(f"more than {MAX_BLOCKS} blocks are stored")
                return
            batch = max(1, BITMAP_BATCH // table.bitmap_size)
            for at in range(0, len(used), batch):
                unmarked = np.flatnonzero(~table.are_full(starts[at : at + batch]))
                partial += len(unmarked)
                first += [
                    Evidence(
                        f"bitmap of block {low + int(used[at + index])}", "not all ones",
                        offset=int(starts[at + index]),
                    )
                    for index in unmarked[: SHOWN - len(first)].tolist()
                ]  # fmt: skip
        if partial:
            yield self.failed(
                f"{partial} of {stored} stored blocks have sectors that are not marked", *first
            )
        else:
            yield self.passed(f"all sectors of {stored} stored blocks are marked")
