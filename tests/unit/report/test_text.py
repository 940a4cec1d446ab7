"""The text for people: what is on a line, and what is not said twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.findings import (
    ERROR,
    FAIL,
    NOTE,
    PASS,
    SKIPPED,
    UNKNOWN,
    WARNING,
    finding,
    image,
)
from vhdfast.checks import CheckedImage, Evidence
from vhdfast.errors import ReadError
from vhdfast.report.layout import columns_of, hanging
from vhdfast.report.summary import Summary
from vhdfast.report.text import image_lines


def lines(checked: CheckedImage, width: int = 80, **more: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in image_lines(checked, width, **more)]


def style_of(checked: CheckedImage, text: str, **more: Any) -> str:
    pieces = [piece for line in image_lines(checked, 80, **more) for piece in line]
    (style,) = {style for piece, style in pieces if piece == text}
    return style


def below(found: Any, width: int = 80) -> list[str]:
    """The lines of one finding, without what stands around them."""
    all_of_it = lines(image(found), width)
    return all_of_it[all_of_it.index("") + 1 : -2]


def test_all_of_it() -> None:
    evidence = Evidence("checksum", "0x1", "0x2", offset=0x40)
    found = image(
        finding("notices", FAIL, WARNING, "a log was found"),
        finding("tables", PASS),
        finding("whole-mib", FAIL, ERROR, "it is odd", evidence, remedy="vhdfast repair disk.vhd"),
        finding("readable", SKIPPED),
    )
    assert lines(found) == [
        "disk.vhd: obstacle",
        "  vhd, fixed, 20 MiB (20971520 bytes); judged as it is",
        "",
        "FAIL  whole-mib: it is odd",
        "      at offset 0x40: checksum: 0x1, expected 0x2",
        "      $ vhdfast repair disk.vhd",
        "",
        "WARN  notices: a log was found",
        "",
        "1 check passed, 1 failed, 1 warning, 1 does not apply",
    ]


@pytest.mark.parametrize(
    ("findings", "strict", "verdict", "style"),
    [
        ([finding("tables", PASS)], False, "no known obstacle", "good"),
        ([finding("tables", FAIL)] * 2, False, "2 obstacles", "bad"),
        ([finding("tables", UNKNOWN)], False, "not judged", "warn"),
        ([finding("tables", FAIL, WARNING)], False, "no known obstacle", "good"),
        ([finding("tables", FAIL, WARNING)], True, "1 warning, and --strict", "warn"),
    ],
)
def test_the_first_line_is_the_verdict(
    findings: list[Any], strict: bool, verdict: str, style: str
) -> None:
    found = image(*findings)
    assert lines(found, strict=strict)[0] == f"disk.vhd: {verdict}"
    assert style_of(found, verdict, strict=strict) == style


def test_counts_have_their_plural() -> None:
    found = image(
        finding("tables", PASS), finding("tables", PASS), finding("tables", FAIL, NOTE),
        finding("tables", FAIL, WARNING), finding("tables", FAIL, WARNING),
        finding("tables", UNKNOWN), finding("tables", SKIPPED), finding("tables", SKIPPED),
        finding("tables", SKIPPED, graded="why"),
    )  # fmt: skip
    assert lines(found)[-1] == (
        "2 checks passed, 2 warnings, 1 note, 1 undecided, 2 do not apply, 1 is switched off"
    )


def test_lines_are_wrapped_below_their_beginning() -> None:
    assert below(finding("tables", FAIL, ERROR, "one two three four five six"), 28) == [
        "FAIL  tables: one two three",
        "      four five six",
    ]


def test_a_command_and_a_path_are_never_wrapped() -> None:
    command = "vhdfast convert a-long-name-of-a-disk.vhdx a-long-name-of-a-disk.vhd"
    found = below(
        finding("tables", FAIL, ERROR, "in /a/path/that/is/longer/than/a/line", remedy=command), 30
    )
    assert found == [
        "FAIL  tables: in",
        "      /a/path/that/is/longer/than/a/line",
        f"      $ {command}",
    ]


@pytest.mark.parametrize(
    ("remedy", "expected"),
    [
        ("copy it again", ["      do: copy it again"]),
        (
            "vhdfast convert a.raw a.vhd, or copy the file again",
            ["      $ vhdfast convert a.raw a.vhd", "      or copy the file again"],
        ),
        ("vhdfast repair 'a, or b.vhd'", ["      $ vhdfast repair 'a, or b.vhd'"]),
        ("vhdfast repair a,b.vhd", ["      $ vhdfast repair a,b.vhd"]),
        ("""vhdfast repair 'a'"'"', b'""", ["""      $ vhdfast repair 'a'"'"', b'"""]),
    ],
)
def test_remedies(remedy: str, expected: list[str]) -> None:
    assert below(finding(remedy=remedy))[1:] == expected


def test_a_command_stands_out() -> None:
    assert style_of(image(finding(remedy="vhdfast repair x")), "vhdfast repair x") == "command"


def test_a_remedy_is_told_once() -> None:
    found = lines(
        image(
            finding("whole-mib", remedy="vhdfast repair x"),
            finding("tables", remedy="vhdfast repair x"),
        )
    )
    assert found.count("      $ vhdfast repair x") == 1
    assert "      do: the same as for whole-mib" in found


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence("size", "1000"), []),
        (Evidence("size", "1000", "2000"), ["      size: 1000, expected 2000"]),
        (Evidence("size", "1000", offset=16), ["      at offset 0x10"]),
        (Evidence("cid", "77", path="b.vmdk"), ["      in b.vmdk: cid: 77"]),
        (Evidence("cid", "77", path="disk.vhd"), ["      cid: 77"]),
    ],
)
def test_evidence_repeats_nothing_of_the_message(evidence: Evidence, expected: list[str]) -> None:
    assert below(finding("tables", FAIL, ERROR, "the size is 1000", evidence))[1:] == expected


def test_a_grade_is_shown_with_its_reason() -> None:
    found = below(finding("tables", FAIL, ERROR, "odd", graded="rule 7 of ours"))
    assert found == ["FAIL  tables: odd", "      graded as an error: rule 7 of ours"]


def test_show_all_adds_a_line_for_each_that_passed_or_does_not_apply() -> None:
    found = image(
        finding("tables", SKIPPED, ERROR, "this is no VHD"),
        finding("notices", PASS, ERROR, "nothing is odd"),
        finding("readable", SKIPPED, ERROR, "this check is switched off", graded="why"),
    )
    assert lines(found, show_all=True)[2:-2] == [
        "",
        "pass  notices: nothing is odd",
        "skip  tables: this is no VHD",
        "skip  readable: this check is switched off (why)",
    ]


def test_what_it_was_taken_from_is_told() -> None:
    found = lines(image(stream="gzip", container="OVA, a.ova"), 120)
    assert found[1] == (
        "  vhd, fixed, unpacked from a gzip stream, in a container (OVA, a.ova), 20 MiB "
        "(20971520 bytes); judged as it is"
    )


def test_wide_letters_take_two_columns() -> None:
    assert columns_of("a磁盘.vhd") == 9
    assert columns_of("e\u0301") == 1
    wrapped = ["".join(text for text, _ in line) for line in hanging("", "磁盘 磁盘 磁盘", 10)]
    assert wrapped == ["磁盘 磁盘", "磁盘"]


# ---- the table ----------------------------------------------------------------------------------


def table(summary: Summary) -> list[str]:
    return ["".join(text for text, _ in line) for line in summary.lines()]


def test_the_table_has_the_worst_first() -> None:
    summary = Summary(strict=False)
    summary.image(image(path="fine.vhd"))
    summary.image(image(finding(), finding("tables", FAIL, NOTE), path="odd.vhd"))
    summary.error("gone.vhd", ReadError("reading failed"))
    summary.image(image(finding("tables", UNKNOWN), path="dark.vhd"))
    summary.image(image(finding(), finding(), path="worse.vhd"))
    assert table(summary) == [
        "5 images: 1 could not be read, 2 with an obstacle, 1 not judged, "
        "1 without a known obstacle",
        "  not read           read              gone.vhd",
        "  obstacle           2 failed          worse.vhd",
        "  obstacle           1 failed, 1 note  odd.vhd",
        "  not judged         1 undecided       dark.vhd",
        "  no known obstacle                    fine.vhd",
    ]


def test_equals_keep_their_order() -> None:
    summary = Summary(strict=False)
    for name in ("b", "a", "c"):
        summary.image(image(path=name))
    assert [row.split()[-1] for row in table(summary)[1:]] == ["b", "a", "c"]


def test_a_warning_counts_under_strict() -> None:
    summary = Summary(strict=True)
    summary.image(image(finding("tables", UNKNOWN), path="dark.vhd"))
    summary.image(image(finding("tables", FAIL, WARNING), path="warned.vhd"))
    assert [row.split()[0] for row in table(summary)[1:]] == ["warning", "not"]


def test_the_table_keeps_the_worst_of_many() -> None:
    summary = Summary(strict=False, max_rows=2)
    for number in range(50):
        summary.image(image(*[finding()] * (number % 7 == 3), path=f"{number}"))
    assert table(summary) == [
        "50 images: 7 with an obstacle, 43 without a known obstacle",
        "  obstacle  1 failed  3",
        "  obstacle  1 failed  10",
        "  and 48 more, none of them worse",
    ]
