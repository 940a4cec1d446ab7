"""Files of reports: whole under their names or not there, and never in the place of anything else.

A report is first written to a temporary file beside its name, so that a disk that is full or a
directory that is closed shows before hours of work, and an old report stays until the new is whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO

from ..checks import CheckedImage
from ..errors import TargetExistsError, VhdfastError, WriteError
from .base import KEPT_IN_MEMORY, Report, Run

__all__ = ["STDOUT", "ReportFile"]

STDOUT = "-"
_LOOKED_AT = 512  # bytes of what is to be replaced


class ReportFile:
    """A report on its way to a file, to a pipe or to stdout ("-").

    Use it as a context manager: without `publish` it leaves everything as it was. Raises
    WriteError, and TargetExistsError where the name is taken by what is no report of the form.
    """

    def __init__(self, kind: type[Report], path: str, run: Run) -> None:
        self._path = path
        self._target = path if path == STDOUT else os.path.realpath(path)
        self._temporary: str | None = None
        if self._is_streamed(kind):
            self._out: IO[bytes] = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY)  # noqa: SIM115
        else:
            self._out = self._create()
        self._report = kind(self._out, run)

    @property
    def is_stdout(self) -> bool:
        return self._path == STDOUT

    def is_file(self, path: str) -> bool:
        """Whether an image's path leads to the file that this report would replace."""
        try:
            return self._path != STDOUT and os.path.samefile(self._target, path)
        except (OSError, ValueError):
            return False

    # ---- what it takes --------------------------------------------------------------------------

    def begin(self) -> None:
        with self._typed():
            self._report.begin()

    def image(self, image: CheckedImage) -> None:
        with self._typed():
            self._report.image(image)

    def error(self, path: str, error: VhdfastError) -> None:
        with self._typed():
            self._report.error(path, error)

    def publish(self, exit_code: int) -> None:
        """The report is whole: give it its name, or send it on its way."""
        with self._typed():
            self._report.end(exit_code)
            self._out.flush()
            if self._temporary is not None:
                os.fsync(self._out.fileno())
                os.replace(self._temporary, self._target)
                self._temporary = None
                return
            self._out.seek(0)
            if self._path == STDOUT:
                sys.stdout.flush()
                shutil.copyfileobj(self._out, sys.stdout.buffer)
                sys.stdout.flush()
            else:
                with open(self._path, "wb") as out:
                    shutil.copyfileobj(self._out, out)

    def close(self) -> None:
        self._report.close()
        # What a full disk has not taken is written once more here; the report is no good anyway.
        with contextlib.suppress(OSError):
            self._out.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None

    def __enter__(self) -> ReportFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    # ---- where it goes --------------------------------------------------------------------------

    def _is_streamed(self, kind: type[Report]) -> bool:
        """Whether it has no file of its own. Raises where the name cannot become a report's."""
        if self._path == STDOUT:
            return True
        with self._typed():
            try:
                status = os.stat(self._path)  # of /dev/fd/3 the real path need not be one
            except FileNotFoundError:
                return False
            if stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode):
                return True
            if not stat.S_ISREG(status.st_mode):
                raise WriteError("the report can be no such file", path=self._path)
            with open(self._target, "rb") as file:
                begins = file.read(_LOOKED_AT)
        if status.st_size and kind.marker not in begins:
            raise TargetExistsError(
                f"the file exists, and is no {kind.name} report that could be replaced",
                path=self._path,
                hint="choose another name for the report",
            )
        return False

    def _create(self) -> IO[bytes]:
        directory, name = os.path.split(self._target)
        short = os.fsdecode(os.fsencode(name)[:200])
        # Known before it exists: a signal may come between.
        self._temporary = os.path.join(directory, f".{short}.{secrets.token_hex(4)}.part")
        try:
            with self._typed():
                return open(self._temporary, "xb")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            raise

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WriteError(
                f"the report cannot be written: {error.strerror}", path=self._path
            ) from error
