"""What an explanation is, and what has some: a family, registered by existing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["FAMILIES", "Explanation", "Family"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One code: what happened, what follows, what to do. Text of whole sentences, in markdown.

    references: pages of this project ("docs/formats/vhd.md"), or titles with a URL.
    """

    id: str
    title: str
    cause: str
    consequence: str
    cure: str
    references: tuple[str, ...] = ()


class Family(ABC):
    """Codes of one kind."""

    name: ClassVar[str]  # "errors"
    title: ClassVar[str]
    order: ClassVar[int]  # lower ones are listed first
    on_the_page: ClassVar[bool] = True  # whether docs/errors.md has them; others have their own

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name in FAMILIES:
            raise TypeError(f"two families call themselves {cls.name!r}")
        FAMILIES[cls.name] = cls

    @classmethod
    @abstractmethod
    def explanations(cls) -> Iterable[Explanation]:
        """All of them, in the order in which they are listed."""


FAMILIES: dict[str, type[Family]] = {}
