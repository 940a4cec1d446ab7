"""Sizes: rounding, reading what people write, and writing what people read."""

from __future__ import annotations

import re

from .errors import UsageError

__all__ = ["GIB", "KIB", "MIB", "SECTOR", "check_align", "format_size", "parse_size", "round_up"]

SECTOR = 512
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# File systems and this code's 64-bit fields end here.
MAX_OFFSET = (1 << 63) - 1

_UNITS: dict[str, int] = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40, "P": 1 << 50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:I?B)?", re.IGNORECASE)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def round_down(value: int, multiple: int) -> int:
    """The largest multiple of `multiple` that is not above `value`."""
    return value // multiple * multiple


def check_align(align: int) -> None:
    """Raise UsageError where sizes of disks cannot be rounded up to multiples of this."""
    if align < SECTOR or align % SECTOR:
        raise UsageError(
            f"an alignment of {align} bytes", hint=f"give a multiple of {SECTOR}, such as 1M"
        )


def parse_size(text: str) -> int:
    """Bytes from "512", "2M", "1.5 GiB", "10GB" (units are powers of 1024, as in qemu-img).

    Raises UsageError for anything else, for fractions of a byte and for sizes of 2^63 or more.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="write it like 512, 64K, 2M or 1.5GiB")
    number, unit = match.group(1), _UNITS[match.group(2).upper()]
    whole, _, fraction = number.partition(".")
    numerator: int = int(whole + fraction) * unit
    denominator: int = 10 ** len(fraction)
    if numerator % denominator:
        raise UsageError(f"{text!r} is not a whole number of bytes")
    value = numerator // denominator
    if value > MAX_OFFSET:
        raise UsageError(f"{text!r} is beyond 2^63 bytes")
    return value


def format_size(value: float) -> str:
    """A size for people: "64 MiB", "1.5 GiB", "512 B"; exact where it is a whole unit."""
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(size) < 1024 or unit == "PiB":
            break
        size /= 1024
    text = f"{size:.0f}" if unit == "B" or size == int(size) else f"{size:.2f}"
    return f"{text} {unit}"


def format_bytes(value: int) -> str:
    """A size for people with its exact value: "64 MiB (67108864 bytes)"."""
    return f"{format_size(value)} ({value} bytes)" if value >= KIB else f"{value} bytes"
