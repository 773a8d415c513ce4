"""Recordings of servers from the command line: on the dashboard, in lines, or once."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spectui.tui.cli.options import State
from spectui.tui.terminal.cells import counted

if TYPE_CHECKING:
    from spectui.servers.recordings.importer import Importer

NOTHING_THERE = 4
"""Exit code of ``--once`` for a folder without a recording, as for a server that tells no counters."""
FIRST_S = 2.0
"""For how long the dashboard waits for a first session to open."""


def watch_folder(
    state: State,
    folder: Path,
    tokenizer: Path | None,
    *,
    text: bool,
    once: bool,
    as_json: bool,
    shown: bool,
) -> int:
    """Record what servers write into a folder until it is left, or once; returns the exit code."""
    from spectui.servers.recordings.importer import Importer
    from spectui.tui.cli.output import json_line, line
    from spectui.tui.terminal.textsafe import sanitize_line

    def tell(words: str) -> None:
        if not shown:
            line(sanitize_line(words), err=as_json)

    importer = Importer(folder, state.database, tokenizer=tokenizer, text=text, tell=tell)
    if once:
        sessions = importer.import_all()
        with state.reader() as reader:
            summaries = [reader.session(session) for session in sessions]
        if as_json:
            json_line(
                {
                    "sessions": [
                        {
                            "session": one.id,
                            "name": one.name,
                            "prompts": one.prompt_count,
                            "rounds": one.rounds,
                        }
                        for one in summaries
                    ]
                }
            )
        for one in [] if as_json else summaries:
            amounts = ((one.prompt_count, "request"), (one.rounds, "round"), (one.nodes, "node"))
            requests = ", ".join(counted(number, noun) for number, noun in amounts)
            line(f"session {one.id} '{one.name}': {requests}; read it with: spectui report {one.id}")
        if not summaries:
            line(f"nothing is recorded in {folder} yet", err=True)
        return 0 if summaries else NOTHING_THERE
    if shown:
        from spectui.tui.cli.dashboard import open_dashboard

        with importer:
            deadline = time.monotonic() + FIRST_S
            while (session := importer.newest) is None and time.monotonic() < deadline:
                time.sleep(0.05)
            return open_dashboard(state, session)
    return _lines(importer, folder)


def _lines(importer: Importer, folder: Path) -> int:
    """Print what happens until it is interrupted."""
    from spectui.tui.cli.output import line

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    trouble = ""
    with importer, suppress(KeyboardInterrupt):
        line(f"waiting for what servers write into {folder}; Ctrl-C ends it, nothing is lost")
        while True:
            time.sleep(0.5)
            if importer.trouble != trouble:
                trouble = importer.trouble
                if trouble:
                    line(trouble, err=True)
    return 0
