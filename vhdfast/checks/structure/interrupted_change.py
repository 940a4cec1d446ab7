"""interrupted-change"""

from __future__ import annotations

from collections.abc import Iterator

from ...edits import interrupted
from ...errors import UndoError, printable
from ...files import is_url
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject

VERBS = ("repair", "resize")


class InterruptedChange(Check):
    id = "interrupted-change"
    title = "no change in place was cut off"
    severity = Severity.ERROR
    what = (
        "Whether an undo file beside the image says that `vhdfast repair`, `vhdfast resize` or "
        "`vhdfast convert --in-place` began to change it and did not come to the end, as after a "
        "crash or a power failure."
    )
    why = "The image is neither what it was nor what it was to become."
    fix = (
        "The same command again, with `--apply` where it has that, completes the change; "
        "`vhdfast repair --undo` takes it back. Neither loses anything."
    )
    order = 5

    def run(self, subject: Subject) -> Iterator[Finding]:
        if is_url(subject.path) or subject.source.is_device:
            yield self.skipped("only files are changed in place")
            return
        try:
            record = interrupted(subject.path)
        except UndoError as error:
            yield self.unknown(
                f"the undo file beside it cannot be used: {error.message}",
                Evidence("undo file", error.message, path=error.path, offset=error.offset),
                remedy=error.hint,
            )
            return
        if record is None:
            yield self.passed("no change in place was cut off")
            return
        # What an undo file says is not for a command line, unless it is one of these.
        verb = record.title if record.title in VERBS else "repair"
        yield self.failed(
            f"a change of it ({printable(record.title)}) was begun and did not come to its end",
            remedy=f"vhdfast {verb} --apply {subject.quoted_path}",
        )
