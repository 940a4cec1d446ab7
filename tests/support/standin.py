"""Runs of the stand-in for qemu-img, in this process and as a program of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vhdfast.qemu_img.main import serve
from vhdfast.qemu_img.real import HandOver

HANDED_OVER = -1


def answer(real: str | None, *words: object) -> tuple[int, str]:
    """(exit status, "") of a command line that is served, else (HANDED_OVER, the reason)."""
    try:
        return serve([str(word) for word in words], real), ""
    except HandOver as reason:
        return HANDED_OVER, str(reason)


def install(directory: Path, name: str = "qemu-img") -> Path:
    """A console script as pip writes it, under the name that programs call."""
    directory.mkdir(exist_ok=True)
    script = directory / name
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from vhdfast.qemu_img.__main__ import main\n"
        "sys.exit(main())\n"
    )
    script.chmod(0o755)
    return script


def environment(*first: Path, **more: str) -> dict[str, str]:
    """This environment with these directories first on PATH."""
    path = os.pathsep.join([*map(str, first), os.environ["PATH"]])
    return {**os.environ, "PATH": path, **more}
