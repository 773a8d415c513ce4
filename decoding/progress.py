"""Progress of a command that draws no screen: lines on stderr."""

from __future__ import annotations

import sys


class ProgressPrinter:
    """Prints progress to stderr, each line once: loading a model says its stage again at every tensor."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        """Print `text` unless it is the line printed last."""
        if text != self._last:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
            self._last = text
