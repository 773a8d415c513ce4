"""The process that runs a session on a server (``python -m spectui.servers.worker``)."""

from __future__ import annotations

import sys

from spectui.decoding.worker.control import Control
from spectui.decoding.worker.heartbeat import StageReporter
from spectui.decoding.worker.process import main
from spectui.store.rows import SessionSummary
from spectui.store.writing.writer import SessionWriter


def ask(
    writer: SessionWriter,
    control: Control,
    before: SessionSummary,
    files: dict[str, dict[str, str]],
    *,
    force: bool,
) -> None:
    """Ask the server for every pending prompt; a server has no model files."""
    progress = StageReporter(writer)
    progress("looking for the server", None, None, "")
    from spectui.servers.worker.session import ServerRun

    with ServerRun(writer, control, progress, before, force=force) as run:
        run.ask_prompts()


if __name__ == "__main__":
    sys.exit(main(ask))
