"""The core under test as a fixture, and what tests of it share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .build_cffi import build

GRANULE = 4096

# test_sanitizers.py runs this directory once more with the address sanitizer, which has to be in
# the process before Python is: hence the variable.
SANITIZERS = os.environ.get("VHDFAST_TEST_SANITIZERS", "undefined")


@dataclass(frozen=True)
class Call:
    """One system call that the core made."""

    fd: int
    offset: int
    length: int
    result: int


@dataclass(frozen=True)
class Answer:
    """What a function of the core returned, and what it left behind."""

    status: int
    error: Any
    read: int = 0
    written: int = 0
    zeros: int = 0


class Native:
    """lib and ffi of the test build, with the plumbing that every test needs."""

    def __init__(self, module: Any) -> None:
        self.ffi = module.ffi
        self.lib = module.lib

    def names(self, family: str) -> list[str]:
        name_of = getattr(self.lib, f"vf_{family}_name")
        names = []
        while (name := name_of(len(names))) != self.ffi.NULL:
            names.append(self.ffi.string(name).decode())
        return names

    def select(self, family: str, name: str | None) -> tuple[int, Any]:
        found = self.ffi.new(f"vf_{family}_kernel *")
        encoded = self.ffi.NULL if name is None else name.encode()
        status = getattr(self.lib, f"vf_{family}_select")(encoded, found)
        return status, found[0]

    def kernels(self, family: str) -> dict[str, Any]:
        """The kernels that run on this machine."""
        selected = {name: self.select(family, name) for name in self.names(family)}
        return {name: k for name, (status, k) in selected.items() if status == self.lib.VF_OK}

    def sources(self, sources: Sequence[bytes | tuple[int, int]]) -> tuple[Any, list[Any]]:
        """struct vf_source[] from bytes or (fd, size), and what has to stay alive for it."""
        table = self.ffi.new("struct vf_source[]", max(len(sources), 1))
        alive = []
        for entry, source in zip(table, sources, strict=False):
            if isinstance(source, bytes):
                alive.append(self.ffi.from_buffer("uint8_t[]", source))
                entry.memory, entry.size, entry.fd = alive[-1], len(source), -1
            else:
                entry.fd, entry.size = source
        return table, alive

    def rows(self, rows: Sequence[tuple[int, ...]]) -> Any:
        """struct vf_extent[] from (offset, length, kind[, file[, file_offset]])."""
        table = self.ffi.new("struct vf_extent[]", max(len(rows), 1))
        for entry, row in zip(table, rows, strict=False):
            offset, length, kind, file, file_offset = (*row, 0, 0)[:5]
            entry.offset, entry.length, entry.kind = offset, length, kind
            entry.file, entry.file_offset = file, file_offset
        return table

    def copy(
        self,
        sources: Sequence[bytes | tuple[int, int]],
        rows: Sequence[tuple[int, ...]],
        fd: int,
        size: int,
        *,
        scratch: int = 16 * GRANULE,
        direct_fd: int = -1,
        direct_minimum: int = 0,
    ) -> Answer:
        table, alive = self.sources(sources)
        sink = self.ffi.new("struct vf_sink *")
        sink.size, sink.fd, sink.direct_fd, sink.direct_minimum = (
            size, fd, direct_fd, direct_minimum,
        )  # fmt: skip
        copied, error = self.ffi.new("struct vf_copied *"), self.ffi.new("struct vf_error *")
        memory = self.ffi.gc(self.lib.tf_allocate(max(scratch, 1)), self.lib.tf_free)
        # Scratch comes back from earlier segments full of their bytes.
        self.ffi.memmove(memory, b"\xee" * scratch, scratch)
        status = self.lib.vf_copy_segment(
            table, len(sources), self.rows(rows), len(rows), sink, memory, scratch,
            self.select("zero", None)[1], self.ffi.NULL, copied, error,
        )  # fmt: skip
        del alive
        return Answer(status, error, copied.read, copied.written, copied.zeros)

    def read(
        self,
        sources: Sequence[bytes | tuple[int, int]],
        rows: Sequence[tuple[int, ...]],
        offset: int,
        length: int,
    ) -> tuple[Answer, bytes]:
        table, alive = self.sources(sources)
        error = self.ffi.new("struct vf_error *")
        buffer = self.ffi.gc(self.lib.tf_allocate(max(length, 1)), self.lib.tf_free)
        self.ffi.memmove(buffer, b"\xee" * length, length)
        status = self.lib.vf_read_segment(
            table, len(sources), self.rows(rows), len(rows), offset, buffer, length,
            self.ffi.NULL, error,
        )  # fmt: skip
        del alive
        return Answer(status, error), self.ffi.buffer(buffer, length)[:]

    def plan(self, call: str, *, os_errno: int = 0, most: int = 2**64 - 1) -> None:
        self.lib.tf_plan(call.encode(), os_errno, most)

    def calls(self, call: str) -> list[Call]:
        table = self.ffi.new("struct tf_call **")
        count = self.lib.tf_calls(call.encode(), table)
        return [Call(c.fd, c.offset, c.length, c.result) for c in table[0][0:count]]


def pytest_report_header() -> str:
    return f"native core: built with -fsanitize={SANITIZERS}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Native:
    if sys.maxsize < 2**32:
        pytest.skip("faults.c takes off_t and off64_t for the same")
    return Native(build(tmp_path_factory.mktemp("native"), SANITIZERS))


@pytest.fixture
def native(built: Native) -> Iterator[Native]:
    built.lib.tf_reset()
    yield built
    built.lib.tf_reset()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """An empty file to write to."""
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)
