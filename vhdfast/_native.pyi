from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from .extents import Rows
from .files import Source

GRANULE: int

def kernels() -> dict[str, dict[str, str | None]]: ...
def is_zero(buffer: Buffer, kernel: str | None = None) -> bool: ...
def zero_runs(
    buffer: Buffer, block: int = 4096, kernel: str | None = None
) -> list[tuple[int, int]]: ...
def data_runs(
    buffer: Buffer, block: int = 4096, kernel: str | None = None
) -> list[tuple[int, int]]: ...
def crc32c(buffer: Buffer, value: int = 0, kernel: str | None = None) -> int: ...
def vhd_checksum(buffer: Buffer, field: int | None = None) -> int: ...

class SourceTable:
    def __init__(self, sources: Iterable[Source], clone_blocks: Sequence[int] = ()) -> None: ...
    def path(self, index: int) -> str | None: ...

class Sink:
    path: str
    def __init__(
        self,
        fd: int,
        size: int,
        path: str,
        direct_fd: int = -1,
        direct_minimum: int = 65536,
        allocate_ahead: bool = False,
    ) -> None: ...

class Decoder:
    def __init__(
        self, decode: int, state: int, packed: Any, unit: Any, owner: object
    ) -> None: ...

def copy_segment(
    sources: SourceTable,
    rows: Rows,
    sink: Sink,
    scratch: Any,
    decoder: Decoder | None = None,
    kernel: str | None = None,
) -> tuple[int, int, int]: ...
def clone_rows(
    sources: SourceTable, rows: Rows, sink: Sink, minimum: int
) -> tuple[int, Rows]: ...
def count_cloneable(sources: SourceTable, rows: Rows, minimum: int) -> int: ...
def write_data(
    sink: Sink, buffer: Buffer, offset: int, kernel: str | None = None
) -> tuple[int, int]: ...
def read_segment(
    sources: SourceTable, rows: Rows, offset: int, buffer: Any, decoder: Decoder | None = None
) -> None: ...
def gather(
    source: Source, offsets: npt.NDArray[np.uint64], size: int
) -> npt.NDArray[np.uint8]: ...
def split_holes(source: Source, file: int, rows: Rows, max_rows: int) -> Rows: ...
