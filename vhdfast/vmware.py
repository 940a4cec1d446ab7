"""Texts as VMware writes them: in a named encoding, reserved characters as "|" and two digits."""

from __future__ import annotations

import re

__all__ = ["codec_of", "unescaped"]

_ESCAPE = re.compile(r"\|([0-9A-Fa-f]{2})")

# What VMware's names of encodings are to Python. Any other one could be a codec that is no encoding
# of text at all, or one whose work grows with the square of it.
_CODECS = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "gbk": "gbk",
    "gb2312": "gbk", "gb18030": "gb18030", "windows-936": "gbk", "big5": "big5",
    "windows-950": "cp950", "shift_jis": "cp932", "shift-jis": "cp932", "windows-31j": "cp932",
    "windows-932": "cp932", "euc-jp": "euc_jp", "euc-kr": "euc_kr", "windows-949": "cp949",
    "ks_c_5601-1987": "cp949", "koi8-r": "koi8_r", "windows-874": "cp874",
    **{f"windows-{page}": f"cp{page}" for page in range(1250, 1259)},
    **{f"iso-8859-{part}": f"iso8859_{part}" for part in (*range(1, 12), *range(13, 17))},
}  # fmt: skip


def codec_of(encoding: str) -> str | None:
    """Python's name for an encoding, None for one that is not known."""
    return _CODECS.get(encoding.lower())


def unescaped(text: str) -> str:
    """The text without escapes: "|22" is a quote."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text)
