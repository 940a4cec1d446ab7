"""What was found, as people and programs read it: reports of checks, and pictures of maps.

form_NAME.py holds the form NAME of --report; importing it registers its Report. Of a
picture the layout is computed once (`plot_layout`), in numbers that tests can look at; plot_TYPE.py
draws it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil

from ..errors import UsageError
from .base import REPORTS, Report, Run

__all__ = ["REPORTS", "Report", "Run", "form_names", "report_of"]


def form_names() -> list[str]:
    """The forms by their files' names, without importing any."""
    modules = pkgutil.iter_modules([os.path.dirname(__file__)])
    names = (module.name for module in modules if module.name.startswith("form_"))
    return sorted(name.removeprefix("form_").replace("_", "-") for name in names)


def report_of(name: str) -> type[Report]:
    """The Report of that name. Raises UsageError where there is none."""
    if name not in form_names():
        raise UsageError(
            f"there is no form of report {name!r}", hint=f"one of: {', '.join(form_names())}"
        )
    importlib.import_module(f"{__name__}.form_{name.replace('-', '_')}")
    return REPORTS[name]
