"""``python -m tui`` is `spectui`."""

from tui.cli import main

main()
