"""The text descriptor: what kind of disk this is, where its extents lie, what lies below it.

Source: VMware, "Virtual Disk Format 5.0", section "The Descriptor File".
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

from ...errors import (
    CONVERT_ELSEWHERE,
    DAMAGED,
    InvalidImageError,
    UnsupportedImageError,
    printable,
)
from ...files import Source
from ...units import MAX_OFFSET, SECTOR
from ...vmware import codec_of, unescaped

__all__ = [
    "MAX_DESCRIPTOR",
    "NO_PARENT",
    "Descriptor",
    "ExtentLine",
    "looks_like_descriptor",
    "parse_descriptor",
]

MAX_DESCRIPTOR = 1 << 20  # bytes; those of VMware have fewer than 20 KiB
MAX_EXTENTS = 4096
MAX_SECTORS = MAX_OFFSET // SECTOR
# 4 is what vSphere 7 writes for some disks; the text is the same.
VERSIONS = range(1, 5)
NO_PARENT = 0xFFFFFFFF

_BOM = b"\xef\xbb\xbf"
_TITLE = re.compile(rb"#[ \t]*disk[ \t]*descriptor[ \t]*file", re.IGNORECASE)
_VERSION = re.compile(rb"version[ \t]*=[ \t]*\"?\d", re.IGNORECASE)
_ENCODING = re.compile(rb"^[ \t]*encoding[ \t]*=[ \t]*\"?([A-Za-z0-9_.:-]{1,40})", re.I | re.M)
_ACCESS = re.compile(rb"(rw|rdonly|noaccess)(?![a-z0-9_.]|[ \t]*=)", re.IGNORECASE)
_LINE = re.compile(
    rb"(\w+)[ \t]+(\d{1,20})[ \t]+(\w{1,32})(?:[ \t]+\"([^\"]*)\"(?:[ \t]+(\d{1,20}))?(.*))?",
    re.IGNORECASE,
)
_VALUE = re.compile(rb"([A-Za-z0-9_.:-]{1,128})[ \t]*=[ \t]*(.*)")


@dataclass(frozen=True, slots=True)
class ExtentLine:
    """One extent: `sectors` of the disk, in the order of the lines.

    kind: FLAT, VMFS, SPARSE, VMFSSPARSE, SESPARSE, ZERO … names: how its file may be called,
    the likeliest first (its bytes can be read in several encodings); empty where it names none.
    offset: sectors into that file. at: where the line stands in the file, bytes.
    """

    access: str
    sectors: int
    kind: str
    names: tuple[str, ...]
    offset: int
    at: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """cid, parent_cid: content ids, None where they are missing. values: all keys, lower case."""

    create_type: str
    cid: int | None
    parent_cid: int | None
    parent_names: tuple[str, ...]
    extents: tuple[ExtentLine, ...]
    values: dict[str, str]

    @property
    def has_parent(self) -> bool:
        return self.parent_cid is not None and self.parent_cid != NO_PARENT


def looks_like_descriptor(start: bytes) -> bool:
    """Whether a file that begins like this is a descriptor; `start` is its first few KiB."""
    for line in start.removeprefix(_BOM).splitlines():
        text = line.strip()
        if _TITLE.match(text):
            return True
        if text and not text.startswith(b"#"):
            return bool(_VERSION.match(text)) and b"createtype" in start.lower()
    return False


def parse_descriptor(source: Source, data: bytes, start: int) -> Descriptor:
    """Parse a descriptor that stands at `start` of its file; it ends at the first NUL.

    Raises InvalidImageError, UnsupportedImageError.
    """
    data = data.split(b"\0", 1)[0]
    if not looks_like_descriptor(data):
        raise InvalidImageError(
            "there is no descriptor here, expected a text that begins with '# Disk DescriptorFile'",
            path=source.path,
            offset=start,
            hint=DAMAGED,
        )
    named = _ENCODING.search(data)
    encoding = codec_of(named.group(1).decode()) if named else None
    values: dict[str, tuple[bytes, int]] = {}
    extents: list[ExtentLine] = []
    at = start
    for line in data.splitlines(keepends=True):
        text, here = line.removeprefix(_BOM).strip(), at
        at += len(line)
        if not text or text.startswith(b"#"):
            continue
        if _ACCESS.match(text):
            if len(extents) == MAX_EXTENTS:
                raise InvalidImageError(
                    f"the descriptor lists more than {MAX_EXTENTS} extents",
                    path=source.path,
                    offset=here,
                )
            extents.append(_parse_extent(source, text, here, encoding))
            continue
        pair = _VALUE.fullmatch(text)
        if pair is not None:
            _keep(source, values, pair.group(1).decode().lower(), pair.group(2), here)
    _check_readable(source, values, start)
    return Descriptor(
        create_type=_decoded(values["createtype"][0], encoding)[0],
        cid=_content_id(source, values, "cid"),
        parent_cid=_content_id(source, values, "parentcid"),
        parent_names=_decoded(values["parentfilenamehint"][0], encoding)
        if "parentfilenamehint" in values
        else (),
        extents=tuple(extents),
        values={key: _decoded(value, encoding)[0] for key, (value, _) in values.items()},
    )


def _parse_extent(source: Source, text: bytes, at: int, encoding: str | None) -> ExtentLine:
    match = _LINE.fullmatch(text)
    if match is None:
        raise InvalidImageError(
            f"the extent {printable(text.decode('latin-1'), 80)!r} is not understood, expected: "
            'RW SECTORS TYPE "FILE" OFFSET',
            path=source.path,
            offset=at,
        )
    access, sectors, kind, name, offset, _ = match.groups()
    count, start = int(sectors), int(offset or 0)
    if count > MAX_SECTORS or start > MAX_SECTORS:
        raise InvalidImageError(
            f"an extent of {count} sectors at sector {start} of its file, expected less than 2^54",
            path=source.path,
            offset=at,
        )
    names = _decoded(name, encoding) if name is not None else ()
    return ExtentLine(access.decode().upper(), count, kind.decode().upper(), names, start, at)


def _keep(
    source: Source, values: dict[str, tuple[bytes, int]], key: str, value: bytes, at: int
) -> None:
    value = value.strip()
    if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
        value = value[1:-1]
    if values.setdefault(key, (value, at))[0] != value:
        # Readers differ in which of the two they take.
        raise InvalidImageError(
            f"the descriptor gives two values for {key}, expected one",
            path=source.path,
            offset=at,
        )


def _check_readable(source: Source, values: dict[str, tuple[bytes, int]], start: int) -> None:
    secret = next((k for k in values if k.startswith("encryption") or k == "keyid"), None)
    if secret is not None:
        raise UnsupportedImageError(
            f"the disk is encrypted (the descriptor has {secret})",
            path=source.path,
            offset=values[secret][1],
            hint="remove the encryption in VMware first",
        )
    version, at = values.get("version", (b"", start))
    if version not in [b"%d" % number for number in VERSIONS]:
        raise UnsupportedImageError(
            f"the descriptor has version {printable(version.decode('latin-1'), 20)!r}, expected "
            f"{VERSIONS.start} to {VERSIONS.stop - 1}",
            path=source.path,
            offset=at,
            hint=CONVERT_ELSEWHERE,
        )
    if "createtype" not in values:
        raise InvalidImageError(
            "the descriptor has no createType, expected one", path=source.path, offset=start
        )


def _content_id(source: Source, values: dict[str, tuple[bytes, int]], key: str) -> int | None:
    if key not in values:
        return None
    text, at = values[key]
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", text):
        raise InvalidImageError(
            f"the {'parentCID' if key == 'parentcid' else 'CID'} is "
            f"{printable(text.decode('latin-1'), 40)!r}, expected up to eight hexadecimal digits",
            path=source.path,
            offset=at,
        )
    return int(text, 16)


def _decoded(data: bytes, encoding: str | None) -> tuple[str, ...]:
    """The text in the declared encoding, then as the bytes are: distinct ones."""
    found: list[str] = []
    if encoding is not None:
        with contextlib.suppress(UnicodeDecodeError):
            found.append(unescaped(data.decode(encoding)))
    plain = unescaped(os.fsdecode(data))
    if plain not in found:
        found.append(plain)
    return tuple(found)
