"""VMX: the settings of a VMware machine, which name its disks.

Lines of `key = "value"`. A disk is what a slot such as scsi0:0 has as fileName, where the slot is
present and no CD drive. After a snapshot that is the newest child, which is what the machine uses.
"""

from __future__ import annotations

import codecs
import re
from functools import partial

from ..errors import InvalidImageError, UnsupportedImageError, printable
from ..files import Source
from ..formats.base import Glimpse, OpenOptions
from ..vmware import codec_of, unescaped
from .base import Container, Disk, no_disk, read_text

__all__ = ["VmxContainer"]

MAX_SIZE = 1 << 20
MAX_DISKS = 1024

# Between two runs of blanks stands something, or the time to refuse a line would be their square.
_LINE = re.compile(r'\s*([A-Za-z0-9_.:]+)\s*=\s*(?:(?:"([^"]*)"|([^"\s#]+))\s*)?(?:#.*)?')
_SLOT = re.compile(r"((scsi|sata|ide|nvme)(\d{1,4})):(\d{1,4})\.filename")


class VmxContainer(Container):
    """A .vmx file."""

    name = "vmx"
    title = "VMX (VMware machine)"
    suffixes = (".vmx",)

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        """By the name too: what a guest writes must not make a machine of its raw disk."""
        head = glimpse.at(0, 512)
        if not cls.is_named(glimpse.name) or b"=" not in head or b"\0" in head:
            return None
        return "settings under a name that ends in .vmx"

    @classmethod
    def disks(cls, source: Source, options: OpenOptions) -> list[Disk]:
        settings = _settings(source)
        slots: list[tuple[str, int, int, str]] = []
        for key, name in settings.items():
            slot = _SLOT.fullmatch(key)
            if slot is not None and _is_disk(settings, key.removesuffix(".filename"), name):
                slots.append((slot[2], int(slot[3]), int(slot[4]), name))
        if not slots:
            raise no_disk("no disk is present in the machine's settings", source.path)
        if len(slots) > MAX_DISKS:
            raise InvalidImageError(
                f"the machine has {len(slots)} disks, expected {MAX_DISKS} or fewer",
                path=source.path,
            )
        slots.sort()

        def open_file(name: str) -> Source:
            return options.references.open(source, name.replace("\\", "/"), "disk")

        return [
            Disk(name, number, None, None, partial(open_file, name))
            for number, (*_, name) in enumerate(slots, 1)
        ]


def _is_disk(settings: dict[str, str], slot: str, name: str) -> bool:
    controller = slot.partition(":")[0]
    device = settings.get(f"{slot}.devicetype", "").lower()
    return (
        settings.get(f"{slot}.present", "").lower() == "true"
        and settings.get(f"{controller}.present", "true").lower() == "true"
        and "cdrom" not in device
        and not name.lower().endswith(".iso")
        and name.lower() not in ("", "auto detect", "emptybackingstring")
    )


def _settings(source: Source) -> dict[str, str]:
    """{key in small letters: value}. Raises InvalidImageError, UnsupportedImageError."""
    data = read_text(source, MAX_SIZE, "VMX")
    encoding = "utf-8"
    for line in data.decode("latin-1").splitlines():
        match = _LINE.fullmatch(line)
        if match is not None and match[1].lower() == ".encoding":
            encoding = match[2] or match[3] or ""
    text = _decoded(source, data, encoding)
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue  # comments, blank lines, and what VMware does not read either
        key, value = match[1].lower(), unescaped(match[2] or match[3] or "")
        if found.get(key, value) != value and _SLOT.fullmatch(key):
            raise InvalidImageError(
                f"the settings have {printable(key)!r} twice, as {printable(found[key])!r} and as "
                f"{printable(value)!r}",
                path=source.path,
            )
        found[key] = value
    return found


def _decoded(source: Source, data: bytes, encoding: str) -> str:
    codec = codec_of(encoding)
    if codec is not None:
        return data.removeprefix(codecs.BOM_UTF8).decode(codec, "surrogateescape")
    raise UnsupportedImageError(
        f"the settings are written in {printable(encoding)!r}, which is not known here",
        path=source.path,
        hint="name the disk itself",
    )
