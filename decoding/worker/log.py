"""The worker's log: one file and one before it, however long the run and whatever writes to stderr."""

from __future__ import annotations

import logging
import os
import re
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

FORMAT = "%(asctime)s %(name)s %(message)s"
MOST_BYTES = 2_000_000
"""Most bytes of one file."""
LAST_BYTES = 4096
_BEFORE_WORDS = re.compile(r"[\d-]{10} [\d:,]{12} [\w.]+ ")
"""Time and source, as `FORMAT` puts them before a message."""


class WorkerLog(RotatingFileHandler):
    """Handler that appends to a private file; when that is full it becomes ``.1`` and another begins.

    Output of libraries, or of the dying interpreter, on stdout and stderr goes to the same file.
    """

    def __init__(self, path: Path, most: int = MOST_BYTES) -> None:
        super().__init__(path, maxBytes=most, backupCount=1, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter(FORMAT))

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


def log_to(path: str) -> None:
    """Log to a file or, without a path, to stderr."""
    if not path:
        logging.basicConfig(level=logging.INFO, format=FORMAT)
        return
    logging.basicConfig(level=logging.INFO, handlers=[WorkerLog(Path(path))])


def last_words(path: Path) -> str:
    """The last line of a log without its time and source; "" where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_BYTES))
            lines = file.read(LAST_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    line = next((line for line in reversed(lines) if line.strip()), "")
    return _BEFORE_WORDS.sub("", line)
