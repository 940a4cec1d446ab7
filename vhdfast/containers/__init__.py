"""Images inside something else: archives of them, and files that name those of a machine.

Every module of this package is imported once, which registers the containers in it.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import CONTAINERS, Container, Disk, choose

__all__ = ["CONTAINERS", "Container", "Disk", "choose"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
