"""The command line; `main` is the entry point `spectui`."""

from spectui.tui.cli.group import main

__all__ = ["main"]
