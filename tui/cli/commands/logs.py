"""`spectui logs`."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from spectui.tui.cli.options import State, shared_options
from spectui.tui.cli.output import line

if TYPE_CHECKING:
    from spectui.store.reading.reader import Reader

POLL_S = 0.2
MOST_BYTES = 16 << 20
"""Read of one file, from its end: a log of ours is cut at an eighth of it, but the path is out of the database."""
LOOK_S = 1.0
"""Seconds between looks at whether the run has ended."""


@click.command()
@click.argument("session", default="last")
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the run ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines (default: all)."
)
@shared_options
@click.pass_obj
def logs(state: State, session: str, follow: bool, lines: int | None) -> None:
    """Print the log of a worker: warnings and tracebacks. SESSION is an id, a name, or 'last'."""
    from spectui.decoding.worker.launch import log_path
    from spectui.store.errors import StoreError

    with state.reader() as reader:
        summary = reader.session(session)
        path = Path(summary.log_path or log_path(state.database, summary.id))
        worker = reader.worker(summary.id)
        if not path.exists():
            where = (
                f"it is on {worker.host}: " if worker is not None and not worker.local else "there is none: "
            )
            raise StoreError(f"the log of session '{summary.name}' cannot be read; {where}{path}")
        if not path.is_file():  # a path out of the database: a pipe or a device would be read for ever
            raise StoreError(f"the log of session '{summary.name}' is no file: {path}")
        with path.open("rb") as file:
            empty = True
            for text in _lines_so_far(path, file, lines, whole=follow):
                line(text)
                empty = False
            if empty and lines != 0 and not follow:
                line(f"the log of session '{summary.name}' is empty", err=True)
            if follow:
                try:
                    _follow(reader, summary.id, path, file)
                except KeyboardInterrupt:
                    return


def _lines_so_far(path: Path, file: BinaryIO, lines: int | None, *, whole: bool) -> Iterator[str]:
    """The lines so far, those of the full file before the present one first.

    `whole` leaves a last line without an end to be read again."""
    before = path.with_name(f"{path.name}.1")
    file.seek(max(0, path.stat().st_size - MOST_BYTES))
    now = file.read(MOST_BYTES)
    if whole and (unfinished := len(now) - 1 - now.rfind(b"\n")):
        file.seek(-unfinished, os.SEEK_CUR)
        now = now[:-unfinished]
    texts = [*([before.read_bytes()] if _is_small(before) else []), now]
    every = (each.decode("utf-8", "replace") for text in texts for each in text.splitlines())
    return iter(every) if lines is None else iter(deque(every, maxlen=lines))


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MOST_BYTES


def _follow(reader: Reader, session_id: int, path: Path, file: BinaryIO) -> None:
    """Print what is added, in the file and in those that take its place, until the run has ended."""
    looked, live, rest = time.monotonic(), True, b""
    while True:
        more = file.read()
        rest += more
        *whole, rest = rest.split(b"\n")
        for text in whole:
            line(text.decode("utf-8", "replace"))
        if more:
            continue
        if _replaced(path, file):
            file = path.open("rb")
            continue
        if not live:
            break
        if time.monotonic() - looked >= LOOK_S:
            looked, live = time.monotonic(), reader.session(session_id).live
        time.sleep(POLL_S)
    if rest:
        line(rest.decode("utf-8", "replace"))


def _replaced(path: Path, file: BinaryIO) -> bool:
    """True when the log was full and another file has taken its place."""
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except OSError:  # between the two
        return False
