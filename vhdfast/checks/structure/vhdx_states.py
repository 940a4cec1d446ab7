"""vhdx-states"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...formats.vhdx import VhdxImage
from ...formats.vhdx.bat import PARTIALLY_PRESENT
from ...tables import WINDOW_ENTRIES
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from .vhdx_headers import MS_VHDX

SHOWN = 4


class VhdxStates(Check):
    id = "vhdx-states"
    title = "every entry of a VHDX's table has a state that there is"
    severity = Severity.ERROR
    what = (
        "The state of each block: 0 to 3, 5 and 6, in a differencing disk 7 too. How many entries "
        "have another one."
    )
    why = (
        "Such a block cannot be read. qemu before 8.0 could damage the table of a dynamic VHDX "
        "while it wrote."
    )
    fix = "Copy the image again and compare checksums; go back to a backup if it is the same."
    references = (MS_VHDX,)
    order = 13

    def run(self, subject: Subject) -> Iterator[Finding]:
        layer = None if subject.image is None else subject.image.layer
        if not isinstance(layer, VhdxImage):
            yield self.skipped("this is no VHDX, or it cannot be opened")
            return
        table = layer.table
        legal = np.array([1, 1, 1, 1, 0, 1, 1, 0], bool)
        legal[PARTIALLY_PRESENT] = table.has_parent
        wrong = 0
        first: list[Evidence] = []
        for low in range(0, table.count, WINDOW_ENTRIES):
            entries = table.entries(low, min(WINDOW_ENTRIES, table.count - low))
            states = (entries & np.uint64(7)).astype(np.uint8)
            bad = np.flatnonzero(~legal[states])
            wrong += len(bad)
            for index in bad[: SHOWN - len(first)].tolist():
                block = low + index
                first.append(
                    Evidence(
                        f"state of block {block}", str(int(states[index])),
                        "0, 1, 2, 3, 5, 6" + (", 7" if table.has_parent else ""),
                        offset=table.region.offset + 8 * (block + block // table.chunk_ratio),
                    )
                )  # fmt: skip
        if wrong:
            yield self.failed(
                f"{wrong} of {table.count} blocks have a state that they cannot have", *first,
                remedy="copy the image again and compare checksums",
            )  # fmt: skip
        else:
            yield self.passed("every block has a state that there is")
