"""The backup of a GPT, which belongs at the end of the disk."""

from __future__ import annotations

from ..errors import UnsupportedImageError
from ..resizing import gpt_notice, gpt_stages
from .base import Repair
from .draft import Draft


class GptBackup(Repair):
    """It is the guest's, so it is moved on request only."""

    name = "gpt-backup"
    order = 90

    def examine(self, draft: Draft) -> None:
        wanted = draft.options.relocate_gpt
        if not draft.is_fixed:
            if wanted:
                raise UnsupportedImageError(
                    f"the data of a {draft.subformat} VHD is not changed in place",
                    path=draft.source.path,
                    hint="leave out --relocate-gpt",
                )
            return
        old, new = draft.disk_end, draft.footer.current_size
        if wanted:
            draft.move_gpt = bool(gpt_stages(draft.source, old, new))
            if draft.move_gpt:
                draft.found("gpt-backup", "the backup of the GPT does not lie at the disk's end")
            return
        notice = gpt_notice(draft.source, old, new)
        if notice is not None:
            draft.found("gpt-backup", notice.message, repaired=False, offset=notice.offset)
