"""VMDK: deltas over their parents, and snapshots beside a base."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import KIB, pattern
from tests.support.build_vmdk import (
    descriptor,
    write_cowd,
    write_descriptor,
    write_sesparse,
    write_sparse,
    write_stream,
)
from vhdfast import Image, open_image
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
)

GRAIN = 64 * KIB


def base(path: Path, cid: str = "0000abcd", sectors: int = 512) -> Path:
    text = descriptor([f'RW {sectors} SPARSE "x"'], "monolithicSparse", cid=cid)
    grains = {n: pattern(n, GRAIN) for n in range(sectors // 128)}
    write_sparse(path, sectors, grains, text=text)
    return path


def child(
    path: Path,
    hint: str | None = "base.vmdk",
    cid: str = "abcd",
    own: str = "00000001",
    grains: dict[int, bytes | None] | None = None,
) -> Path:
    text = descriptor(['RW 512 SPARSE "x"'], "monolithicSparse", cid=own, parent=cid, hint=hint)
    write_sparse(path, 512, grains or {1: pattern(101, GRAIN)}, text=text)
    return path


def first_bytes(image: Image) -> list[bytes]:
    return [image.pread(n * GRAIN, 16) for n in range(4)]


CHANGED = [pattern(n, 16) for n in (0, 101, 2, 3)]


def test_a_delta_lies_over_its_parent(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk")
    with open_image(child(tmp_path / "child.vmdk")) as image:
        assert first_bytes(image) == CHANGED
        assert image.info().parent == str(tmp_path / "base.vmdk")
        assert image.info().identifiers == {"cid": "00000001", "parent cid": "0000abcd"}
        assert image.notices == ()


def test_a_zeroed_grain_hides_the_parent(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk")
    path = child(tmp_path / "child.vmdk", grains={0: None, 1: b"x"})
    with open_image(path) as image:
        assert image.pread(0, GRAIN) == bytes(GRAIN)
        assert image.pread(2 * GRAIN, 16) == pattern(2, 16)


def test_three_layers(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk")
    child(tmp_path / "middle.vmdk")
    child(tmp_path / "top.vmdk", "middle.vmdk", "1", "2", {3: pattern(203, GRAIN)})
    with open_image(tmp_path / "top.vmdk") as image:
        assert first_bytes(image) == [pattern(n, 16) for n in (0, 101, 2, 203)]


@pytest.mark.parametrize("kind", ["cowd", "sesparse"])
def test_deltas_of_esx(tmp_path: Path, kind: str) -> None:
    (tmp_path / "base-flat.vmdk").write_bytes(b"".join(pattern(n, GRAIN) for n in range(4)))
    write_descriptor(
        tmp_path / "base.vmdk", ['RW 512 VMFS "base-flat.vmdk"'], create_type="vmfs", cid="abcd"
    )
    delta = tmp_path / "base-000001-delta.vmdk"
    if kind == "cowd":
        write_cowd(delta, 512, {128 + n: pattern(101, GRAIN)[512 * n :][:512] for n in range(128)})
    else:
        write_sesparse(delta, 512, {16 + n: pattern(101, GRAIN)[4096 * n :][:4096]
                                    for n in range(16)})  # fmt: skip
    word = {"cowd": "VMFSSPARSE", "sesparse": "SESPARSE"}[kind]
    path = write_descriptor(
        tmp_path / "base-000001.vmdk", [f'RW 512 {word} "{delta.name}"'], parent="abcd",
        create_type={"cowd": "vmfsSparse", "sesparse": "seSparse"}[kind], hint="base.vmdk",
    )  # fmt: skip
    with open_image(path) as image:
        assert first_bytes(image) == CHANGED
        assert image.notices == ()


def test_zero_and_flat_extents_of_a_delta_hide_the_parent(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk")
    (tmp_path / "flat").write_bytes(b"f" * GRAIN)
    write_sparse(tmp_path / "s", 256, {0: pattern(50, GRAIN)}, text=None)
    path = write_descriptor(
        tmp_path / "child.vmdk", ["RW 128 ZERO", 'RW 256 SPARSE "s"', 'RW 128 FLAT "flat" 0'],
        parent="abcd", hint="base.vmdk",
    )  # fmt: skip
    with open_image(path) as image:
        assert first_bytes(image) == [bytes(16), pattern(50, 16), pattern(2, 16), b"f" * 16]


@pytest.mark.parametrize(
    "hint",
    ["base.vmdk", "./base.vmdk", "C:\\VMs\\disk\\base.vmdk", "\\\\server\\x\\base.vmdk",
     "/vmfs/volumes/4f/vm/base.vmdk", "..\\elsewhere\\base.vmdk", "../elsewhere/base.vmdk",
     "elsewhere/base.vmdk"],
)  # fmt: skip
def test_where_a_parent_is_looked_for(tmp_path: Path, hint: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    base(own / "base.vmdk")
    with open_image(child(own / "child.vmdk", hint)) as image:
        assert image.info().parent is not None
        assert os.path.samefile(image.info().parent or "", own / "base.vmdk")


def test_a_relative_name_comes_before_the_base_name(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    base(other / "base.vmdk")
    base(own / "base.vmdk", cid="ffff")
    path = child(own / "child.vmdk", "..\\other\\base.vmdk")
    with open_image(path, allow_references=[other]) as image:
        assert image.info().parent == str(other / "base.vmdk")
    # Not allowed, the one beside is taken, and found to be the wrong one.
    with pytest.raises(CorruptImageError, match="content id 0000ffff"):
        open_image(path)


def test_a_parent_elsewhere_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    base(tmp_path / "base.vmdk")
    path = child(tmp_path / "own" / "child.vmdk", "../base.vmdk")
    with pytest.raises(UnsafeReferenceError):
        open_image(path)
    with open_image(path, parents=[tmp_path / "base.vmdk"]) as image:
        assert first_bytes(image) == CHANGED


def test_a_missing_parent(tmp_path: Path) -> None:
    for hint in ("base.vmdk", "C:\\vms\\base.vmdk"):
        with pytest.raises(MissingReferenceError, match="'base.vmdk' is not there"):
            open_image(child(tmp_path / "child.vmdk", hint))
    with pytest.raises(UnsafeReferenceError, match="does not say where its parent is"):
        open_image(child(tmp_path / "child.vmdk", None))


def test_a_parent_that_changed_is_refused(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk", cid="00001234")
    path = child(tmp_path / "child.vmdk")
    message = "has content id 00001234, this disk was made for 0000abcd"
    with pytest.raises(CorruptImageError, match=message) as caught:
        open_image(path)
    assert caught.value.hint is not None and "--parent" in caught.value.hint
    # That the user named it does not make it the right one.
    with pytest.raises(CorruptImageError, match=message):
        open_image(path, parents=[tmp_path / "base.vmdk"])


def test_a_parent_without_content_id_is_refused(tmp_path: Path) -> None:
    write_sparse(tmp_path / "base.vmdk", 512, text=None)
    with pytest.raises(CorruptImageError, match="has content id none"):
        open_image(child(tmp_path / "child.vmdk"))


def test_a_name_without_a_content_id_is_refused(tmp_path: Path) -> None:
    # qemu-img would look into that parent, VMware would not.
    base(tmp_path / "base.vmdk")
    with pytest.raises(InvalidImageError, match="'base.vmdk', and its parentCID says"):
        open_image(child(tmp_path / "child.vmdk", cid="ffffffff"))


def test_a_disk_that_is_its_own_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageError, match="stands above itself"):
        open_image(child(tmp_path / "child.vmdk", "child.vmdk", cid="1"))


def test_a_compressed_parent(tmp_path: Path) -> None:
    text = descriptor(['RW 512 SPARSE "x"'], "streamOptimized", cid="abcd")
    write_stream(tmp_path / "base.vmdk", 512, {n: pattern(n, GRAIN) for n in range(4)}, text=text)
    with open_image(child(tmp_path / "child.vmdk")) as image:
        assert first_bytes(image) == CHANGED


def test_a_named_parent_goes_below_an_extent_without_descriptor(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk")
    write_cowd(tmp_path / "delta", 512, {128: b"changed"}, parent=b"/vmfs/base.vmdk")
    with open_image(tmp_path / "delta", parents=[tmp_path / "base.vmdk"]) as image:
        assert image.pread(0, 16) == pattern(0, 16)
        assert image.pread(GRAIN, 7) == b"changed"
        assert [notice.code for notice in image.notices] == ["parent-not-checked"]


# ---- snapshots beside it ------------------------------------------------------------------------


def test_a_base_with_a_snapshot_beside_it_is_noticed(tmp_path: Path) -> None:
    base(tmp_path / "base.vmdk")
    child(tmp_path / "base-000002.vmdk")
    with open_image(tmp_path / "base.vmdk") as image:
        (notice,) = image.notices
        assert notice.code == "snapshot-child"
        assert "base-000002.vmdk" in notice.message
    with open_image(tmp_path / "base-000002.vmdk") as image:
        assert image.notices == ()
