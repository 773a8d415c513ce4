"""Asks for a place and exports a session to it; the name of the place decides the format."""

from __future__ import annotations

from pathlib import Path

from textual.message import Message
from textual.worker import get_current_worker

from spectui.store.export.export import ONE_FILE, Exported, default_place, export_session
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.navigation.keymap import key_for
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.terminal.cells import count, fit
from spectui.tui.terminal.textsafe import sanitize_line

HINT = "NAME.db is a database, NAME-aiperf.jsonl a file; NAME-csv, -jsonl and -parquet are folders."


def kind_of(place: Path) -> str:
    """The format that the name of a place stands for: ``x.db`` a database, ``x-parquet`` a folder of such, else CSV."""
    if place.suffix in (".db", ".sqlite"):
        return "sqlite"
    if place.name.endswith(ONE_FILE["aiperf"]):
        return "aiperf"
    return next((kind for kind in ("jsonl", "parquet") if place.name.endswith(kind)), "csv")


class Gone(Exception):  # noqa: N818
    """The dialog has been closed: nobody waits for the export."""


class Written(Message):
    """Some rows are in the files."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def can_replace(self, message: Message) -> bool:
        """The newest is enough."""
        return isinstance(message, Written)


class ExportScreen(AskScreen):
    """A dialog whose result is True once all is written; escape stops half-way and leaves no files."""

    def __init__(self, database: Path, summary: SessionSummary) -> None:
        title = f"export · {fit(sanitize_line(summary.name), 40).rstrip()}"
        super().__init__(title, str(default_place(summary.name, "csv")), HINT, self._export, writes=True)
        self._database = database
        self._summary = summary
        self.exported: Exported | None = None

    def _export(self, text: str) -> None:
        worker = get_current_worker()
        rows = 0

        def progress(_: str, written: int) -> None:
            nonlocal rows
            if worker.is_cancelled:
                raise Gone
            rows += written
            self.post_message(Written(rows))

        place = Path(text.strip() or default_place(self._summary.name, "csv"))
        with Reader(self._database) as reader:
            self.exported = export_session(
                reader, self._summary.id, kind_of(place), place, force=None, progress=progress
            )

    def on_written(self, message: Written) -> None:
        """Show how many rows are written."""
        total = self._summary.prompt_count + self._summary.rounds + self._summary.nodes
        self._say(
            f"{count(message.rows)} of {count(max(total, message.rows))} rows; {key_for(self, 'cancel')} stops",
            "muted",
        )
