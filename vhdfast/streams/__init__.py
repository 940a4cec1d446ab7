"""Compressed streams around images. Every module here is imported once, which registers them."""

from __future__ import annotations

import importlib
import pkgutil

from .base import STREAMS, Stream
from .spool import Spool, Unpacking
from .unpacking import unpack

__all__ = ["STREAMS", "Spool", "Stream", "Unpacking", "unpack"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
