"""The console script: main's answer is the exit status."""

from __future__ import annotations

import sys

from . import __version__


def main() -> None:
    # Scripts ask for the version often: nothing is imported for it.
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"vhdfast {__version__}")
        return
    from .cli import main as cli_main

    sys.exit(cli_main())


if __name__ == "__main__":
    main()
