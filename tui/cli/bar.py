"""How far something is that takes a while."""

from __future__ import annotations

import sys
import time

import click

from spectui.tui.cli.output import amount, line

CELLS = 30
LINE_S = 2.0
"""Without a terminal, progress is a line this often."""


class Bar:
    """A bar on stderr in a terminal, a line now and then elsewhere; nothing in the first `delay` seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        self._begin = time.monotonic() + delay
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._shown = 0.0
        self._open = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            click.echo(err=True)

    def __call__(self, stage: str, done: float, total: float, unit: str) -> None:
        """Say how far `stage` is."""
        now = time.monotonic()
        fresh = stage != self._stage
        complete = bool(total) and done >= total
        if now < self._begin:
            return
        if not fresh and not complete and now - self._shown < (0.1 if self._terminal else LINE_S):
            return
        self._shown = now
        text = f"{stage}  {amount(done, total, unit)}".rstrip()
        if not self._terminal:
            if fresh or not complete:
                line(text, err=True)
            self._stage = stage
            return
        if fresh and self._open:
            click.echo(err=True)
        self._stage = stage
        cells = round(CELLS * done / total) if total else 0
        bar = f"{'█' * cells}{'░' * (CELLS - cells)}  " if total else ""
        click.echo(f"\r\x1b[2K{bar}{text}", err=True, nl=False)
        self._open = True
