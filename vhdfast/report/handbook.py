"""docs/checks.md, written from the checks themselves: python -m vhdfast.report.handbook."""

from __future__ import annotations

from collections.abc import Iterator

from ..checks import CHECKS, GROUPS, Check, Selection

__all__ = ["markdown"]

HEAD = """\
# Checks

`vhdfast check` runs these. This page is written from them by
`python -m vhdfast.report.handbook > docs/checks.md`; `vhdfast explain ID` shows one of them.

A failed **error** means that Azure refuses the disk or that data is lost (exit status 1), a failed
**warning** that it should not be relied on (1 with `--strict`), a failed **note** is worth knowing.
*Cured by convert*: in an image that is a source of `convert` it is a note.
"""

TITLES = {
    "azure": "What Azure demands of a disk",
    "qemu-img": "What versions of qemu-img get wrong",
    "structure": "Whether the image is sound",
}


def markdown() -> str:
    """The page."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    checks = Selection().checks()
    for group in (name.replace("_", "-") for name in GROUPS):
        yield f"## {TITLES[group]}"
        yield ""
        yield "| id | severity | rule |"
        yield "|---|---|---|"
        members = [check for check in checks if check.group() == group]
        for check in members:
            cured = ", cured by convert" if check.cured_by_convert else ""
            yield f"| [`{check.id}`](#{check.id}) | {check.severity.value}{cured} | {check.title} |"
        yield ""
        for check in members:
            yield from _section(check)


def _section(check: type[Check]) -> Iterator[str]:
    yield f"### {check.id}"
    yield ""
    for label, text in (("Looks at", check.what), ("Why", check.why), ("Cure", check.fix)):
        yield f"**{label}.** {text}"
        yield ""
    for reference in check.references:
        yield f"- [{reference.title}]({reference.url})"
    if check.references:
        yield ""


if __name__ == "__main__":
    assert CHECKS
    print(markdown(), end="")
