"""The program `spectui`, also as ``python -m spectui.tui``."""

import sys


def start() -> None:
    """Run the command line. Ctrl-C while it is still being loaded is a line, too, as it is later in every command."""
    try:
        from spectui.tui.cli import main

        main()
    except KeyboardInterrupt:
        sys.exit("spectui: interrupted")


if __name__ == "__main__":
    start()
