"""The command line; `main` is the entry point `spectui`."""

from tui.cli.group import main

__all__ = ["main"]
