"""What the CPU runs: which implementation finds zeros and makes checksums, and that it is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .. import _native
from .base import Examination, Item, Request, State

__all__ = ["Kernels"]

_TITLES = {"zero": "zero detection", "crc32c": "CRC-32C"}
# The check value of CRC-32C (Castagnoli), of the nine ASCII digits.
_DIGITS, _DIGITS_CRC = b"123456789", 0xE3069283
_LENGTH = 8192


class Kernels(Examination):
    """Each kernel that can run is tried."""

    name = "kernels"
    group = "vhdfast"
    order = 21

    def run(self, request: Request) -> Iterator[Item]:
        for sort, kernels in _native.kernels().items():
            yield _item(sort, kernels)


def _item(sort: str, kernels: Mapping[str, str | None]) -> Item:
    usable = [name for name, reason in kernels.items() if reason is None]
    wrong = [name for name in usable if not _is_right(sort, name)]
    others = ", ".join(usable[1:])
    message = usable[0] + (f"; {others} would run too" if others else "")
    details = {"chosen": usable[0], "usable": usable, "unusable": {
        name: reason for name, reason in kernels.items() if reason is not None
    }}  # fmt: skip
    title = _TITLES.get(sort, sort)
    if wrong:
        return Item(
            title, State.PROBLEM, f"{', '.join(wrong)}: wrong results on this CPU",
            "report it; use no image that was made here", details,
        )  # fmt: skip
    if usable == ["scalar"]:
        return Item(title, State.NOTE, "scalar: no faster one runs on this CPU", None, details)
    return Item(title, State.OK, message, None, details)


def _is_right(sort: str, kernel: str) -> bool:
    if sort == "crc32c":
        return _native.crc32c(_DIGITS, kernel=kernel) == _DIGITS_CRC
    blank = bytearray(_LENGTH)
    if not _native.is_zero(blank, kernel=kernel):
        return False
    for place in (0, _LENGTH // 2 + 1, _LENGTH - 1):
        blank[place] = 1
        if _native.is_zero(blank, kernel=kernel):
            return False
        blank[place] = 0
    return True
