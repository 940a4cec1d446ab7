"""vhdfast check"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import UsageError, VhdfastError
from ._names import read_names
from ._options import Parser, add_progress_option, add_source_options, read_options
from ._output import Console, make_monitor

if TYPE_CHECKING:
    from ..checks import CheckedImage, CheckOptions, Selection
    from ..report import Run
    from ..report.layout import Line
    from ..report.writing import ReportFile

HELP = "whether Azure will take an image, and what to do where it will not"
MORE = """\
A fixed VHD is judged as it is; every other image as a source of convert, which cures most of what
Azure refuses: that is noted, with the command. Exit status 0 means that nothing speaks against it,
1 that something does, 3 that something could not be judged. Many files:
find . -name '*.vhd' -print0 | vhdfast check --null -"""
EXAMPLES = (
    "vhdfast check disk.vhd",
    "vhdfast check --as-is --strict disk.vhd",
    "vhdfast check --select=footer-* --all disk.vhd",
    "vhdfast check --report sarif=check.sarif --report junit=check.xml a.vhd b.vhdx",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*",
        help="image file, block device or URL; - reads names from stdin, one a line",
    )  # fmt: skip
    parser.add_argument(
        "--null", action="store_true", help="names on stdin end in a NUL, as find -print0 has them"
    )
    parser.add_argument(
        "--only", choices=("container",), help="only the checks of the image itself"
    )
    parser.add_argument(
        "--as-is", action="store_true",
        help="judge every image as what will be uploaded, not as a source of convert",
    )  # fmt: skip
    parser.add_argument(
        "--as-source", action="store_true",
        help="judge a fixed VHD as a source of convert too",
    )  # fmt: skip
    parser.add_argument(
        "--role", choices=("os", "data", "auto"),
        help="what the disk is to be in Azure (default: auto, judged as an OS disk)",
    )  # fmt: skip
    parser.add_argument(
        "--generation", choices=("1", "2", "auto"), help="of the virtual machine (default: auto)"
    )
    parser.add_argument(
        "--select", action="append", default=[], metavar="ID",
        help="only this check, group of checks, or pattern such as footer-*; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="not these checks"
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail the check too")
    parser.add_argument(
        "--config", metavar="FILE",
        help="take select, ignore, strict, role, generation and grades of checks from a TOML file",
    )  # fmt: skip
    parser.add_argument(
        "--all", dest="show_all", action="store_true",
        help="show also what passed or does not apply",
    )  # fmt: skip
    parser.add_argument(
        "--report", dest="reports", action="append", default=[], metavar="FORM=FILE",
        help=f"write a report for programs as well: {', '.join(_forms())}; - is stdout, which then "
        "has nothing else; may be given again",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the checks, and check nothing")
    add_source_options(parser)
    add_progress_option(parser)


def _forms() -> list[str]:
    from ..report import form_names

    return form_names()


def run(args: argparse.Namespace, console: Console) -> int:
    from datetime import datetime, timezone

    from ..checks import CheckOptions, Selection
    from ..checks.config import CheckConfig, read_config
    from ..report import Run

    config = CheckConfig() if args.config is None else read_config(args.config)
    select = args.select or config.select
    selection = Selection(select, (*config.ignore, *args.ignore), config.grades)
    checks = selection.checks()  # a misspelt name is told before hours of work
    if not checks:
        raise UsageError("no check is left to run", hint="leave out some of --select and --ignore")
    if args.list:
        return _list(selection, args, console)
    if args.as_is and args.as_source:
        raise UsageError("--as-is and --as-source contradict each other")
    options = CheckOptions(
        True if args.as_is else False if args.as_source else None,
        args.role or config.role or "auto",
        args.generation or config.generation or "auto",
    )
    this_run = Run(checks, selection, args.strict or config.strict, datetime.now(timezone.utc))
    with contextlib.ExitStack() as stack:
        return _Session(args, console, options, this_run, stack).check_all()


class _Session:
    """A run over images, each told of before the next is looked at."""

    def __init__(
        self, args: argparse.Namespace, console: Console, options: CheckOptions, run: Run,
        stack: contextlib.ExitStack,
    ) -> None:  # fmt: skip
        from ..report.form_json import JsonReport
        from ..report.summary import Summary
        from ..report.writing import STDOUT, ReportFile

        self._args = args
        self._console = console
        self._options = options
        self._run = run
        self._summary = Summary(run.strict)
        self._status = 0
        self._reports = _open_reports(args.reports, args.json, run, stack)
        # The JSON of --json: of a single image that cannot be read it is the error instead.
        self._document: ReportFile | None = None
        if args.json:
            self._document = stack.enter_context(ReportFile(JsonReport, STDOUT, run))
        self._names: Iterator[str] = read_names(args.images, args.null)
        self._has_told = False
        self._has_text = not any(report.is_stdout for report in self._reports)

    def check_all(self) -> int:
        """The exit status: that of the worst."""
        for report in self._all():
            report.begin()
        while (name := next(self._names, None)) is not None:
            self._refuse_to_replace(name)
            try:
                image = self._check(name)
            except VhdfastError as error:
                self._tell_error(name, error)
            else:
                self._tell(image)
        if not self._summary.total:
            raise UsageError(
                "no image is named", hint="vhdfast check IMAGE, or names on stdin and -"
            )
        if self._summary.total > 1:
            self._print(itertools.chain([[]], self._summary.lines()))
        for report in self._all():
            report.publish(self._status)
        return self._status

    def _refuse_to_replace(self, name: str) -> None:
        if any(report.is_file(name) for report in self._reports):
            raise UsageError(
                "a report would replace an image that is checked",
                path=name,
                hint="choose another name for the report",
            )

    def _all(self) -> list[ReportFile]:
        return [*self._reports, *([] if self._document is None else [self._document])]

    def _check(self, name: str) -> CheckedImage:
        from .. import api

        return api.check(
            name,
            from_format=self._args.from_format,
            options=self._options,
            selection=self._run.selection,
            monitor=make_monitor(self._args.progress, self._args.quiet),
            **read_options(self._args),
        )

    def _tell(self, image: CheckedImage) -> None:
        from ..report.text import image_lines

        separator: list[Line] = [[]] if self._has_told else []
        self._has_told = True
        lines = image_lines(image, self._console.width, self._args.show_all, self._run.strict)
        self._print(itertools.chain(separator, lines))
        self._summary.image(image)
        for report in self._all():
            report.image(image)
        self._status = _worse(self._status, image.exit_code(self._run.strict))

    def _print(self, lines: Iterable[Line]) -> None:
        if not self._has_text:
            return
        try:
            for line in lines:
                self._console.styled(line)
            sys.stdout.flush()
        except BrokenPipeError:
            if not self._reports:
                raise
            # Whoever read the text has gone; those who will read the reports have not.
            self._has_text = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _tell_error(self, name: str, error: VhdfastError) -> None:
        """One that cannot be read does not keep the others from being looked at."""
        from ..files import is_url
        from ..remote import shown_url

        path = shown_url(name) if is_url(name) else name
        self._status = _worse(self._status, error.exit_code)
        for report in self._all():
            report.error(path, error)
        if not self._summary.total:
            following = next(self._names, None)
            if following is None:  # the only one: its error is that of the run
                for report in self._reports:
                    report.publish(self._status)
                raise error
            self._names = itertools.chain([following], self._names)
        self._summary.error(path, error)
        text = str(error) if error.path is not None else f"{path}: {error}"
        self._console.error(f"{text} [{error.code}]")


def _open_reports(
    words: list[str], is_json: bool, run: Run, stack: contextlib.ExitStack
) -> list[ReportFile]:
    """The reports of FORM=FILE. Raises UsageError where two would be in the same place."""
    from ..report import report_of
    from ..report.writing import STDOUT, ReportFile

    asked = []
    for word in words:
        form, is_there, path = word.partition("=")
        if not is_there or not path:
            raise UsageError(f"--report {word}: no FORM=FILE", hint="--report sarif=check.sarif")
        asked.append((report_of(form), path))
    taken = {STDOUT} if is_json else set()
    for _, path in asked:
        place = path if path == STDOUT else os.path.realpath(path)
        if place in taken:
            where = "stdout" if path == STDOUT else path
            raise UsageError(f"two reports cannot both go to {where}")
        taken.add(place)
    return [stack.enter_context(ReportFile(kind, path, run)) for kind, path in asked]


def _worse(one: int, other: int) -> int:
    """Of two exit statuses: what could not be read before an obstacle before what is undecided."""
    mild = (0, 3, 1)
    return max(one, other, key=lambda status: mild.index(status) if status in mild else 2 + status)


def _list(selection: Selection, args: argparse.Namespace, console: Console) -> int:
    if args.reports:
        raise UsageError("--list checks nothing that --report could tell")
    rows = []
    for check in selection.checks():
        grade = selection.grade_of(check)
        severity = check.severity if grade is None else grade.severity
        rows.append(
            {
                "id": check.id,
                "group": check.group(),
                "severity": "off" if severity is None else severity.value,
                "title": check.title,
            }
        )
    width = max(len(row["id"]) for row in rows)
    for row in rows:
        console.text(f"{row['id']:<{width}}  {row['severity']:<7}  {row['title']}")
    console.json("checks", {"checks": rows})
    return 0
