"""Who converts: each engine a command line, as data. A new engine is a new row."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from builders import FORMATS
from cases import Case

# Whole words of a command that are filled in; {to} and {output} become several.
OUTPUTS = {
    "fixed-vhd": ("-O", "vpc", "-o", "subformat=fixed,force_size"),
    "raw": ("-O", "raw"),
}


@dataclass(frozen=True)
class Engine:
    """program: what must be installed. is_durable: it syncs itself; otherwise its target is synced.

    reads: only this format of builders.FORMATS. writes: what, where not the case's target.
    copies: whether it writes the disk; what does not shows what the device can do.
    """

    name: str
    program: str
    command: tuple[str, ...]
    is_durable: bool = False
    reads: str | None = None
    writes: str | None = None
    copies: bool = True

    def fits(self, case: Case) -> bool:
        if self.reads is not None and self.reads != case.format:
            return False
        return self.copies or case.recipe.data > 0

    def target_of(self, case: Case) -> str:
        return self.writes or case.target

    def argv(self, case: Case, source: str, target: str) -> list[str]:
        words = {
            "{source}": (source,),
            "{target}": (target,),
            "{format}": (FORMATS[case.format].driver,),
            "{to}": (case.target,),
            "{output}": OUTPUTS[case.target],
        }
        # fio wants its file within a word.
        return [
            part.replace("{file}", target).replace("{bytes}", str(case.recipe.data))
            for word in self.command
            for part in words.get(word, (word,))
        ]


_READS = ("-f", "{format}", "{output}", "{source}", "{target}")
_OURS = ("convert", "--quiet", "--to", "{to}", "{source}", "{target}")
ENGINES = (
    Engine("vhdfast", sys.executable, (sys.executable, "-m", "vhdfast", *_OURS), is_durable=True),
    Engine("qemu-img", "qemu-img", ("qemu-img", "convert", *_READS)),
    Engine("qemu-img-m16", "qemu-img", ("qemu-img", "convert", "-m", "16", "-W", *_READS)),
    Engine("qemu-img-direct", "qemu-img",
           ("qemu-img", "convert", "-m", "16", "-W", "-t", "none", *_READS)),
    Engine("nbdcopy", "nbdcopy", ("nbdcopy", "--flush", "{source}", "{target}"),
           reads="raw", writes="raw"),
    Engine("cp", "cp", ("cp", "--sparse=always", "{source}", "{target}"),
           reads="raw", writes="raw"),
    # As many bytes, written one after another past the page cache.
    Engine("fio", "fio",
           ("fio", "--name=limit", "--filename={file}", "--size={bytes}", "--rw=write", "--bs=1M",
            "--direct=1", "--ioengine=libaio", "--iodepth=16", "--end_fsync=1",
            "--fallocate=none", "--output-format=terse"), copies=False),
)  # fmt: skip


def installed(engine: Engine) -> bool:
    return shutil.which(engine.program) is not None
