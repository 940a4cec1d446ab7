"""vhdfast beside qemu-img: on an image or a recipe, on this machine, with the answers compared."""

from __future__ import annotations

from .measuring import Row, Sample
from .recipes import RECIPES, Recipe
from .running import FORMATS, Benchmark, Engine, Report

__all__ = ["FORMATS", "RECIPES", "Benchmark", "Engine", "Recipe", "Report", "Row", "Sample"]
