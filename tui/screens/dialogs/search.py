"""Searches a whole session for a text or a token; hits come in while the search goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input
from textual.worker import Worker, WorkerState, get_current_worker

from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.reading.search import Hit, search
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.terminal.cells import count, counted
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.inputs import SteadyInput
from spectui.tui.widgets.rows import Cell, Line
from spectui.tui.widgets.table import Column, Table

MOST = 1000
"""Hits after which a search ends: nobody reads more."""
POST_SECONDS = 0.25
"""Between two posts of new hits."""
HINT = "A text, over any tokens, whatever its case; #123 for the token of that id."


@dataclass
class LastSearch:
    """The last search of a session with its hits, to go on from there."""

    query: str = ""
    hits: list[Hit] = field(default_factory=list)
    note: str = HINT
    cursor: int = 0


class SearchInput(SteadyInput):
    """Enter searches; the arrows move the cursor of the hits."""

    BINDINGS = bindings("search_input")


class Progress(Message):
    """New hits, and how far the search is; they belong to the list `results`, which each search has of its own."""

    def __init__(
        self, results: list[Hit], hits: tuple[Hit, ...], rounds: int, total: int, *, done: bool
    ) -> None:
        super().__init__()
        self.results = results
        self.hits = hits
        self.rounds = rounds
        self.total = total
        self.done = done


class SearchScreen(ModalScreen[Hit | None]):
    """A dialog whose result is the place to go to, or None."""

    CSS_PATH = "search.tcss"
    BINDINGS = bindings("search")

    def __init__(self, database: Path, session_id: int, last: LastSearch) -> None:
        super().__init__()
        self.database = database
        self.session_id = session_id
        self.last = last
        self._searched = last.query

    def compose(self) -> ComposeResult:
        """The text to search for, a note, the hits."""
        with Vertical(id="search-box"):
            yield SearchInput(self.last.query, id="search-text")
            yield Line(id="search-note")
            yield Table(hit_columns(), lambda pair: pair[0], id="hits")

    def on_mount(self) -> None:
        """Show the last search."""
        box = self.query_one("#search-box")
        box.border_title = "search the session"
        box.border_subtitle = f"enter searches, again goes there  ↑ ↓  {key_for(self, 'cancel')} closes"
        self.table: Table[tuple[int, Hit]] = self.query_one("#hits", Table)
        self._show()
        self.table.select(self.last.cursor)
        self.query_one("#search-text").focus()

    def _show(self) -> None:
        self.table.show(list(enumerate(self.last.hits)))
        role = "bad" if self.last.note.startswith("✗") else "muted"
        self.query_one("#search-note", Line).set_rows([((self.last.note, role),)])

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        if message.value and message.value == self._searched and self.last.hits:
            self.table.action_choose()
            return
        if not message.value.strip():
            return
        query = self._searched = message.value
        results: list[Hit] = []
        self.last.query, self.last.hits, self.last.cursor = query, results, 0
        self.last.note = "Searching…"
        self._show()
        self.run_worker(
            lambda: self._search(query, results),
            name="search",
            group="search",
            thread=True,
            exclusive=True,
            exit_on_error=False,
        )

    def _search(self, query: str, results: list[Hit]) -> None:
        """Search and post hits, in a thread, until it is cancelled."""
        worker = get_current_worker()
        hits = rounds = 0
        pending: list[Hit] = []
        posted = monotonic()
        with Reader(self.database) as reader:
            total = reader.session(self.session_id).rounds
            for step in search(reader, self.session_id, query):
                if worker.is_cancelled:
                    return
                rounds = step.rounds
                pending += step.hits[: MOST - hits]
                hits += len(step.hits)
                if hits >= MOST:
                    break
                if monotonic() - posted >= POST_SECONDS:
                    posted = monotonic()
                    self.post_message(Progress(results, tuple(pending), rounds, total, done=False))
                    pending = []
        if not worker.is_cancelled:
            self.post_message(Progress(results, tuple(pending), rounds, total, done=True))

    def on_progress(self, message: Progress) -> None:
        """Show the new hits."""
        last = self.last
        if message.results is not last.hits:  # of a search that another has followed
            return
        last.hits += message.hits
        places = counted(len(last.hits), "place")
        if not message.done:
            share = message.rounds / message.total if message.total else 1.0
            last.note = f"{places} so far · {share * 100:.0f} % of {counted(message.total, 'round')}"
        elif len(last.hits) >= MOST:
            last.note = f"The first {count(MOST)} places; look for something longer."
        elif not last.hits:
            last.note = f"Not found in {counted(message.rounds, 'round')}."
        else:
            last.note = f"{places} in {counted(message.rounds, 'round')}."
        self._show()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show that the session could not be read."""
        if event.state == WorkerState.ERROR:
            error = event.worker.error
            words = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            self.last.note = f"✗ {sanitize_line(words)}"
            self._show()

    @on(Table.Moved)
    def _moved(self, message: Table.Moved) -> None:
        if message.key is not None:
            self.last.cursor = message.key

    @on(Table.Chosen)
    def _chosen(self, message: Table.Chosen) -> None:
        self._end()
        self.dismiss(self.last.hits[message.key])

    def action_move(self, rows: int) -> None:
        """Move the cursor of the hits."""
        self.table.action_move(rows)

    def action_cancel(self) -> None:
        """Close without going anywhere."""
        self._end()
        self.dismiss(None)

    def _end(self) -> None:
        self.workers.cancel_group(self, "search")
        if (
            self.last.note.startswith(("Searching", f"{count(len(self.last.hits))} place"))
            and "%" in self.last.note
        ):
            self.last.note = f"{self.last.note} · stopped"


def hit_columns() -> list[Column[tuple[int, Hit]]]:
    """Prompt, round, kind, and the text around the hit."""

    def where(pair: tuple[int, Hit]) -> Cell:
        return count(pair[1].position + 1), "muted"

    def kind(pair: tuple[int, Hit]) -> Cell:
        return ("output", "accepted") if pair[1].idx is None else ("draft", "error")

    def text(pair: tuple[int, Hit]) -> Cell:
        hit = pair[1]
        before, after = sanitize_line(hit.before[-24:]), sanitize_line(hit.after)
        return f"{before}{sanitize_line(hit.match)}{after}", "text"

    return [
        Column("prompt", where, 6, "right"),
        Column("round", lambda pair: (count(pair[1].number), "text"), 7, "right"),
        Column("in", kind, 6),
        Column("text", text, 20, grows=True),
    ]
