"""Makes the inputs that fuzzing begins with: small images of every format, packed.

    python tests/fuzz/make_seeds.py FOLDER [FORMAT…]

From the builders in tests/support, from qemu-img where it is installed, and from the small images
of the collection where it lies beside the project. A format gets seeds by a function below (its
name in BUILDERS) and, where qemu-img writes it, by its lines in QEMU.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import shutil
import struct
import subprocess
import sys
import tempfile
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz.encoding import MAX_PACKED, of_file  # noqa: E402
from tests.support import KIB, MIB, SparseFile, corpus, pattern  # noqa: E402


def small_disk(size: int = 4 * MIB) -> SparseFile:
    """An MBR, some data, holes."""
    disk = SparseFile(size)
    mbr = bytearray(512)
    mbr[446:462] = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 16, 0, 0])
    mbr[510:512] = b"\x55\xaa"
    disk.put(0, bytes(mbr))
    disk.put(MIB, pattern(1, 3000))
    disk.put(size - 512, b"the end".ljust(512, b"!"))
    return disk


# ---- from builders: each writes files into a folder ----------------------------------------------


def raw(folder: Path) -> None:
    small_disk(64 * KIB).write(folder / "mbr")
    gpt = small_disk(64 * KIB)
    gpt.put(512, b"EFI PART" + bytes(84))
    gpt.write(folder / "gpt")
    four = small_disk(64 * KIB)
    four.put(4096, b"EFI PART" + bytes(84))
    four.write(folder / "4096")


def vhd(folder: Path) -> None:
    from tests.support import build_vhd

    build_vhd.fixed(small_disk(64 * KIB)).write(folder / "fixed")
    for name, block in (("dynamic", 64 * KIB), ("dynamic-2m", 2 * MIB)):
        disk = build_vhd.DynamicVhd(4 * MIB, block_size=block)
        for at in (0, 7, 3, 1):
            if at < 4 * MIB // block:
                disk.store(at, pattern(at, 700))
        disk.build().write(folder / name)
        disk.build(head=False).write(folder / f"{name}-headless")
        disk.build(tail=False).write(folder / f"{name}-tailless")
    wide = build_vhd.DynamicVhd(2040 << 30, block_size=2 * MIB, entries=2040 << 9)
    wide.store(5, pattern(5, 300), bitmap=b"\xaa" * 512)
    wide.build().write(folder / "wide")
    child = build_vhd.DynamicVhd(
        MIB, block_size=64 * KIB, disk_type=build_vhd.DIFFERENCING,
        header={"parent_name": "base.vhd"},
    )  # fmt: skip
    child.store(1, pattern(1, 700), bitmap=b"\xf0" * 16)
    child.build().write(folder / "differencing")


def vhdx(folder: Path) -> None:
    from tests.support import build_vhdx as build

    build.write_vhdx(folder / "plain", virtual_size=8 * MIB, blocks={3: pattern(3, 900), 0: b"!"})
    build.write_vhdx(
        folder / "states", virtual_size=64 * MIB, block_size=8 * MIB, sector_size=4096,
        blocks={1: pattern(1, 900)}, states={2: 1, 3: 2, 4: 3, 5: 0}, short_end=True,
    )  # fmt: skip
    build.write_vhdx(folder / "wide", virtual_size=64 << 40, block_size=256 * MIB, blocks={9: b"?"})
    build.write_vhdx(folder / "fixed", virtual_size=2 * MIB, blocks={0: b"a", 1: b"b"}, fixed=True)
    entry = build.Entry(1, [build.Data(4 * MIB, pattern(4, 4096)), build.Zero(5 * MIB, MIB)])
    build.write_vhdx(folder / "log", virtual_size=8 * MIB, blocks={0: b"0", 1: b"1"},
                     entries=[entry])  # fmt: skip
    items = [
        *build.standard_items(4 * MIB, MIB, 512, flags=2),
        (build.PARENT_LOCATOR, build.parent_locator({
            "parent_linkage": str(build.DATA_ID), "relative_path": r".\base.vhdx",
            "absolute_win32_path": r"C:\disks\base.vhdx",
        }), 0),
    ]  # fmt: skip
    build.write_vhdx(folder / "differencing", virtual_size=4 * MIB, items=items,
                     states={0: 0, 1: 7}, blocks={2: pattern(2, 900)})  # fmt: skip


def qcow2(folder: Path) -> None:
    from tests.support import build_qcow2 as build

    for name, bits, version in (("v3", 16, 3), ("v2", 12, 2), ("small", 9, 3)):
        disk = build.Qcow2(4 * MIB, bits, version)
        size = disk.cluster_size
        disk.data(1, pattern(1, 300))
        disk.data(0, pattern(2, 300))
        for at in (5, 6, 9):
            disk.packed(at, build.raw_deflate(pattern(at, 200).ljust(size, b"\0")))
        if version == 3:
            disk.zero(3)
        disk.snapshot("1", "first").data(2, pattern(7, 100))
        disk.build().write(folder / name)
    disk = build.Qcow2(4 * MIB, 16, incompatible=build.EXTENDED | build.COMPRESSION_TYPE,
                       compression=1)  # fmt: skip
    disk.sub(0, pattern(3, 900), 0x0F, 0xF0)
    disk.packed(2, build.zstd_frame(pattern(2, 100).ljust(65536, b"\0")))
    disk.build().write(folder / "extended-zstd")
    for backing in ("base.raw", "base.qcow2"):
        disk = build.Qcow2(MIB, 12, backing=backing, backing_format=backing.split(".")[1])
        disk.data(1, pattern(1, 300))
        disk.build().write(folder / f"on-{backing}")
    disk = build.Qcow2(128 * KIB, 12, data_file="data.raw")
    disk.data(1, pattern(1, 300))
    disk.build().write(folder / "data-file")
    build.Qcow2(64 << 40, 21).build().write(folder / "wide")


def qcow(folder: Path) -> None:
    from tests.support import build_qcow as build

    for name, backing in (("plain", None), ("on-base.raw", "base.raw")):
        disk = build.Qcow(MIB, backing=backing)
        disk.data(1, pattern(1, 300))
        packer = zlib.compressobj(6, zlib.DEFLATED, -12)
        disk.packed(3, packer.compress(pattern(3, 100).ljust(4096, b"\0")) + packer.flush())
        disk.build().write(folder / name)


def vmdk(folder: Path) -> None:
    from tests.support import build_vmdk as build

    grains = {0: pattern(1, 300), 3: pattern(2, 300), 5: None}
    build.write_sparse(folder / "sparse", sectors=4096, grains=grains)
    build.write_stream(folder / "stream", sectors=4096, grains={0: pattern(1, 300), 9: b"!"})
    build.write_cowd(folder / "cowd", sectors=4096, grains={0: pattern(1, 300), 9: b"!"})
    build.write_sesparse(folder / "sesparse", sectors=4096, grains={0: pattern(1, 300)})
    for kind, lines in {
        "monolithicFlat": ['RW 128 FLAT "disk-flat.vmdk" 0', 'RW 100 FLAT "disk-s001.vmdk" 28'],
        "twoGbMaxExtentSparse": ['RW 2048 SPARSE "base.vmdk"', "RW 100 ZERO"],
        "vmfs": ['RW 128 VMFS "disk-flat.vmdk"'],
    }.items():
        build.write_descriptor(folder / kind, lines, create_type=kind)
    build.write_descriptor(
        folder / "child", ['RW 2048 SPARSE "base.vmdk"'], parent="12345678", hint="base.vmdk"
    )


def vdi(folder: Path) -> None:
    from tests.support import build_vdi as build

    blocks = {0: pattern(1, 300), 2: pattern(2, 300)}
    build.vdi(virtual_size=4 * MIB, blocks=blocks, entries={3: 0xFFFFFFFE}).write(folder / "plain")
    build.vdi(virtual_size=4 * MIB + 512, blocks={0: b"1", 1: b"2"}, block_extra=512).write(
        folder / "extra"
    )
    build.vdi(virtual_size=MIB, blocks={0: b"1"}, image_type=4, link_id=uuid.UUID(int=7)).write(
        folder / "differencing"
    )


def ova(folder: Path) -> None:
    from tests.support import build_sparse_tar as sparse
    from tests.support import build_tar as build
    from tests.support import build_vhd

    disk = build_vhd.DynamicVhd(MIB, block_size=64 * KIB)
    disk.store(1, pattern(1, 700))
    image = disk.build()
    files = [("f0", "disk.vhd"), ("f1", "other.raw")]
    text = build.envelope(files, ["f0", "f1", ""])
    whole = image.get(0, image.size)
    build.archive(
        build.member("m.ovf", text), build.member("disk.vhd", whole),
        build.pax([("path", "other.raw")]), build.member("x", pattern(2, 512) * 3),
    ).write(folder / "two")  # fmt: skip
    build.archive(
        build.member("m.ovf", build.envelope(files[:1], ["f0"])), build.member("disk.vhd", whole)
    ).write(folder / "one")
    build.archive(build.member("disk.raw", whole)).write(folder / "no-ovf")
    disk_of_pieces = pattern(3, 700) + bytes(300 * KIB) + pattern(4, 512) + bytes(5000)
    for encoding in sparse.ENCODINGS:
        build.archive(
            sparse.pack_sparse(encoding, "disk.raw", disk_of_pieces),
            sparse.pack_sparse(encoding, "volume", whole),
        ).write(folder / f"sparse-{encoding}")
    build.archive(sparse.pack_sparse("old", "disk.raw", (b"1" * 512 + bytes(512)) * 30)).write(
        folder / "sparse-many"
    )


def ovf(folder: Path) -> None:
    from tests.support import build_tar as build

    for name in ("base.raw", "base.vhd", "base.vmdk"):
        (folder / name).write_bytes(build.envelope([("f0", name)], ["f0"]))


def vmx(folder: Path) -> None:
    for name in ("base.vmdk", "base.raw"):
        (folder / name).write_text(
            '.encoding = "UTF-8"\nconfig.version = "8"\nscsi0:0.present = "TRUE"\n'
            f'scsi0:0.fileName = "{name}"\nide1:0.deviceType = "cdrom-raw"\n'
            'ide1:0.fileName = "auto detect"\n'
        )


def _packed(pack: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        disk = small_disk(128 * KIB)
        data = disk.get(0, disk.size)
        (folder / "raw").write_bytes(pack(data))
        (folder / "members").write_bytes(pack(data[:65536]) + pack(data[65536:]))
        from tests.support import build_vhd

        image = build_vhd.DynamicVhd(MIB, block_size=64 * KIB)
        image.store(1, pattern(1, 700))
        built = image.build()
        (folder / "vhd").write_bytes(pack(built.get(0, built.size)))

    return make


def _zstd(data: bytes) -> bytes:
    out = [b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data))]
    for at in range(0, len(data), 65536):
        chunk, is_last = data[at : at + 65536], at + 65536 >= len(data)
        is_run = chunk == chunk[:1] * len(chunk)
        out.append((len(chunk) << 3 | is_run << 1 | is_last).to_bytes(3, "little"))
        out.append(chunk[:1] if is_run else chunk)
    return b"".join(out)


def parallels(folder: Path) -> None:
    from tests.support import build_parallels as build

    clusters = {0: pattern(1, 300), 3: pattern(2, 300), 2: b"!"}
    for name, magic in (("old", build.OLD), ("extended", build.EXTENDED)):
        image = build.parallels(virtual_size=4 * MIB, clusters=clusters, magic=magic)
        image.write(folder / name)
    build.parallels(virtual_size=8 << 40, clusters={7: b"!"}, cluster_size=16 * MIB).write(
        folder / "wide"
    )


def checks(folder: Path) -> None:
    """Fixed VHDs that nothing speaks against, or one thing; and what others build."""
    from tests.support import build_vhd

    build_vhd.fixed(small_disk(20 * MIB)).write(folder / "accepted")
    build_vhd.fixed(small_disk(20 * MIB + 512)).write(folder / "misaligned")
    build_vhd.fixed(small_disk(20 * MIB), geometry=(600, 4, 17)).write(folder / "geometry")
    build_vhd.fixed(small_disk(20 * MIB)).write(folder / "cut")
    with open(folder / "cut", "r+b") as file:
        file.truncate(19 * MIB)
    for name, builder in BUILDERS.items():
        if name not in ("check", "partitions", *C_INPUTS):
            (folder / name).mkdir()
            with contextlib.suppress(Exception):  # told of where its own seeds are made
                builder(folder / name)
            for path in (folder / name).iterdir():
                path.rename(folder / f"{name}-{path.name}")
            (folder / name).rmdir()


def partitions(folder: Path) -> None:
    from tests.support.build_gpt import Gpt, mbr_entry, mbr_sector

    for name, sector, count in (("gpt-4096", 4096, 128), ("gpt", 512, 128), ("gpt-few", 512, 4)):
        table = Gpt(4 * MIB // sector, sector, count)
        table.add(1, 64, 200, "first")
        table.add(2, 300, 500, "second", attributes=4)
        table.build().write(folder / name)
    disk = table.build()
    disk.put(sector, bytes(sector))
    disk.write(folder / "backup-alone")
    table = Gpt(8192, count=4)
    table.add(1, 64, 6000)
    disk = table.build()
    disk.put(0, mbr_sector(mbr_entry(0xEE, 1, 63), mbr_entry(0x83, 64, 100, 0x80)))
    disk.size += 3 * MIB
    disk.write(folder / "hybrid-grown")
    disk = SparseFile(4 * MIB)
    disk.put(0, mbr_sector(mbr_entry(0x07, 8, 100, 0x80), mbr_entry(0x0F, 200, 7000)))
    for at, following in ((200, 600), (800, 900), (1100, 0)):
        entries = [mbr_entry(0x83, 8, 100)]
        if following:
            entries.append(mbr_entry(0x05, following, 300))
        disk.put(at * 512, mbr_sector(*entries))
    disk.write(folder / "logical")


BUILDERS: dict[str, Callable[[Path], None]] = {
    "raw": raw, "vhd": vhd, "vhdx": vhdx, "qcow2": qcow2, "qcow": qcow, "vmdk": vmdk, "vdi": vdi,
    "parallels": parallels, "ova": ova, "ovf": ovf, "vmx": vmx, "gzip": _packed(gzip.compress),
    "xz": _packed(lzma.compress), "bzip2": _packed(bz2.compress), "zstd": _packed(_zstd),
    "check": checks, "partitions": partitions,
}  # fmt: skip

# ---- from qemu-img: its name of the format, and options ------------------------------------------

QEMU: dict[str, tuple[str, list[str]]] = {
    "vhd": ("vpc", ["subformat=dynamic", "subformat=fixed", "subformat=dynamic,force_size=on"]),
    "vhdx": ("vhdx", ["", "block_size=1M,subformat=fixed"]),
    "qcow2": ("qcow2", ["", "compat=0.10,cluster_size=512", "extended_l2=on", "-c",
                        "-c compression_type=zstd", "preallocation=metadata"]),
    "qcow": ("qcow", ["", "-c"]),
    "vmdk": ("vmdk", ["", "subformat=streamOptimized", "zeroed_grain=on"]),
    "vdi": ("vdi", ["", "static=on"]),
    "parallels": ("parallels", ["", "cluster_size=65536"]),
}  # fmt: skip


def from_qemu(name: str, folder: Path) -> None:
    if name not in QEMU or shutil.which("qemu-img") is None:
        return
    source = small_disk().write(folder.parent / "source.raw")
    kind, choices = QEMU[name]
    for number, choice in enumerate(choices):
        words = choice.split()
        flags = [word for word in words if word.startswith("-")]
        options = [part for word in words if not word.startswith("-") for part in ("-o", word)]
        command = ["qemu-img", "convert", "-f", "raw", "-O", kind, *flags, *options, str(source)]
        subprocess.run([*command, str(folder / f"qemu{number}")], capture_output=True, check=False)
    source.unlink()


MOST = 30  # images of the collection, the smallest ones


def from_collection(name: str, folder: Path) -> None:
    rows = corpus.rows(name, {"vhd": "vpc"}.get(name, name))
    for row in sorted(rows, key=lambda row: int(row["file_size"]))[:MOST]:
        path = Path(tempfile.gettempdir()) / "vhdfast-corpus" / row["local_file"]
        if path.exists() and int(row["file_size"]) <= 64 * MIB:
            (folder / row["id"]).symlink_to(path)


# ---- for the targets in C: no images -------------------------------------------------------------


def native_inputs() -> dict[str, bytes]:
    """Kind, count of rows, size of the disk, start of the slice; rows; content."""

    def row(kind: int, codec: int, file: int, gap: int, length: int, at: int, stored: int = 0,
            decoded: int = 0, skip: int = 0) -> bytes:  # fmt: skip
        numbers = [(kind, 1), (codec, 1), (file, 1), (gap, 2), (length - 1, 2), (at, 3),
                   (stored, 3), (decoded, 3), (skip, 2)]  # fmt: skip
        return b"".join(value.to_bytes(width, "little") for value, width in numbers)

    hidden = bytes(byte ^ 0x55 for byte in pattern(1, 6000))
    content = hidden + bytes([255, 7, 255, 0, 99, 1]) * 40
    rows = [
        row(2, 0, 0, 0, 512, 0), row(3, 1, 0, 0, 4096, 0, 4096, 4096), row(1, 0, 0, 9, 700, 0),
        row(3, 1, 1, 5000, 1000, 0, 3000, 3000, 500), row(3, 2, 0, 0, 4000, 6000, 99, 4000),
        row(2, 0, 1, 0, 999, 1), row(3, 1, 1, 0, 400, 0, 3000, 3000, 2600),
    ]  # fmt: skip
    head = (60000).to_bytes(3, "little") + b"\x03"
    many = [row(3, 1, 1, 0, 512, 512 * at, 512, 512) for at in range(11)]
    return {
        "mixed": bytes([4, len(rows)]) + head + b"".join(rows) + content,
        "units": bytes([68, len(many)]) + head + b"".join(many) + content,
        "cut": bytes([2, len(rows)]) + head + b"".join(rows) + content,
    }


def codec_inputs() -> dict[str, bytes]:
    data = pattern(1, 3000) + bytes(2000)
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    streams = {
        "deflate": (1, raw.compress(data) + raw.flush()),
        "stored": (1, stored.compress(data) + stored.flush(zlib.Z_SYNC_FLUSH)),
        "zlib": (2, zlib.compress(data)),
        "zstd": (3, _zstd(data[:2000]) + _zstd(data[2000:])),
    }
    if shutil.which("zstd") is not None:
        for level in ("-1", "-19"):
            done = subprocess.run(["zstd", "-qc", "--check", level], input=data,
                                  capture_output=True, check=False)  # fmt: skip
            streams[f"zstd{level}"] = (3, done.stdout)
    length = len(data).to_bytes(3, "little")
    return {name: bytes([codec]) + length + packed for name, (codec, packed) in streams.items()}


C_INPUTS = {"native": native_inputs, "codecs": codec_inputs}


def make(name: str, folder: Path, *, everything: bool = True) -> tuple[int, int]:
    """Packed seeds of a format in `folder`: (how many, how many were too large).

    everything: False takes the builders alone, which is quick.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = skipped = 0
    if name in C_INPUTS:
        for place, packed in C_INPUTS[name]().items():
            (folder / place).write_bytes(packed)
        return len(C_INPUTS[name]()), 0
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / "built"
        built.mkdir()
        makers: list[Callable[[Path], None] | None] = [BUILDERS.get(name)]
        if everything:
            makers += [lambda at: from_qemu(name, at), lambda at: from_collection(name, at)]
        for maker in makers:
            if maker is None:
                print(f"{name}: no builder in make_seeds.py", file=sys.stderr)
                continue
            try:
                maker(built)
            except Exception as error:  # a builder that is missing, or has changed
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        for path in sorted(built.iterdir()):
            try:
                packed = of_file(path).pack()
            except OSError:
                continue
            if len(packed) > MAX_PACKED:
                skipped += 1
                continue
            (folder / path.name).write_bytes(packed)
            made += 1
    return made, skipped


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    from tests.fuzz.harness import targets

    for name in arguments[1:] or [*targets(), *C_INPUTS]:
        made, skipped = make(name, Path(arguments[0]) / name)
        print(f"{name}: {made} seeds, {skipped} images were too large")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
