"""The console script vhdfast-qemu-img: main's answer is the exit status."""

from __future__ import annotations

import sys


def main() -> None:
    from .main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
