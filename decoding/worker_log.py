"""The worker's log: one file and one before it, however long the run and whatever writes to stderr."""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

FORMAT = "%(asctime)s %(name)s %(message)s"
MOST_BYTES = 2_000_000
"""Of one file."""


class WorkerLog(RotatingFileHandler):
    """Appends to a file of the user's own; when it is full it becomes ``.1`` and another begins.

    What libraries, or the interpreter as it dies, write to stdout and stderr goes to the same file.
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
    """Log there or, without a path, to stderr."""
    if not path:
        logging.basicConfig(level=logging.INFO, format=FORMAT)
        return
    logging.basicConfig(level=logging.INFO, handlers=[WorkerLog(Path(path))])
