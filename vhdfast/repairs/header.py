"""The checksum of a dynamic header."""

from __future__ import annotations

from .base import Repair
from .draft import Draft


class HeaderChecksum(Repair):
    """Proven where the table has just the entries that the disk needs, or one more."""

    name = "header-checksum"
    order = 40

    def examine(self, draft: Draft) -> None:
        header = draft.header
        if header is None or header.is_intact:
            return
        needed = -(-draft.old_footer.current_size // header.block_size)
        message = (
            f"the dynamic header's checksum is {header.stored_checksum:#010x}, expected "
            f"{header.checksum:#010x}"
        )
        if header.max_table_entries not in (needed, needed + 1):
            raise draft.unproven(
                f"{message}, and its {header.max_table_entries} entries do not fit the {needed} "
                "blocks of the disk",
                header.offset,
                "the header is damaged: copy the image again and compare checksums",
            )
        draft.found("header-checksum", message, offset=header.offset)
        draft.fix_header = True
