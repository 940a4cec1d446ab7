"""The copy of a disk into a target."""

from __future__ import annotations

import os

from ..copying import copy as copy_disk
from ..image import Image
from ..outputs import FileOutput
from ..plan import survey
from .progress import QemuProgress
from .reading import HARMLESS
from .real import HandOver

__all__ = ["copy"]


def copy(image: Image, output: FileOutput, progress: QemuProgress) -> None:
    """Copy all of the disk and give the target its name.

    Raises HandOver before anything was written, VhdfastError or OSError once nothing is left of it.
    """
    if image.is_same_file(output.path):
        raise HandOver("source and target are the same file")
    found = survey(image)
    # The walk over the map may have found what the headers did not tell.
    for notice in image.notices:
        if notice.code not in HARMLESS:
            raise HandOver(str(notice))
    status = os.statvfs(output.directory)
    if status.f_blocks and found.data > status.f_bavail * status.f_frsize:
        raise HandOver("the file system may be too full for the old and the new target")
    with progress:
        try:
            output.create()
            copy_disk(image, output, found, None, None, progress)
            image.check_unchanged()
            output.seal()
            image.check_unchanged()
            output.publish()
        except BaseException:
            output.abort()
            raise
        progress.done()
