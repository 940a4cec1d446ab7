"""Where bytes go. Every module of this package is imported once, which registers its outputs."""

from __future__ import annotations

import importlib
import pkgutil

from .base import OUTPUTS, Constraints, FileOutput, Output, TargetOptions

__all__ = ["OUTPUTS", "Constraints", "FileOutput", "Output", "TargetOptions"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
