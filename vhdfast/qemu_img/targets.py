"""Targets as qemu-img makes them, but under their name only when they are whole.

qemu-img writes into the file that is there. We put another in its place: where anyone could tell
the difference, the command is handed over.
"""

from __future__ import annotations

import dataclasses
import os
import stat

from ..errors import VhdfastError
from ..formats.vhd.footer import Footer
from ..outputs import FileOutput, TargetOptions
from ..outputs.fixed_vhd import FixedVhd
from ..outputs.raw import RawOutput
from ..units import SECTOR, round_up
from .geometry import Geometry, exact_geometry
from .locks import is_opened_elsewhere
from .options import key_values
from .reading import check_name
from .real import HandOver

__all__ = ["make_output"]

NEW_FILE_MODE = 0o644  # what qemu asks for; the umask takes from it
MAX_VHD = 2040 << 30  # bytes, of qemu's VHDs


class _Target(FileOutput):
    """A file with the permissions that qemu-img would have given it, or left it."""

    mode: int

    def create(self) -> None:
        # Nobody gets at it before it has them.
        mask = os.umask(0o077)
        try:
            super().create()
        finally:
            os.umask(mask)
        os.fchmod(self._fd, self.mode)


class _RawTarget(_Target, RawOutput):
    pass


class _VhdTarget(_Target, FixedVhd):
    geometry: Geometry

    def trailer(self) -> bytes:
        footer = Footer.parse(super().trailer())
        assert footer is not None
        return dataclasses.replace(footer, geometry=self.geometry).pack()


def make_output(path: str, size: int, format_name: str, options: list[str]) -> FileOutput:
    """The output for `-O format_name -o options`, not yet created.

    size: bytes of the source's disk. Raises HandOver.
    """
    mode = _mode_of(path)
    how = TargetOptions(force=True)
    chosen = key_values(options)
    output: _Target
    if format_name == "raw" and not chosen:
        output = _RawTarget(path, round_up(size, SECTOR), how)
    elif format_name == "vpc":
        size, geometry = _vhd_shape(size, chosen)
        output = _VhdTarget(path, size, how)
        output.geometry = geometry
    else:
        raise HandOver(f"-O {format_name} {' '.join(options)}".rstrip() + " is not served")
    output.mode = mode
    try:
        output.check_target()
    except VhdfastError as error:
        raise HandOver(str(error)) from error
    return output


def _vhd_shape(size: int, options: dict[str, str]) -> tuple[int, Geometry]:
    """(virtual size, geometry) of a fixed VHD that qemu-img makes for a disk of `size` bytes."""
    unknown = set(options) - {"subformat", "force_size"}
    if unknown or options.get("subformat") != "fixed":
        raise HandOver("-O vpc is served with -o subformat=fixed and force_size alone")
    force = options.get("force_size", "off")
    if force not in ("on", "off"):
        raise HandOver(f"force_size={force} is not served")
    size = round_up(size, SECTOR)
    if size > MAX_VHD:
        raise HandOver("the disk is too large for a VHD by qemu-img")
    return exact_geometry(size, force == "on")


# ---- what is there already ----------------------------------------------------------------------


def _mode_of(path: str) -> int:
    """The permissions of the file to come. Raises HandOver where a new file would show."""
    check_name(path)
    directory = os.path.dirname(os.path.realpath(path))
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if _attribute(directory, "system.posix_acl_default") is not None:
            raise HandOver(f"{directory} gives new files a list of permissions") from None
        mask = os.umask(0)
        os.umask(mask)
        return NEW_FILE_MODE & ~mask
    except (OSError, ValueError) as error:
        raise HandOver(f"{path} cannot be looked at: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise HandOver(f"{path} is there and not a regular file")
    if status.st_nlink != 1:
        raise HandOver(f"{path} has other names, which would keep the old disk")
    try:
        with open(path, "r+b", buffering=0) as old:
            if is_opened_elsewhere(old.fileno()):
                raise HandOver(f"{path} may be open elsewhere, where the old disk would stay")
            _compare_with_new(old.fileno(), status, directory)
    except OSError as error:
        raise HandOver(f"{path} cannot be replaced alike: {error}") from error
    return stat.S_IMODE(status.st_mode)


def _compare_with_new(fd: int, status: os.stat_result, directory: str) -> None:
    """Owner and extended attributes must be those that a new file gets. Raises OSError, too."""
    new = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, NEW_FILE_MODE)
    try:
        fresh = os.fstat(new)
        if (fresh.st_uid, fresh.st_gid) != (status.st_uid, status.st_gid):
            raise HandOver("the target belongs to another user or group than a new file would")
        if _attributes(new) != _attributes(fd) or _attribute(new, "system.posix_acl_access"):
            raise HandOver("the target has attributes that a new file would not have")
    finally:
        os.close(new)


def _attributes(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}


def _attribute(path: str | int, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError:
        return None
