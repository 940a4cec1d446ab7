"""The console script: main's answer is the exit status."""

from __future__ import annotations

import sys

from . import __version__


def main() -> None:
    # Scripts ask for the version often: nothing is imported for it.
    if sys.argv[1:] in (["--version"], ["-V"]) and sys.stdout is not None:
        try:
            print(f"vhdfast {__version__}", flush=True)
            return
        except OSError:
            pass  # what is run below says so
    from .cli import main as cli_main

    sys.exit(cli_main())


if __name__ == "__main__":
    main()
