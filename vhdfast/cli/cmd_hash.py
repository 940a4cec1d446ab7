"""vhdfast hash"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, VhdfastError
from ._options import Parser, add_source_options, add_work_options, read_options, size
from ._output import Console, make_monitor

if TYPE_CHECKING:
    from ..hashing import DiskDigest, Expected

HELP = "a digest of the disk in an image, the same for every format"
MORE = """\
Zeros cost next to nothing, stored or not. Another size is another digest, though the rest be zeros:
--align hashes the disk as convert would write it. Exit status of --check: 0 all match, 1 one does
not."""
EXAMPLES = (
    "vhdfast hash --align disk.qcow2 disk.vhd",
    "vhdfast hash disk.vhdx > digests",
    "vhdfast hash --check digests",
    "vhdfast hash --plain disk.vhdx",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", help="image file, block device or URL"
    )
    parser.add_argument(
        "--check", metavar="FILE",
        help="hash the images named in FILE (- is stdin), and compare with it",
    )  # fmt: skip
    parser.add_argument(
        "--plain", action="store_true",
        help="the SHA-256 of the disk as a raw file, as sha256sum prints it: hashes every zero",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=size, metavar="SIZE",
        help="hash as if zeros followed the disk up to SIZE, as convert --size writes",
    )  # fmt: skip
    parser.add_optional_value(
        "--align", "1M", type=size, metavar="SIZE",
        help="hash as if zeros followed the disk up to a multiple of SIZE, given as --align=SIZE "
        "(alone: 1M, as convert writes)",
    )  # fmt: skip
    add_source_options(parser)
    add_work_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    if args.check is None:
        return _print(args, console)
    if args.images or args.plain or args.size is not None or args.align is not None:
        raise UsageError(
            "--check takes images, sizes and algorithms from its file", hint="leave them out"
        )
    return _check(args, console)


def _print(args: argparse.Namespace, console: Console) -> int:
    from ..files import is_url
    from ..hashing import digest_line
    from ..remote import shown_url

    if not args.images:
        raise UsageError("no image is named", hint="see vhdfast hash --help")
    found: list[dict[str, Any]] = []
    for path in args.images:
        digest = _digest(args, path, args.plain, args.size, args.align)
        # A list is passed on: not with the password of a URL.
        name = shown_url(path) if is_url(path) else path
        console.text(digest_line(digest, name))
        for notice in digest.notices:
            console.warn(f"{name}: {notice}")
        found.append({"path": name, "digest": digest.text, **dataclasses.asdict(digest)})
    console.json("hash", {"images": found})
    return 0


def _digest(
    args: argparse.Namespace, path: str, plain: bool, size: int | None, align: int | None
) -> DiskDigest:
    from ..hashing import hash_image

    return hash_image(
        path,
        size=size,
        align=align,
        plain=plain,
        from_format=args.from_format,
        jobs=args.jobs,
        monitor=make_monitor(args.progress, args.quiet),
        **read_options(args),
    )


def _check(args: argparse.Namespace, console: Console) -> int:
    from ..hashing import read_digests

    answers: list[dict[str, Any]] = []
    status = 0
    for expected in read_digests(args.check):
        found, error, verdict = None, None, "OK"
        try:
            digest = _recompute(args, expected)
        except VhdfastError as caught:
            error, verdict = caught.to_dict(), f"FAILED to hash: {caught}"
            status = max(status, caught.exit_code)
        else:
            found = None if digest is None else digest.text
            for notice in digest.notices if digest else ():
                console.warn(f"{expected.path}: {notice}")
            if found != expected.text:
                verdict = "FAILED" if digest else "FAILED: the disk is larger than what was hashed"
                status = max(status, 1)
        console.text(f"{expected.path}: {verdict}")
        answers.append(
            {
                "path": expected.path,
                "matches": found == expected.text,
                "expected": expected.text,
                "found": found,
                "error": error,
            }
        )
    failed = sum(not answer["matches"] for answer in answers)
    if failed:
        console.warn(f"{failed} of {len(answers)} digests do not match, or could not be computed")
    console.json("hash-check", {"images": answers})
    return status


def _recompute(args: argparse.Namespace, expected: Expected) -> DiskDigest | None:
    from ..hashing import check_digest

    return check_digest(
        expected,
        from_format=args.from_format,
        jobs=args.jobs,
        monitor=make_monitor(args.progress, args.quiet),
        **read_options(args),
    )
