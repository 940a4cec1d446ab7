"""How long work tells what it is doing. The library calls a Monitor and never prints."""

from __future__ import annotations

__all__ = ["Monitor"]


class Monitor:
    """Told about progress; this one says nothing.

    All calls come from the thread that called the library, never from two threads at once.
    """

    def start(self, what: str, total: int) -> None:
        """A phase begins ("copying", "verifying"); total is in bytes."""

    def advance(self, done: int) -> None:
        """So many bytes of the phase are completed altogether."""

    def finish(self) -> None:
        """The phase is over, with or without success."""
