"""The command line; `main` is its top command."""

from spectui.tui.cli.group import main

__all__ = ["main"]
