"""The checks. Every module of the groups below is imported once, which registers its check.

azure: what Azure demands of a disk. qemu_img: what old tools are known for. structure: whether
the image's own tables are sound.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import CHECKS, Check, Evidence, Finding, Outcome, Reference, Severity
from .runner import CheckedImage, Grade, Selection, check_image
from .subject import CheckOptions, Subject, open_subject

__all__ = [
    "CHECKS",
    "GROUPS",
    "Check",
    "CheckOptions",
    "CheckedImage",
    "Evidence",
    "Finding",
    "Grade",
    "Outcome",
    "Reference",
    "Selection",
    "Severity",
    "Subject",
    "check_image",
    "open_subject",
]

GROUPS = ("azure", "qemu_img", "structure")

for _group in GROUPS:
    _package = importlib.import_module(f"{__name__}.{_group}")
    for _module in pkgutil.iter_modules(_package.__path__):
        importlib.import_module(f"{_package.__name__}.{_module.name}")
