"""Programs that behave like some version of qemu-img where it makes a fixed VHD of 64 MiB."""

from __future__ import annotations

from pathlib import Path

from . import MIB
from .build_vhd import make_footer

SIZE, ROUNDED = 64 * MIB, 67_125_248
GEOMETRY, LARGEST = (964, 8, 17), (65535, 16, 255)

# What a conversion does to the copy of the source, $dst, that has been made.
EXACT = "footer exact"
OLD_EXACT = "footer old"
CHS = f"truncate -s {ROUNDED} $dst; footer chs"
NO_OPTION = "rm $dst; echo \"qemu-img: Unknown option 'force_size'\" >&2; exit 1"
NO_DRIVER = "rm $dst; echo \"qemu-img: Unknown driver 'vpc'\" >&2; exit 1"


def fake_qemu_img(
    path: Path,
    version: str = "echo 'qemu-img version 7.2.22 (Debian 1:7.2)'",
    plain: str = CHS,
    forced: str = EXACT,
) -> Path:
    """A shell script. version, plain, forced: shell commands for --version and conversions."""
    footers = path.parent / f"{path.name}-footers"
    footers.mkdir(parents=True)
    for name, footer in {
        "exact": make_footer(SIZE, creator=b"qem2", geometry=LARGEST),
        "old": make_footer(SIZE, creator=b"qemu", geometry=GEOMETRY),
        "chs": make_footer(ROUNDED, creator=b"qemu", geometry=GEOMETRY),
        "dynamic": make_footer(SIZE, 3),
        "broken": make_footer(SIZE)[:100] + b"x" + make_footer(SIZE)[101:],
        "none": b"x" * 512,
    }.items():
        (footers / name).write_bytes(footer)
    path.write_text(
        "#!/bin/sh\n"
        f'footer() {{ cat "{footers}/$1" >> "$dst"; }}\n'
        f'case "$1" in --version|--help) {version}; exit ;; esac\n'
        "for word; do src=$dst; dst=$word; done\n"
        'cp "$src" "$dst"\n'
        f'case "$*" in *,force_size*) {forced} ;; *) {plain} ;; esac\n'
    )
    path.chmod(0o755)
    return path
