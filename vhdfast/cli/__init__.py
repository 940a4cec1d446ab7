"""The command line. `main` alone turns errors into exit codes; see docs/cli.md for the codes."""

from .main import main

__all__ = ["main"]
