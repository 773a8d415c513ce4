"""``python -m spectui.tui`` is `spectui`."""

from spectui.tui.cli import main

main()
