"""Serving a command line, or handing it over."""

from __future__ import annotations

import os
import signal
import sys

from .. import __version__
from ..errors import VhdfastError
from ..signals import Interrupted, signals
from .commands import Call, commands, load
from .real import HandOver, NoRealError, become, find_real

__all__ = ["main", "serve"]

VERBOSE = "VHDFAST_QEMU_IMG_VERBOSE"  # environment, the same as the option
VERBOSE_OPTION = "--vhdfast-verbose"  # before the command, so that it is no option of qemu-img's
# Whose words and numbers are used where there is no qemu-img to be asked.
LIKE_VERSION = "7.2"
INSTALL = "install it (package qemu-utils, qemu-img or qemu-tools), or name it in VHDFAST_QEMU_IMG"


def main(argv: list[str] | None = None) -> int:
    """Answer as qemu-img would; returns the exit status, or becomes qemu-img and never returns."""
    words = list(sys.argv[1:] if argv is None else argv)
    verbose = os.environ.get(VERBOSE, "") not in ("", "0")
    while words[:1] == [VERBOSE_OPTION]:
        verbose = True
        del words[0]
    try:
        with signals():
            return _answer(words, verbose)
    except Interrupted as stop:
        # The shell, or whoever waits for us, sees what it would see of qemu-img.
        return _die_by(stop.number)
    except BrokenPipeError:
        return _die_by(signal.SIGPIPE)
    except NoRealError as error:
        return _fail(str(error))


def _answer(words: list[str], verbose: bool) -> int:
    real = find_real()
    try:
        status = serve(words, real)
        _tell(verbose, f"{words[0]}: served by vhdfast {__version__}")
        return status
    except HandOver as cause:
        reason, missing = str(cause), f". This needs qemu-img itself: {INSTALL}"
    except BrokenPipeError:
        raise
    except VhdfastError as error:
        # What stopped us may not stop qemu-img: it needs no room for two targets, for one.
        reason, missing = str(error), ""
    except Exception as error:
        # No room for threads or memory under a limit, or a defect: qemu-img has neither.
        reason, missing = f"{type(error).__name__}: {error}", ""
    if real is not None:
        _tell(verbose, f"handed over to {real}: {reason}")
        become(real, words)
    return _fail(reason + missing)


def serve(words: list[str], real: str | None) -> int:
    """Answer a command line, or raise HandOver or VhdfastError. real: the real qemu-img, if any."""
    command = words[0] if words else ""
    if real is None and words in (["--version"], ["-V"]):
        print(f"qemu-img version {LIKE_VERSION}.0 (stand-in: vhdfast {__version__})")
        return 0
    if command not in commands():
        raise HandOver(f"{command!r} is not served" if words else "no command was given")
    module = load(command)
    if real is not None and not module.IS_SLOW:
        raise HandOver(f"{command} is quick, and its words are the version's")
    status: int = module.run(Call(words[1:], real))
    sys.stdout.flush()
    return status


def _tell(verbose: bool, text: str) -> None:
    if verbose:
        print(f"vhdfast-qemu-img: {text}", file=sys.stderr, flush=True)


def _fail(text: str) -> int:
    print(f"qemu-img: {text}", file=sys.stderr)
    return 1


def _die_by(number: int) -> int:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
