"""Command lines as qemu-img's getopt_long takes them apart, as far as they are served.

Options may stand anywhere before "--" and be joined ("-pO raw", "-Oraw"). What is not on a
command's list is never guessed: not a long option's abbreviation, not an option's value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .real import HandOver

__all__ = ["CACHE_MODES", "Words", "key_values", "plain_size", "take_apart"]

CACHE_MODES = ("none", "off", "writeback", "writethrough", "directsync", "unsafe")
_SIZE = re.compile(r"([1-9]\d{0,17})([kKMG]?)")
_FACTORS = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Words:
    """A command line: values of each option in their order, "" for one without; and operands."""

    options: dict[str, list[str]] = field(default_factory=dict)
    operands: list[str] = field(default_factory=list)

    def __contains__(self, option: str) -> bool:
        return option in self.options

    def last(self, option: str) -> str | None:
        """The value that counts where an option is given several times."""
        values = self.options.get(option)
        return values[-1] if values else None

    def check_each(self, option: str, allowed: Sequence[str]) -> str | None:
        """`last`, where every value given is one of these. Raises HandOver."""
        for value in self.options.get(option, []):
            if value not in allowed:
                raise HandOver(f"{option} {value!r} is not served")
        return self.last(option)


def take_apart(words: Sequence[str], short: str, long: Sequence[str] = ()) -> Words:
    """Words into options and operands.

    short: letters that are served, each with ":" behind it where it takes a value. long: long
    options that are served: "--name", or "--name=" for one with a value, given either way.
    Raises HandOver for any other.
    """
    if "POSIXLY_CORRECT" in os.environ:
        raise HandOver("POSIXLY_CORRECT changes how options are read")
    found = Words()
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            found.operands.extend(left)
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            if f"{name}=" in long:
                if not equals:
                    value = _next(left, name)
            elif equals or name not in long:
                raise HandOver(f"{name} is not served")
            found.options.setdefault(name, []).append(value)
        elif word.startswith("-") and word != "-":
            _take_letters(word[1:], left, short, found)
        else:
            found.operands.append(word)
    return found


def _take_letters(letters: str, left: list[str], short: str, found: Words) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        at = short.find(letter)
        if at < 0 or letter == ":":
            raise HandOver(f"-{letter} is not served")
        value = ""
        if short[at + 1 : at + 2] == ":":
            value, letters = letters or _next(left, f"-{letter}"), ""
        found.options.setdefault(f"-{letter}", []).append(value)


def _next(left: list[str], option: str) -> str:
    if not left:
        raise HandOver(f"{option} has no value")
    return left.pop(0)


def key_values(texts: Sequence[str]) -> dict[str, str]:
    """The `-o name=value,name` of all of them; a name alone means "on". Raises HandOver."""
    found: dict[str, str] = {}
    for text in texts:
        for part in text.split(","):
            key, equals, value = part.partition("=")
            # Nothing between commas: one that is part of a value is written twice.
            if not key or key in found:
                raise HandOver(f"-o {text!r} is not served")
            found[key] = value if equals else "on"
    return found


def plain_size(text: str) -> int | None:
    """Bytes of "4096", "64k", "1M", which every qemu-img reads alike; None for all else."""
    match = _SIZE.fullmatch(text)
    return None if match is None else int(match.group(1)) * _FACTORS[match.group(2)]
