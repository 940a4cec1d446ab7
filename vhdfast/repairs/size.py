"""The size of a fixed disk: a multiple of the alignment, and that of its file."""

from __future__ import annotations

from ..edits import nonzero
from ..errors import ReadError, TargetTooLargeError, UsageError
from ..formats.vhd.footer import FOOTER_LENGTH
from ..outputs.fixed_vhd import FixedVhd
from ..shrinking import check_cut
from ..units import MIB, SECTOR, format_bytes, round_down, round_up
from .base import Repair
from .draft import Draft


class FixedSize(Repair):
    """Grows the disk, which loses nothing; makes it smaller where that is asked for and proven.

    What the file holds between the size that the footer gives and the footer must be zeros.
    """

    name = "size"
    order = 50

    def examine(self, draft: Draft) -> None:
        align = draft.options.align
        if align < SECTOR or align % SECTOR:
            raise UsageError(
                f"an alignment of {align} bytes", hint=f"give a multiple of {SECTOR}, such as 1M"
            )
        if not draft.is_fixed:
            return
        stated, held = draft.footer.current_size, draft.disk_end
        if stated > held:
            raise draft.unproven(
                f"the footer gives {stated} bytes, the file holds {held} before it: what is "
                "missing cannot be known",
                held,
                "copy the image again; convert reads what is there",
            )
        if stated < held:
            if (held + FOOTER_LENGTH) % MIB == 0:
                # A raw disk has such a size, and may end with a VHD of its guest.
                raise draft.unproven(
                    f"the footer gives {stated} bytes, the file holds {held} before it: it may as "
                    "well be a raw disk, and the footer data of it",
                    held,
                    "vhdfast convert --from raw, or --from vhd, makes a new file by either",
                )
            self._check_between(draft, stated, held)
            draft.found(
                "size-below-file",
                f"the footer gives {stated} bytes, the file holds {held} before it",
                offset=held,
            )
        elif stated % align:
            draft.found(
                "size-alignment",
                f"the size, {format_bytes(stated)}, is no multiple of {format_bytes(align)}",
                offset=held,
            )
        else:
            return
        target = round_down(stated, align) if draft.options.shrink else 0
        if target:
            check_cut(draft.source, held, target, draft.options.relocate_gpt)
        else:
            target = round_up(held, align)
        if target > FixedVhd.constraints.max_size:
            raise TargetTooLargeError(
                f"the disk would have {format_bytes(target)}, a fixed VHD at most "
                f"{format_bytes(FixedVhd.constraints.max_size)}",
                path=draft.source.path,
            )
        draft.resize(target)

    @staticmethod
    def _check_between(draft: Draft, stated: int, held: int) -> None:
        try:
            first = next(iter(nonzero(draft.source.fileno(), stated, held)), None)
        except OSError as error:
            raise ReadError(f"reading failed: {error.strerror}", path=draft.source.path) from error
        if first is not None:
            raise draft.unproven(
                f"the footer gives {stated} bytes, the file holds {held} before it, and what is "
                "there is not all zeros: nothing proves which size is right",
                first[0],
                "vhdfast convert makes a disk of the footer's size",
            )
