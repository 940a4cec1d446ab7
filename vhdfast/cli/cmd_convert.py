"""vhdfast convert"""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..units import format_bytes, format_size
from ._convert_in_place import refuse_without, run_in_place
from ._names import warn_of_suffix
from ._options import (
    Parser,
    add_source_options,
    add_work_options,
    output_names,
    read_options,
    size,
)
from ._output import Console, columns, make_monitor

if TYPE_CHECKING:
    from ..api import ConvertPlan, ConvertResult

HELP = "convert a disk image to a fixed VHD, aligned to MiB, as Azure wants it"
MORE = """\
DST gets its name only when all of it is on disk; a run that fails or is stopped leaves nothing
behind. Without DST the target is named after the source, in the current directory; a directory as
DST takes that name in it. Zeros are found and left as holes. The source is never written, but with
--in-place, which makes a raw disk or a fixed VHD what it should be without a copy."""
EXAMPLES = (
    "vhdfast convert --fixed --align disk.vhdx disk.vhd",
    "vhdfast convert --dry-run server.vhdx",
    "vhdfast convert --verify --size=64G disk.img /mnt/out/",
    "vhdfast convert --in-place disk.raw",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="SRC", help="image file, block device or URL to read")
    parser.add_argument("target", metavar="DST", nargs="?", help="file or directory to write")
    parser.add_argument(
        "-O", "--to", choices=output_names(), help="what to write (default: fixed-vhd)"
    )
    parser.add_argument(
        "--fixed", action="store_true", help="write a fixed VHD, the same as --to fixed-vhd"
    )
    parser.add_optional_value(
        "--align", "1M", type=size, metavar="SIZE",
        help="round the virtual size up to a multiple of SIZE, given as --align=SIZE (default: 1M "
        "for a VHD, 512 for raw)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=size, metavar="SIZE", help="make the disk this large (never smaller)"
    )
    parser.add_argument(
        "--allocate", action="store_true",
        help="reserve all of the target's bytes, leave no holes and share none with the source",
    )
    parser.add_argument(
        "--no-clone", dest="clone", action="store_false",
        help="copy all data, where file systems that know reflinks would share it, and look for "
        "zeros in it",
    )  # fmt: skip
    parser.add_argument("--uuid", metavar="UUID", help="unique id of the VHD (default: random)")
    parser.add_argument(
        "--verify", action="store_true",
        help="read both sides back before the target gets its name, and compare",
    )  # fmt: skip
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would be done, and write no target"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing target")
    parser.add_argument(
        "--in-place", action="store_true",
        help="change SRC itself, a raw disk or a fixed VHD, and rename it; with --to raw back",
    )  # fmt: skip
    parser.add_argument(
        "--keep-name", action="store_true", help="with --in-place: leave the file's name"
    )
    parser.add_argument(
        "--keep-undo", action="store_true",
        help="with --in-place: keep the undo file, so that --to raw gives the same disk back",
    )  # fmt: skip
    parser.add_argument(
        "--allow-4kn", action="store_true",
        help="take a partition table made for 4096-byte sectors, which Azure will not read",
    )  # fmt: skip
    parser.add_argument(
        "--relocate-gpt", action="store_true",
        help="move the backup of a GPT to the end of the target, where a larger disk wants it",
    )  # fmt: skip
    parser.add_argument(
        "--no-space-check", dest="check_space", action="store_false",
        help="start even where the data may not fit; zeros in it may make it fit",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=size, metavar="SIZE", help="copy no more than SIZE bytes a second"
    )
    add_source_options(parser)
    add_work_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import api
    from ..files import is_url

    to = _output_name(args)
    if args.in_place:
        return run_in_place(args, to, console)
    refuse_without(args)
    if not is_url(args.source) and os.path.isdir(args.source):
        return _list_disks(args.source, console)
    target = _target_name(args.source, args.target, to, args.disk)
    if target != args.target:
        console.text(f"target: {target}")
    if args.rate == 0:
        raise UsageError("--rate 0 would never end")
    shared: dict[str, Any] = {
        "to": to,
        "from_format": args.from_format,
        "align": args.align,
        "size": args.size,
        "force": args.force,
        "allocate": args.allocate,
        "clone": args.clone,
        "allow_4kn": args.allow_4kn,
        "relocate_gpt": args.relocate_gpt,
        "jobs": args.jobs,
        **read_options(args),
    }
    if args.dry_run:
        monitor = make_monitor(args.progress, args.quiet)
        plan = api.plan_conversion(args.source, target, monitor=monitor, **shared)
        warn_of_suffix(target, to, console)
        _print_plan(plan, console)
        return 0
    result = api.convert(
        args.source,
        target,
        unique_id=args.uuid,
        verify_copy=args.verify,
        check_space=args.check_space,
        rate=args.rate,
        monitor=make_monitor(args.progress, args.quiet),
        **shared,
    )
    warn_of_suffix(target, to, console)
    _print_result(result, console)
    return 0


def _output_name(args: argparse.Namespace) -> str:
    if args.fixed and args.to not in (None, "fixed-vhd"):
        raise UsageError(f"--fixed and --to {args.to} contradict each other")
    return args.to or "fixed-vhd"


def _target_name(source: str, target: str | None, to: str, disk: str | None) -> str:
    """Where the target goes: DST, a name in the directory DST, or a name in this directory."""
    from ..files import is_url, url_name
    from ..outputs import OUTPUTS
    from ..streams import STREAMS

    if target is not None and not os.path.isdir(target):
        return target
    name = url_name(source) if is_url(source) else os.path.basename(os.path.abspath(source))
    for kind in STREAMS.values():
        if kind.inner_name(name) != name:
            name = kind.inner_name(name)
            break
    stem = os.path.splitext(name)[0]
    if disk is not None:  # the next disk of the container gets another name
        stem += f"-{os.path.splitext(os.path.basename(disk))[0]}"
    return os.path.join(target or ".", stem + OUTPUTS[to].suffix)


def _list_disks(directory: str, console: Console) -> int:
    """A directory as source: name the disks in it, copy nothing."""
    from ..containers import CONTAINERS
    from ..formats import FORMATS
    from ..streams import STREAMS

    plain = [suffix for kind in FORMATS.values() for suffix in kind.suffixes]
    plain += [suffix for container in CONTAINERS.values() for suffix in container.suffixes]
    packed = [suffix for stream in STREAMS.values() for suffix in stream.suffixes]
    suffixes = (*plain, *(one + other for one in plain for other in packed))
    try:
        names = sorted(
            entry.name
            for entry in os.scandir(directory)
            if entry.is_file() and entry.name.lower().endswith(suffixes)
        )
    except OSError as error:
        raise UsageError(f"cannot be listed: {error.strerror}", path=directory) from error
    for name in names:
        console.text(f"vhdfast convert {shlex.quote(os.path.join(directory, name))}")
    raise UsageError(
        f"this is a directory; disk images in it: {len(names)}",
        path=directory,
        hint="convert them one by one" if names else "name an image",
    )


def _print_plan(plan: ConvertPlan, console: Console) -> None:
    for notice in plan.notices:
        console.warn(str(notice))
    if plan.space_free is not None and plan.space_needed > plan.space_free:
        console.warn("the target may not fit: convert would refuse, but for --no-space-check")
    console.json("convert-plan", {"plan": plan})
    packed = "" if plan.stream is None else f", unpacked from a {plan.stream} stream to look"
    free = "unknown" if plan.space_free is None else format_size(plan.space_free)
    lines = columns(
        [
            ("source", f"{plan.source} ({plan.source_format}, {plan.source_subformat}{packed})"),
            ("reads", ", ".join(plan.files) if len(plan.files) > 1 else ""),
            ("target", f"{plan.target} ({plan.target_format})"),
            ("virtual size", _sizes(plan)),
            ("GPT backup", "moved to the end" if plan.gpt_moved else ""),
            ("file size", _most(plan) + format_bytes(plan.file_size)),
            ("to copy", f"{format_size(plan.data)}, {format_size(plan.zero)} are known zeros"),
            ("to clone", f"{format_size(plan.cloneable)} of these" if plan.cloneable else ""),
            ("space needed", f"up to {format_size(plan.space_needed)}, {free} free"),
        ]
    )
    for line in lines:
        console.text(line)
    _print_note(plan, console)


def _most(plan: ConvertPlan) -> str:
    from ..outputs import OUTPUTS, FileOutput

    kind = OUTPUTS[plan.target_format]
    return "at most " if issubclass(kind, FileOutput) and kind.block_size else ""


def _print_note(plan: ConvertPlan, console: Console) -> None:
    from ..outputs import OUTPUTS

    if OUTPUTS[plan.target_format].note:
        console.text(f"note: {OUTPUTS[plan.target_format].note}")


def _sizes(plan: ConvertPlan) -> str:
    if plan.source_size == plan.target_size:
        return f"{format_bytes(plan.target_size)}, unchanged"
    return f"{format_bytes(plan.source_size)} -> {format_bytes(plan.target_size)}"


def _cloned(result: ConvertResult) -> str:
    if not result.cloned:
        return ""
    return f"{format_bytes(result.cloned)}, in blocks that the target shares with the source"


def _decoded(result: ConvertResult) -> str:
    return f", {format_size(result.decoded)} of the disk were compressed" if result.decoded else ""


def _print_result(result: ConvertResult, console: Console) -> None:
    plan = result.plan
    for notice in result.notices:
        console.warn(str(notice))
    console.json(
        "convert",
        {
            "plan": plan,
            "read": result.read,
            "written": result.written,
            "cloned": result.cloned,
            "decoded": result.decoded,
            "zeros_found": result.zeros_found,
            "zeros_known": plan.zero,
            "file_size": result.file_size,
            "verified": result.verified,
            "seconds": round(result.seconds, 3),
            "notices": result.notices,
        },
    )
    rate = (result.written + result.cloned) / max(result.seconds, 1e-9)
    virtual = plan.source_size / max(result.seconds, 1e-9)
    verified = "" if result.verified is None else f"{format_size(result.verified)} compared, equal"
    lines = columns(
        [
            ("wrote", f"{plan.target} ({plan.target_format}, {format_bytes(result.file_size)})"),
            ("virtual size", _sizes(plan)),
            ("GPT backup", "moved to the end" if plan.gpt_moved else ""),
            ("cloned", _cloned(result)),
            ("copied", format_bytes(result.written) + _decoded(result)),
            (
                "zeros skipped",
                f"{format_size(plan.zero)} known from the map, "
                f"{format_size(result.zeros_found)} found in the data",
            ),
            ("verified", verified),
            (
                "time",
                f"{result.seconds:.2f} s, {format_size(rate)}/s of data, "
                f"{format_size(virtual)}/s of disk",
            ),
        ]
    )
    for line in lines:
        console.text(line)
    _print_note(plan, console)
