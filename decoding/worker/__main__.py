"""The process that runs a session with spectui's own engine (``python -m spectui.decoding.worker``)."""

from __future__ import annotations

import sys

from spectui.decoding.imports import all_lasting
from spectui.decoding.worker.control import Control
from spectui.decoding.worker.heartbeat import StageReporter
from spectui.decoding.worker.process import main
from spectui.store.rows import SessionSummary
from spectui.store.writing.writer import SessionWriter


def decode(
    writer: SessionWriter,
    control: Control,
    before: SessionSummary,
    files: dict[str, dict[str, str]],
    *,
    force: bool,
) -> None:
    """Import what decoding takes, and decode."""
    progress = StageReporter(writer)
    progress("starting Python", None, None, "")
    with all_lasting():
        from spectui.decoding.worker.session import SessionRun

        session = SessionRun(writer, control, progress, before, files, force=force)
    session.decode_prompts()


if __name__ == "__main__":
    sys.exit(main(decode))
