"""What every repair is: a subclass of Repair, registered by existing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from ..units import MIB

if TYPE_CHECKING:
    from .draft import Draft

__all__ = ["REPAIRS", "Finding", "Repair", "RepairKeywords", "RepairOptions"]


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """What is allowed beyond what is always safe, and what is wanted (docs/cli.md)."""

    align: int = MIB  # a fixed disk's size becomes a multiple of it
    shrink: bool = False  # make a fixed disk smaller rather than larger
    cut_trailing: bool = False  # remove data behind the footer
    clear_saved_state: bool = False
    relocate_gpt: bool = False
    unique_id: str | None = None  # UUID for a disk that has none, random where None


class RepairKeywords(TypedDict, total=False):
    """RepairOptions as keywords of a function."""

    align: int
    shrink: bool
    cut_trailing: bool
    clear_saved_state: bool
    relocate_gpt: bool
    unique_id: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong. repaired: whether the plan mends it; if not, the message says what would."""

    code: str
    message: str
    repaired: bool
    offset: int | None = None  # in the file


class Repair(ABC):
    """One kind of damage and its repair."""

    name: ClassVar[str]
    order: ClassVar[int]  # the lower ones first: later ones rely on what they prove

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        taken = any(cls.order == other.order for other in REPAIRS.values())
        if cls.name in REPAIRS or taken:
            raise TypeError(f"two repairs have the name {cls.name!r} or the order {cls.order}")
        REPAIRS[cls.name] = cls

    @abstractmethod
    def examine(self, draft: Draft) -> None:
        """Say what is wrong (`draft.found`), and change the draft so that it is right.

        Raises UnprovenError where a repair would be needed and might lose something.
        """


REPAIRS: dict[str, type[Repair]] = {}
