"""From a draft to the stages that make a file of it."""

from __future__ import annotations

import dataclasses

from .._native import vhd_checksum
from ..edits import Stage, Write
from ..formats.vhd.dynamic import HEADER_LENGTH
from ..formats.vhd.footer import COOKIE, FOOTER_LENGTH, OLD_FOOTER_LENGTH, Footer
from ..resizing import gpt_stages, move_footer
from ..units import round_up
from .draft import Copy, Draft

__all__ = ["stages"]

HEADER_CHECKSUM_AT = 36
CHECKSUM_AT = 64
RESERVED_AT = 85


def stages(draft: Draft) -> list[Stage]:
    """What has to be written; empty where the file is as it should be."""
    found: list[Stage] = []
    if draft.drop_behind:
        found.append(Stage(size=draft.file_end))
    return found + (_fixed(draft) if draft.is_fixed else _dynamic(draft))


def _fixed(draft: Draft) -> list[Stage]:
    assert draft.end is not None
    old, new = draft.disk_end, draft.footer.current_size
    data = _packed(draft)
    moved = gpt_stages(draft.source, old, new) if draft.move_gpt else []
    if new != old:
        footer = move_footer(old, len(draft.end.data), new, data)
    elif data != draft.end.data:
        meaning = _difference(draft.end, draft.footer)
        footer = [Stage((Write(old, data, "footer", meaning),))]
    else:
        footer = []
    return moved + footer if new < old else footer + moved


def _dynamic(draft: Draft) -> list[Stage]:
    """Footer and copy in stages of their own: one of them is whole at any moment."""
    found: list[Stage] = []
    end = draft.end
    where = round_up(draft.file_end, FOOTER_LENGTH) if end is None else end.offset
    data = _packed(draft)
    writes: list[list[Write]] = [[], [], []]
    if end is None or data != end.data:
        writes[0].append(Write(where, data, "footer", _difference(end, draft.footer)))
    if draft.head is None or data != draft.head.data:
        writes[1].append(Write(0, data, "footer copy", _difference(draft.head, draft.footer)))
    if draft.fix_header and draft.header is not None:
        at = draft.header.offset
        header = draft.source.read_exact(at, HEADER_LENGTH, "dynamic header")
        checksum = vhd_checksum(header)
        writes[2].append(
            Write(
                at + HEADER_CHECKSUM_AT,
                checksum.to_bytes(4, "big"),
                "dynamic header",
                f"checksum {draft.header.stored_checksum:#010x} -> {checksum:#010x}",
            )
        )
    found.extend(Stage(tuple(group)) for group in writes if group)
    return found


def _packed(draft: Draft) -> bytes:
    """The footer that is to be; what its reserved field holds stays, where a checksum covers it."""
    data = draft.footer.pack()
    for copy in (draft.end, draft.head):
        footer = None if copy is None else copy.footer
        if copy is not None and footer is not None and footer.is_intact:
            data = data[:RESERVED_AT] + copy.data[RESERVED_AT:].ljust(
                len(data) - RESERVED_AT, b"\0"
            )
            checksum = vhd_checksum(data).to_bytes(4, "big")
            return data[:CHECKSUM_AT] + checksum + data[CHECKSUM_AT + 4 :]
    return data


def _difference(copy: Copy | None, new: Footer) -> str:
    """What becomes of a footer, for people."""
    if copy is None:
        return "missing -> written"
    old = Footer.parse(COOKIE + copy.data[len(COOKIE) :])
    assert old is not None
    changed = [
        f"{field.name.replace('_', ' ')} {_shown(before)} -> {_shown(after)}"
        for field in dataclasses.fields(Footer)
        if field.name not in ("stored_checksum", "checksum")
        and (before := getattr(old, field.name)) != (after := getattr(new, field.name))
    ]
    if copy.footer is None:
        return "damaged -> restored" if changed else "cookie damaged -> restored"
    parts = ["511 -> 512 bytes"] if len(copy.data) == OLD_FOOTER_LENGTH else []
    after_sum = int.from_bytes(new.pack()[CHECKSUM_AT : CHECKSUM_AT + 4], "big")
    if old.stored_checksum != after_sum:
        changed.append(f"checksum {old.stored_checksum:#010x} -> {after_sum:#010x}")
    return ", ".join(parts + changed) or "reserved field cleared"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
