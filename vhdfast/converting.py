"""Converting an image: from what was asked to a durable target, or to an error and no target."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import contents
from .cloning import Cloning
from .comparing import verify
from .copying import Copied, copy
from .edits import check_not_interrupted
from .errors import (
    NoSpaceError,
    TargetError,
    UnsupportedImageError,
    UsageError,
    VerifyError,
)
from .files import Source, is_url
from .formats import Notice, OpenOptions, ReadOptions
from .image import Image, open_as, open_image
from .monitor import Monitor
from .outputs import FileOutput, TargetOptions
from .patched import Patch, moved_gpt, patched
from .plan import Survey, survey
from .streams import Spool, Unpacking
from .targets import (
    check_jobs,
    check_largest,
    check_rate,
    checked_uuid,
    free_space,
    output_kind,
    rounded_size,
    source_date_epoch,
)
from .units import SECTOR, check_align, format_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "ConvertPlan",
    "ConvertResult",
    "check_sector_size",
    "convert",
    "plan_conversion",
    "target_size",
]

Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ConvertPlan:
    """What a conversion will do; sizes in bytes (docs/json.md)."""

    source: str
    source_format: str
    source_subformat: str
    files: tuple[str, ...]  # that are read: the image, its extents, its parents
    target: str
    target_format: str
    source_size: int  # virtual size before rounding
    target_size: int  # and after
    file_size: int  # of the target, with what is not the disk; of one that stores blocks at most
    data: int  # stored in the source, to be read; zeros among them are not written
    zero: int  # known to be zero, not read
    space_needed: int  # at most
    space_free: int | None
    jobs: int
    notices: tuple[Notice, ...]
    stream: str | None = None  # "xz" …, where the source is compressed and was unpacked
    gpt_moved: bool = False  # the GPT backup, to the end of the target
    cloneable: int = 0  # of the data, what shares blocks with the source instead of being copied


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What a conversion did; sizes in bytes."""

    plan: ConvertPlan
    read: int  # from the source
    written: int  # to the target
    zeros_found: int  # read, and found to be zero
    file_size: int  # of the target
    seconds: float  # until the target was durable under its name
    verified: int | None  # bytes compared by --verify
    notices: tuple[Notice, ...]
    cloned: int = 0  # bytes of the target that share blocks with the source: not read, not written
    decoded: int = 0  # bytes of the disk that were compressed in the source


def convert(
    source: Path,
    target: Path,
    *,
    to: str = "fixed-vhd",
    from_format: str | None = None,
    align: int | None = None,
    size: int | None = None,
    force: bool = False,
    allocate: bool = False,
    clone: bool = True,
    unique_id: str | None = None,
    verify_copy: bool = False,
    allow_4kn: bool = False,
    relocate_gpt: bool = False,
    check_space: bool = True,
    jobs: int | None = None,
    rate: int | None = None,
    monitor: Monitor | None = None,
    **reading: Unpack[ReadOptions],
) -> ConvertResult:
    """Convert a disk image into `target`, which gets its name only when all of it is durable.

    to: an output ("fixed-vhd", "dynamic-vhd", "raw"). align: the virtual size is rounded up to a
    multiple of it (1 MiB for a VHD, 512 bytes for raw). size: a larger virtual size to end with.
    force: replace an existing target. allocate: reserve all of its bytes. clone: let the target
    share blocks with the source where the file system can, instead of copying them; zeros are not
    looked for in these. unique_id: UUID of the disk. verify_copy: read both sides back and compare.
    allow_4kn: take a partition table made for 4096-byte sectors. relocate_gpt: move the backup of a
    GPT to the end of the target. check_space: False starts even where the map says that the target
    may not fit. jobs: worker threads. rate: bytes a second at most, clones not counted. reading:
    ReadOptions for the source.

    A compressed source is unpacked beside the target, or in reading's `temporary`; where it holds a
    raw disk or a fixed VHD, what was unpacked beside the target becomes it without a further copy.

    Raises UsageError, ImageError, CopyError, TargetError; then the target is as it was before.
    """
    started = time.monotonic()
    path = os.fspath(target)
    check_rate(rate)
    options = TargetOptions(force, allocate, checked_uuid(unique_id), source_date_epoch())
    how = dataclasses.replace(
        OpenOptions.of(reading),
        unpacking=Unpacking(
            monitor, jobs, rate, path,
            before=lambda packed: _check_before_unpacking(packed, path, to, align, options, jobs),
        ),
    )  # fmt: skip
    _check_whole(source)
    with open_as(source, from_format, how) as image:
        output, plan, found, cloning = _prepare(
            image, path, to, align, size, options, allow_4kn, jobs, clone
        )
        patches = moved_gpt(image, plan.target_size) if relocate_gpt else []
        plan = _with_patches(plan, patches, options)
        if check_space:
            _check_space(plan)
        try:
            spool = _spool_to_adopt(image, output)
            if spool is not None and output.adopt(spool, image.virtual_size):
                done = Copied(found.data, found.data, 0)
            else:
                output.create()
                if patches and output.block_size:
                    # Which blocks are stored depends on the patches too.
                    whole = patched(image, patches, plan.target_size)
                    blocks = survey(whole, output.block_size)
                    done, patches = copy(whole, output, blocks, jobs, rate, monitor), []
                else:
                    done = copy(image, output, found, jobs, rate, monitor, cloning)
            for offset, data in patches:
                output.patch(offset, data)
            image.check_unchanged()
            output.seal()
            verified = None
            if verify_copy:
                fresh = dataclasses.replace(OpenOptions.of(reading), unpacking=how.unpacking)
                verified = _verify(
                    source, output, from_format, fresh, relocate_gpt, jobs, monitor
                )
            image.check_unchanged()
            output.publish()
        except BaseException:
            output.abort()
            raise
        return ConvertResult(
            plan, done.read, done.written, done.zeros_found, output.file_size,
            time.monotonic() - started, verified, image.notices, done.cloned, done.decoded,
        )  # fmt: skip


def plan_conversion(
    source: Path,
    target: Path,
    *,
    to: str = "fixed-vhd",
    from_format: str | None = None,
    align: int | None = None,
    size: int | None = None,
    force: bool = False,
    allocate: bool = False,
    clone: bool = True,
    allow_4kn: bool = False,
    relocate_gpt: bool = False,
    jobs: int | None = None,
    monitor: Monitor | None = None,
    **reading: Unpack[ReadOptions],
) -> ConvertPlan:
    """What `convert` would do with the same arguments; raises what it would.

    Writes no target; a compressed source is unpacked to a temporary file, of which `monitor` is
    told.
    """
    _check_whole(source)
    with open_image(source, from_format, monitor=monitor, **reading) as image:
        options = TargetOptions(force, allocate)
        path = os.fspath(target)
        output, plan, *_ = _prepare(
            image, path, to, align, size, options, allow_4kn, jobs, clone
        )
        output.check_target()
        patches = moved_gpt(image, plan.target_size) if relocate_gpt else []
        return _with_patches(plan, patches, options)


# ---- before the copy ----------------------------------------------------------------------------


def _prepare(
    image: Image,
    path: str,
    to: str,
    align: int | None,
    size: int | None,
    options: TargetOptions,
    allow_4kn: bool,
    jobs: int | None,
    clone: bool,
) -> tuple[FileOutput, ConvertPlan, Survey, Cloning | None]:
    """Everything that can be refused before a byte is written."""
    kind = output_kind(to)
    if image.is_same_file(path):
        raise _same_file(path)
    check_jobs(jobs)
    check_sector_size(image, allow_4kn)
    limits = kind.constraints
    rounded = target_size(image, limits.alignment if align is None else align, size)
    check_largest(rounded, kind, path, "shrink the disk in the guest first")
    output = kind(path, rounded, options)
    output.check_target()
    spool = _spool_to_adopt(image, output)
    cloning = _cloning(image, output) if clone and spool is None else None
    found = survey(image, kind.block_size, cloning)
    info = image.info()
    free = free_space(output.directory)
    if free is not None and spool is not None:
        # What it takes there becomes the target's.
        free += spool.allocated
    plan = ConvertPlan(
        source=image.path,
        source_format=info.format,
        source_subformat=info.subformat,
        files=tuple(dict.fromkeys(source.path for source in image.layer.sources)),
        target=path,
        target_format=to,
        source_size=image.virtual_size,
        target_size=rounded,
        file_size=output.largest_file(found.blocks),
        data=found.data,
        zero=found.zero,
        space_needed=output.largest_file(found.blocks)
        if options.allocate
        else found.data - found.cloneable + output.overhead(found.blocks),
        space_free=free,
        jobs=jobs or 0,
        notices=image.notices,
        stream=info.stream,
        cloneable=found.cloneable,
    )
    return output, plan, found, cloning


def _with_patches(
    plan: ConvertPlan, patches: list[Patch], options: TargetOptions
) -> ConvertPlan:
    """The plan with what the moved GPT takes."""
    more = 0 if options.allocate else sum(len(data) for _, data in patches)
    return dataclasses.replace(
        plan, gpt_moved=bool(patches), space_needed=plan.space_needed + more
    )


def _check_whole(source: Path) -> None:
    """Raise UndoError where a change in place of the source was begun and not ended."""
    if not is_url(source) and os.path.isfile(source):
        check_not_interrupted(source)


def _same_file(path: str) -> TargetError:
    return TargetError(
        "source and target are the same file", path=path, hint="choose another target"
    )


def _check_before_unpacking(
    packed: Source, path: str, to: str, align: int | None, options: TargetOptions, jobs: int | None
) -> None:
    """What can be refused before minutes go into unpacking; `_prepare` asks all of it again."""
    if packed.is_same_file(path):
        raise _same_file(path)
    check_jobs(jobs)
    kind = output_kind(to)
    check_align(kind.constraints.alignment if align is None else align)
    kind(path, 0, options).check_target()


def _spool_to_adopt(image: Image, output: FileOutput) -> Spool | None:
    """The unpacked stream where it can become the target itself."""
    source = image.layer.source
    if output.block_size:
        return None
    if isinstance(source, Spool) and source.may_be_kept and image.layer.is_flat:
        return source
    return None


def _cloning(image: Image, output: FileOutput) -> Cloning | None:
    """How the target can share blocks with the image.

    Not where all of it is to be its own (--allocate), nor where it stores blocks: which of them are
    zero has to be known before they have a place, so that the same disk makes the same file.
    """
    if output.options.allocate or output.block_size:
        return None
    return Cloning.into(output.directory, image.layer.sources)


def check_sector_size(image: Image, allow_4kn: bool) -> None:
    """Raise UnsupportedImageError for a partition table that Azure's sectors hide."""
    if image.sector_size == SECTOR or allow_4kn:
        return
    table = contents.partition_table(image.pread, image.sector_size)
    if table is not None:
        raise UnsupportedImageError(
            f"a {table} partition table made for {image.sector_size}-byte sectors: Azure presents "
            "disks with 512-byte sectors, on which it cannot be read",
            path=image.path,
            hint="move the system to a disk with 512-byte sectors first; --allow-4kn converts "
            "all the same",
        )


def target_size(image: Image, align: int, size: int | None) -> int:
    """The virtual size that the target gets, bytes. Raises UsageError, ImageError."""
    if size is not None and size < image.virtual_size:
        raise UsageError(
            f"--size {size} is smaller than the disk of {format_bytes(image.virtual_size)}",
            hint="shrink the disk in the guest first; vhdfast never cuts data off",
        )
    return rounded_size(image.virtual_size if size is None else size, align, image.path)


def _check_space(plan: ConvertPlan) -> None:
    if plan.space_free is None or plan.space_needed <= plan.space_free:
        return
    raise NoSpaceError(
        f"up to {format_bytes(plan.space_needed)} are needed, {format_bytes(plan.space_free)} are "
        "free",
        path=plan.target,
        hint="free some space or choose another file system; --no-space-check tries all the same, "
        "zeros in the data may make it fit",
    )


# ---- after the copy -----------------------------------------------------------------------------


def _verify(
    source: Path,
    output: FileOutput,
    from_format: str | None,
    how: OpenOptions,
    relocate_gpt: bool,
    jobs: int | None,
    monitor: Monitor | None,
) -> int:
    """Both sides opened and mapped afresh; the target's bytes come from the disk."""
    how = dataclasses.replace(how, unpacking=dataclasses.replace(how.unpacking, before=None))
    with (
        open_as(source, from_format, how) as fresh,
        open_image(output.sealed_path, output.format_name) as written,
    ):
        fd = written.layer.source.fileno()
        if fd is not None and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if written.virtual_size != output.virtual_size:
            raise VerifyError(
                f"the target reads back with {written.virtual_size} bytes, expected "
                f"{output.virtual_size}",
                path=output.path,
            )
        patches = moved_gpt(fresh, output.virtual_size) if relocate_gpt else []
        if patches:
            fresh = patched(fresh, patches, output.virtual_size)
        return verify(fresh, written, jobs, monitor)
