"""What is raised where an input breaks a promise."""

from __future__ import annotations

__all__ = ["Broken"]


class Broken(AssertionError):
    """A promise that an input breaks."""
