"""The real qemu-img: finding it, asking it what an image is, and becoming it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = ["HandOver", "NoRealError", "ask_chain", "become", "find_real"]

NAME = "qemu-img"
CHOICE = "VHDFAST_QEMU_IMG"  # environment: the real one's path
# Set for the real one: what starts with it was started by a stand-in.
GUARD = "VHDFAST_QEMU_IMG_STARTED"
# A script that holds one of these in its first bytes is a stand-in, or calls one.
MARKS = (b"vhdfast.qemu_img", b"vhdfast-qemu-img")
MARK_REACH = 4096
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class HandOver(Exception):
    """The stand-in cannot answer this as qemu-img would. Its text is the reason, for people."""


class NoRealError(Exception):
    """What is there in the place of qemu-img is none, or leads back to the stand-in."""


def find_real() -> str | None:
    """The path of the real qemu-img: VHDFAST_QEMU_IMG, else the first on PATH that is not this.

    None where there is none. Raises NoRealError.
    """
    if GUARD in os.environ:
        raise NoRealError("the stand-in was started in the place of qemu-img once more")
    chosen = os.environ.get(CHOICE)
    if chosen:
        if not _is_program(chosen):
            raise NoRealError(f"{CHOICE} is {chosen!r}, which is no program")
        if _is_stand_in(chosen):
            raise NoRealError(f"{CHOICE} is {chosen!r}, which is the stand-in itself")
        return chosen
    for directory in os.get_exec_path():
        path = os.path.join(directory, NAME)
        if _is_program(path) and not _is_stand_in(path):
            return path
    return None


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _is_stand_in(path: str) -> bool:
    if os.path.realpath(path) == os.path.realpath(sys.argv[0]):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(MARK_REACH)
    except OSError:
        return False  # a program may be executable without being readable
    return head.startswith(b"#!") and any(mark in head for mark in MARKS)


def _environment() -> dict[str, str]:
    return {**os.environ, GUARD: "1"}


def become(real: str, words: Sequence[str]) -> NoReturn:
    """Replace this process by the real qemu-img, as if it had been started in our place.

    Raises NoRealError where it cannot be started.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these, and a program keeps what was ignored when it was started.
    kept = {number: signal.signal(number, signal.SIG_DFL) for number in IGNORED_BY_PYTHON}
    try:
        os.execve(real, [NAME, *words], _environment())
    except OSError as error:
        for number, handler in kept.items():
            signal.signal(number, handler)
        raise NoRealError(f"{real} cannot be started: {error.strerror}") from error


def ask_chain(real: str, path: str, format_name: str | None, share: bool) -> list[dict[str, Any]]:
    """What the real qemu-img says of an image and of those below it: `info --backing-chain`.

    Raises HandOver where it says nothing: then it shall say itself why.
    """
    import json  # not for handing over
    import subprocess

    words = ["info", "--output=json", "--backing-chain"]
    words += [] if format_name is None else ["-f", format_name]
    words += ["-U"] if share else []
    done = subprocess.run(
        [NAME, *words, "--", path], executable=real, stdin=subprocess.DEVNULL,
        capture_output=True, env=_environment(),
    )  # fmt: skip
    try:
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except ValueError:
        answer = None
    if not isinstance(answer, list) or not all(isinstance(layer, dict) for layer in answer):
        raise HandOver(f"qemu-img itself does not open {path}")
    return answer
