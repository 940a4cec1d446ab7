"""A benchmark: what it runs, what it demands of the answers, and what it leaves (nothing)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..doctor.programs import run_program
from ..doctor.qemu_img import find_qemu_img
from ..errors import (
    NoSpaceError,
    UnsupportedImageError,
    UsageError,
    VerifyError,
    WriteError,
    printable,
)
from ..files import is_url
from ..hashing import hash_disk, hash_image
from ..image import Image, open_image
from ..plan import survey
from ..targets import free_space
from ..units import GIB, KIB, MIB, format_size
from .measuring import Row, Sample, drop_cache, launch, read_through, rotated, summary
from .recipes import Recipe, runs, write_raw

__all__ = ["FORMATS", "Benchmark", "Engine", "Report"]

Tell = Callable[[str], None]

# Formats that both sides read, with qemu's names for them, and what makes an image of a recipe.
FORMATS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "parallels": ("parallels", None),
    "qcow": ("qcow", None),
    "qcow2": ("qcow2", ()),
    "raw": ("raw", ()),
    "vdi": ("vdi", ()),
    "vhd": ("vpc", ("-o", "subformat=dynamic,force_size")),
    "vhdx": ("vhdx", ("-o", "subformat=dynamic")),
    "vmdk": ("vmdk", ()),
}
# qemu writes no larger VHD (VPC_MAX_SECTORS in its block/vpc.c): larger disks are written raw.
LARGEST_VHD = 2040 * GIB
ROOM = 64 * MIB
# Formats of which qemu-img writes a block whole, whatever part of it holds data.
WHOLE_BLOCKS = {"qcow2": 64 * KIB, "vdi": MIB, "vmdk": 64 * KIB}


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to convert: its name and its command line but for source and target."""

    name: str
    command: tuple[str, ...]
    is_durable: bool = False  # what it wrote is on disk when it ends; else it is synced


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured; sizes in bytes.

    data: bytes of the disk that the image stores. cache: "warm" or "cold". digest: of the disk,
    as every engine wrote it (docs/hash.md). rows: what the samples come to, vhdfast first.
    """

    source: str
    format: str
    virtual_size: int
    data: int
    target_format: str
    qemu_img: str
    qemu_version: str | None
    cache: str
    pairs: int
    digest: str
    engines: tuple[Engine, ...]
    rows: dict[str, Row]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What is measured.

    source: an image, or a Recipe that is written in `made_as` (one of FORMATS). qemu_img: a
    program; what PATH leads to where None. directory: where targets are written.
    """

    source: str | Recipe
    from_format: str | None = None
    made_as: str = "raw"
    qemu_img: str | None = None
    pairs: int = 3
    directory: str = "."
    is_cold: bool = False

    def run(self, tell: Tell = lambda line: None) -> Report:
        """Measure. tell: called with a line for each thing that is done.

        Raises UsageError (no qemu-img, a source that is no local file), NoSpaceError,
        UnsupportedImageError (a format that qemu-img does not read), VerifyError (the engines wrote
        different disks), CopyError (one failed), and what opening the image raises. Whatever
        happens, no file of it stays in the directory.
        """
        if self.pairs < 1:
            raise UsageError(f"{self.pairs} pairs", hint="give at least 1")
        program, stand_in = find_qemu_img(self.qemu_img)
        if program is None:
            what = f"{stand_in} is vhdfast itself" if stand_in else "there is no qemu-img on PATH"
            raise UsageError(what, hint="install qemu-utils, or name a program with --qemu-img")
        with self._scratch() as scratch:
            source = self._source(scratch, program, tell)
            known = self.from_format if isinstance(self.source, str) else self.made_as
            with open_image(source, known) as image:
                return self._measure(image, source, program, scratch, tell)

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        try:
            scratch = tempfile.mkdtemp(prefix=".vhdfast-bench-", dir=self.directory)
        except OSError as error:
            raise WriteError(
                f"no directory can be made: {error.strerror}", path=self.directory,
                hint="choose another one with --directory",
            ) from error  # fmt: skip
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _source(self, scratch: str, program: str, tell: Tell) -> str:
        """The image to convert; a recipe is written first."""
        if isinstance(self.source, str):
            if is_url(self.source):
                raise UsageError("a benchmark reads local files", path=self.source)
            # An image in a directory of its own might not find its parent: it stays where it is.
            return os.path.abspath(self.source)
        recipe = self.source
        driver, options = FORMATS.get(self.made_as, ("", None))
        if options is None:
            can = ", ".join(sorted(name for name in FORMATS if FORMATS[name][1] is not None))
            raise UsageError(f"recipes are not made as {self.made_as!r}", hint=f"one of: {can}")
        # The disk as raw and as two targets that are compared, and in its format.
        made = 0 if driver == "raw" else _stored(recipe, driver)
        self._need_room(3 * recipe.data + made)
        raw = os.path.join(scratch, f"{recipe.name}.raw")
        tell(f"writing {recipe.name}: {format_size(recipe.data)} in {format_size(recipe.size)}")
        write_raw(recipe, raw)
        if driver == "raw":
            return raw
        path = os.path.join(scratch, f"{recipe.name}.{self.made_as}")
        command = [program, "convert", "-f", "raw", "-O", driver, *options, raw, path]
        launch("qemu-img", command)
        os.unlink(raw)
        return path

    def _need_room(self, needed: int) -> None:
        free = free_space(self.directory)
        if free is not None and free < needed + ROOM:
            raise NoSpaceError(
                f"{format_size(needed + ROOM)} are needed, {format_size(free)} are free",
                path=self.directory,
                hint="choose another directory with --directory, or measure less",
            )

    def _measure(self, image: Image, source: str, program: str, scratch: str, tell: Tell) -> Report:
        info = image.info()
        if info.format not in FORMATS or info.stream or "container" in info.details:
            raise UnsupportedImageError(
                f"qemu-img does not read {info.format} as it lies here", path=source,
                hint="convert it to a format of qemu-img first, or measure --recipe",
            )  # fmt: skip
        stored = survey(image).data
        if isinstance(self.source, str):
            self._need_room(2 * stored)
        is_vhd = image.virtual_size <= LARGEST_VHD
        engines = _engines(program, info.format, is_vhd)
        digest = self._verify(image, source, engines, is_vhd, program, scratch, tell)
        samples = []
        for number in range(self.pairs):
            for engine in rotated(engines, number):
                target = os.path.join(scratch, "target")
                if self.is_cold:
                    drop_cache(source)
                sample = _run(engine, source, target, number)
                os.unlink(target)
                samples.append(sample)
                tell(f"pair {number + 1}: {engine.name} {sample.wall_s:.2f} s")
        image.check_unchanged()
        ran = run_program([program, "--version"])
        version = printable(ran.output.split("\n")[0]) if ran.failure is None else None
        return Report(
            source=source if isinstance(self.source, str) else self.source.name,
            format=info.format,
            virtual_size=image.virtual_size,
            data=stored,
            target_format="fixed-vhd" if is_vhd else "raw",
            qemu_img=program,
            qemu_version=version,
            cache="cold" if self.is_cold else "warm",
            pairs=self.pairs,
            digest=digest,
            engines=engines,
            rows=summary(samples, engines[0].name),
            samples=tuple(samples),
        )

    def _verify(
        self, image: Image, source: str, engines: tuple[Engine, ...], is_vhd: bool, program: str,
        scratch: str, tell: Tell,
    ) -> str:  # fmt: skip
        """Every engine once, unmeasured: all must write the disk that the source holds."""
        tell("comparing what the engines write")
        read_through(source)
        expected = hash_disk(image).text
        ours, theirs = (os.path.join(scratch, name) for name in ("ours", "theirs"))
        _run(engines[0], source, ours, 0)
        kind, driver = ("vhd", "vpc") if is_vhd else ("raw", "raw")
        if hash_image(ours, from_format=kind).text != expected:
            raise VerifyError("vhdfast wrote another disk than the source holds", path=source)
        for engine in engines[1:]:
            _run(engine, source, theirs, 0)
            if hash_image(theirs, from_format=kind).text != expected:
                raise VerifyError(
                    f"{engine.name} wrote another disk than vhdfast read", path=source,
                    hint="`vhdfast compare` tells where; one of the two is wrong",
                )  # fmt: skip
            command = [program, "compare", "-f", driver, "-F", driver, ours, theirs]
            _, status = launch("qemu-img compare", command, answers=(0, 1))
            if status:
                raise VerifyError(
                    f"qemu-img compare says that {engine.name} and vhdfast wrote different disks",
                    path=source,
                )
            os.unlink(theirs)
        os.unlink(ours)
        return expected


def _stored(recipe: Recipe, driver: str) -> int:
    """Bytes that the image takes at most where qemu-img stores whole blocks."""
    block = WHOLE_BLOCKS.get(driver, 4 * KIB)
    table = runs(recipe)
    first, last = table[:, 0] // block, (table.sum(axis=1) - 1) // block
    return min(int((last - first + 1).sum()) * block, recipe.size)


def _engines(program: str, name: str, is_vhd: bool) -> tuple[Engine, ...]:
    """vhdfast, qemu-img by default and with the options that make it faster."""
    # Both write exactly the disk, not one rounded up: --align here, force_size there.
    to = ("fixed-vhd", "512") if is_vhd else ("raw", "512")
    ours = ("convert", "--quiet", "--from", name, "--to", to[0], f"--align={to[1]}")
    output = ("-O", "vpc", "-o", "subformat=fixed,force_size") if is_vhd else ("-O", "raw")

    def theirs(*flags: str) -> tuple[str, ...]:
        return (program, "convert", *flags, "-f", FORMATS[name][0], *output)

    return (
        Engine("vhdfast", (sys.executable, "-m", "vhdfast", *ours), is_durable=True),
        Engine("qemu-img", theirs()),
        Engine("qemu-img -m 16 -W", theirs("-m", "16", "-W")),
        Engine("qemu-img -m 16 -W -t none", theirs("-m", "16", "-W", "-t", "none")),
    )


def _run(engine: Engine, source: str, target: str, number: int) -> Sample:
    sync = None if engine.is_durable else target
    sample, _ = launch(engine.name, [*engine.command, source, target], sync=sync, number=number)
    assert sample is not None  # there was no limit of time
    return sample
