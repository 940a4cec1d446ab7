"""The qemu-img of this machine: its version, and what it does to the size of a fixed VHD.

The trial outranks the version's number: distributions carry changes back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from ..errors import UsageError, printable
from ..units import format_bytes
from .base import Examination, Item, Request, State
from .programs import Ran, run_program
from .qemu_versions import Version, parse_version
from .trial import TRIAL_SIZE, Trial, try_conversion

__all__ = ["QemuImg", "find_qemu_img"]

# vhdfast's own program that takes qemu-img's command line, where it was installed under its name.
STAND_IN = "vhdfast-qemu-img"
# What a script that starts it has in it, whatever its own name.
STAND_IN_MARKS = (STAND_IN.encode(), b"vhdfast.qemu_img")
PLAIN, FORCED = "subformat=fixed", "subformat=fixed,force_size"
OURS = "vhdfast convert SRC DST.vhd"
_WANTED = {True: "keeps sizes", False: "rounds sizes up"}


class QemuImg(Examination):
    """Which qemu-img there is, and the command line that is right for it."""

    name = "qemu-img"
    group = "qemu-img"
    order = 10

    def run(self, request: Request) -> Iterator[Item]:
        program, stand_in = find_qemu_img(request.qemu_img)
        if stand_in is not None:
            yield Item(
                "stand-in", State.NOTE, f"{stand_in} is vhdfast under the name of qemu-img",
                details={"path": stand_in},
            )  # fmt: skip
        if program is None:
            if request.qemu_img is None:
                yield Item(
                    "program", State.NOTE, "there is none on PATH; vhdfast does not need it",
                    details={"path": None},
                )  # fmt: skip
            return
        asked = _ask_version(program)
        version = parse_version(asked.output)
        details: dict[str, Any] = {"path": program, "version": None, "package": None}
        if version is None:
            yield _no_version(program, asked, details)
            if not asked.has_ended:
                return  # nor would the trials
        else:
            details |= {
                "version": ".".join(map(str, version.number)) + version.suffix,
                "package": version.package,
            }
            yield Item("program", State.OK, f"{program}, version {version}", details=details)
        yield from _try(program, _as_typed(program, request.qemu_img, stand_in), version)


def find_qemu_img(wanted: str | None) -> tuple[str | None, str | None]:
    """(the program or None, our stand-in where it comes first). Raises UsageError."""
    if wanted is not None:
        found = shutil.which(wanted)
        if found is None:
            raise UsageError(
                "there is no program that may be run", path=wanted, hint="see --qemu-img"
            )
        found = os.path.abspath(found)
        return (None, found) if _is_stand_in(found) else (found, None)
    stand_in = None
    for directory in os.get_exec_path():
        path = os.path.abspath(os.path.join(directory, "qemu-img"))
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            continue
        if not _is_stand_in(path):
            return path, stand_in
        stand_in = stand_in or path
    return None, stand_in


def _is_stand_in(path: str) -> bool:
    if os.path.basename(os.path.realpath(path)).startswith(STAND_IN):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(b"#!") and any(mark in head for mark in STAND_IN_MARKS)


def _as_typed(program: str, wanted: str | None, stand_in: str | None) -> str:
    """How the program is called in a shell."""
    return shlex.quote(program) if wanted is not None or stand_in is not None else "qemu-img"


def _ask_version(program: str) -> Ran:
    """What --version prints; versions before 2.3 know only the help text's first line."""
    asked = run_program([program, "--version"])
    if not asked.has_ended or parse_version(asked.output) is not None:
        return asked
    helped = run_program([program, "--help"])
    return helped if parse_version(helped.output) is not None else asked


def _no_version(program: str, asked: Ran, details: dict[str, Any]) -> Item:
    if asked.failure is not None:
        return Item(
            "program", State.PROBLEM, f"{program} does not tell its version: {asked.failure}",
            remedy=f"install it again, or convert without it: {OURS}", details=details,
        )  # fmt: skip
    said = printable(asked.output.strip().partition("\n")[0], 100) or "nothing"
    return Item(
        "program", State.WARNING, f"{program} tells no version of qemu-img, but: {said}",
        details=details,
    )  # fmt: skip


# ---- trials -------------------------------------------------------------------------------------


def _try(program: str, typed: str, version: Version | None) -> Iterator[Item]:
    with tempfile.TemporaryDirectory(prefix="vhdfast-doctor-") as directory:
        plain = try_conversion(program, directory, PLAIN)
        if plain.has_ended:
            forced = try_conversion(program, directory, FORCED)
        else:
            forced = Trial(FORCED, "failed", reason="not tried, since the other one did not end")
    yield _verdict(plain, forced, typed)
    if version is not None and not _agree(version, plain, forced):
        yield _disagreement(version, plain, forced)


def _verdict(plain: Trial, forced: Trial, typed: str) -> Item:
    """What the trials say, and the command line to use."""
    details: dict[str, Any] = {
        "asked": TRIAL_SIZE,
        "trials": [_document(trial) for trial in (plain, forced)],
        "commands": {"vhdfast": OURS, "qemu_img": None},
    }
    right = next((trial for trial in (forced, plain) if trial.result == "exact"), None)
    if right is None:
        return _hopeless(plain, forced, details)
    command = f"{typed} convert -f FORMAT -O vpc -o {right.options} SRC DST.vhd"
    details["commands"]["qemu_img"] = command
    remedy = f"{command}   where SRC has whole MiB\n{OURS}   for any SRC"
    if right is plain:
        message = f"{PLAIN} keeps the size that a disk has"
        if plain.spans_more:
            message += (
                "; the geometry spans more, so that a newer qemu-img takes the footer for data "
                "where it reads the result"
            )
        return Item("sizes", State.OK, message, remedy, details)
    if plain.result == "rounded":
        message = (
            f"{PLAIN} alone rounds {format_bytes(TRIAL_SIZE)} up to {plain.size} bytes, which "
            "Azure refuses; with force_size the size stays"
        )
        return Item("sizes", State.NOTE, message, remedy, details)
    if plain.result == "exact":
        message = f"{PLAIN} keeps the size that a disk has, with force_size and without"
        return Item("sizes", State.OK, message, remedy, details)
    message = f"only {FORCED} makes what it should; without force_size: {plain.reason}"
    return Item("sizes", State.WARNING, message, remedy, details)


def _document(trial: Trial) -> dict[str, Any]:
    return {
        "options": trial.options, "result": trial.result, "size": trial.size,
        "reason": trial.reason, "spans_more": trial.spans_more,
    }  # fmt: skip


def _hopeless(plain: Trial, forced: Trial, details: dict[str, Any]) -> Item:
    if "rounded" in (plain.result, forced.result):
        size = plain.size or forced.size
        message = (
            f"it cannot write a VHD of an exact size: {format_bytes(TRIAL_SIZE)} become {size} "
            "bytes, which Azure refuses, whatever the options"
        )
        if forced.result != "rounded":
            message += f" (force_size: {forced.reason})"
        remedy = f"{OURS}; or install qemu-img 2.6 or later, and use force_size"
    else:
        message = f"it cannot write fixed VHDs: {plain.reason}"
        remedy = f"{OURS}; or install another qemu-img"
    return Item("sizes", State.PROBLEM, message, remedy, details)


def _agree(version: Version, plain: Trial, forced: Trial) -> bool:
    if plain.result not in ("exact", "rounded"):
        return True  # it is broken, which no number foretells
    keeps = plain.result == "exact"
    return keeps == version.writes_exact_sizes and (
        (forced.result == "exact") == version.has_force_size
    )


def _disagreement(version: Version, plain: Trial, forced: Trial) -> Item:
    has = {True: "has force_size", False: "has no force_size that works"}
    message = (
        f"version {version} usually {_WANTED[version.writes_exact_sizes]} and "
        f"{has[version.has_force_size]}; this one {_WANTED[plain.result == 'exact']} and "
        f"{has[forced.result == 'exact']}"
    )
    return Item(
        "version", State.NOTE, message,
        remedy="go by what it does; distributions carry changes back, or change the number",
        details={"usual": {
            "keeps_sizes": version.writes_exact_sizes, "has_force_size": version.has_force_size,
        }},
    )  # fmt: skip
