"""From words to a verb, and from errors to exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from typing import Any

from .. import __version__
from ..errors import InternalError, UsageError, VhdfastError, WriteError
from ..signals import Interrupted, signals
from ._options import Parser, build_parser, expand_optional_values, load, verbs
from ._output import Console

__all__ = ["main"]

USAGE = """\
vhdfast turns a disk image into a fixed VHD that Azure accepts.

  vhdfast convert --fixed --align disk.vhdx disk.vhd
  vhdfast info disk.vhd
  vhdfast compare disk.vhdx disk.vhd

verbs:
{verbs}

vhdfast VERB --help tells more; vhdfast --version prints the version.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. Never raises, but for defects under -v."""
    words = sys.argv[1:] if argv is None else argv
    _open_standard_streams()
    _raise_descriptor_limit()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a locale cannot write must not make a failure of what was done.
        sys.stdout.reconfigure(errors="backslashreplace")
    status = 0
    try:
        try:
            with signals():
                status = _dispatch(words)
        except Interrupted as stop:
            status = 128 + stop.number
            _say(f"stopped by {signal.Signals(stop.number).name}")
        except VhdfastError as error:
            status = error.exit_code
            _print_error(error, "--json" in words)
        except OSError:
            raise
        except Exception as error:
            if "-v" in words or "--verbose" in words:
                traceback.print_exc()
            defect = InternalError(
                f"{type(error).__name__}: {error}",
                hint="this is a defect of vhdfast; run it again with -v and report what it prints",
            )
            status = defect.exit_code
            _print_error(defect, "--json" in words)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_stdout()
    except OSError as error:
        _leave_stdout()
        if not status:
            failed = WriteError(f"printing failed: {error.strerror}")
            status = failed.exit_code
            _print_error(failed, False)
    return status


def _open_standard_streams() -> None:
    """Where one is closed, a file that is opened would get its number, and what is printed.

    Of these /dev/null takes the place: as standard output for reading only, so that printing a
    result fails and is not lost unseen.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _leave_stdout() -> None:
    """The interpreter must not complain at its end of what could not be printed."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_descriptor_limit() -> None:
    """Let a disk that is split into thousands of files be open as a whole."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage(), end="")
        return 0
    if words[0] in ("-V", "--version"):
        print(f"vhdfast {__version__}")
        return 0
    verb = words[0]
    if verb == "help":
        return _dispatch([*words[1:2], "--help"])
    if verb not in verbs():
        raise UsageError(f"there is no verb {verb!r}", hint=f"one of: {', '.join(sorted(verbs()))}")
    parser = build_parser(verb)
    args = _parse(parser, words[1:])
    if args is None:
        return 0
    try:
        console = Console(args.json, args.quiet, args.log)
    except OSError as error:
        raise WriteError(f"the log cannot be written: {error.strerror}", path=args.log) from error
    try:
        status: int = load(verb).run(args, console)
        sys.stdout.flush()
        return status
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise WriteError(f"printing failed: {error.strerror}") from error
    finally:
        console.close()


def _parse(parser: Parser, words: list[str]) -> Any:
    """The namespace, or None where help was asked for and printed."""
    try:
        return parser.parse_intermixed_args(expand_optional_values(parser, words))
    except SystemExit:
        return None


def _usage() -> str:
    names = verbs()
    width = max(len(name) for name in names)
    lines = (f"  {name:<{width}}  {load(name).HELP}" for name in sorted(names))
    return USAGE.format(verbs="\n".join(lines))


def _print_error(error: VhdfastError, is_json: bool) -> None:
    text = " ".join(str(error).split("\n"))
    # The code is what `vhdfast explain` takes.
    _say(f"error: {text} [{error.code}]")
    if is_json:
        print(json.dumps({"schema": "vhdfast.error/1", "error": error.to_dict()}, indent=2))


def _say(line: str) -> None:
    """The last words, on stderr; where nobody can read them the exit status has to do."""
    with contextlib.suppress(OSError):
        print(f"vhdfast: {line}", file=sys.stderr)
