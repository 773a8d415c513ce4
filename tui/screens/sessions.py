"""Home: every session of the database, whatever became of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Label

from store.rows import SessionSummary
from tui import editing
from tui.cells import count, fit
from tui.clipboard import copy
from tui.feed import Trouble
from tui.home_feed import Card, Sessions, SessionsFeed
from tui.screens.ask import AskScreen
from tui.screens.delete import DeleteScreen
from tui.screens.sessions_columns import session_columns
from tui.session_filter import Entry, Filter, entry_of, parse
from tui.textsafe import sanitize_line
from tui.widgets.key_bar import Hint, KeyBar
from tui.widgets.rows import Cell, Line, Row, Rows, set_title
from tui.widgets.session_card import SessionCard, card_text
from tui.widgets.steady_input import SteadyInput
from tui.widgets.table import Table

if TYPE_CHECKING:
    from tui.app import SpectuiApp

HINTS: tuple[Hint, ...] = (
    ("q", "leave", "leave"),
    ("?", "help", "app.help"),
    ("enter", "open", "open"),
    ("r", "new run", "new_run"),
    ("/", "filter", "filter"),
    ("o", "sort", "sort(1)"),
    ("e", "rename", "rename"),
    ("#", "tags", "tag"),
    ("n", "note", "note"),
    ("d", "delete", "delete"),
    ("m", "mark", "mark"),
    ("c", "compare", "compare"),
    ("v", "summary", "toggle_card"),
    ("R", "report", "report"),
    ("x", "export", "export"),
    ("y", "copy", "copy"),
    ("t", "theme", "app.next_theme"),
    ("ctrl+p", "commands", "app.command_palette"),
)

EMPTY: tuple[Row, ...] = (
    (("No sessions yet.", "strong"),),
    (),
    (
        ("Press ", "muted"),
        ("r", "key"),
        (" to start a run; the embedded model needs no preparation.", "muted"),
    ),
    (("In a shell, ", "muted"), ("spectui run", "text"), (" runs every bundled prompt.", "muted")),
)

FILTER_HINT = "name, model, task, #tag, status, >2026-11-01, task:code, -word"

MOST_COMPARED = 4

LOW, SHORT = 34, 18
"""Rows of the terminal below which the summary is small, and below which it stands in the list's place."""


class SessionsFed(Message):
    """The feed has read something."""

    def __init__(self, payload: tuple[object, ...]) -> None:
        super().__init__()
        self.payload = payload


class FilterInput(SteadyInput):
    """Typing filters; the arrows move the cursor of the list meanwhile."""

    BINDINGS = [  # noqa: RUF012
        Binding("up", "screen.move(-1)", show=False),
        Binding("down", "screen.move(1)", show=False),
    ]


class SessionsScreen(Screen[None]):
    """The list; enter opens a session, r starts one."""

    app: SpectuiApp
    CSS_PATH = "sessions.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("r", "new_run", "Start a run"),
        Binding("enter", "open", "Open the session", show=False),
        Binding("slash", "filter", "Filter the sessions"),
        Binding("o", "sort(1)", "Sort by the next column"),
        Binding("O", "sort(-1)", "Sort by the column before"),
        Binding("i", "reverse", "Turn the order round"),
        Binding("e", "rename", "Rename the session"),
        Binding("number_sign", "tag", "Tag the session"),
        Binding("n", "note", "Write a note about the session"),
        Binding("d", "delete", "Delete the session"),
        Binding("u", "undo", "Bring back what was deleted last"),
        Binding("v", "toggle_card", "Show or hide the summary"),
        Binding("m", "mark", "Mark the session, or unmark it"),
        Binding("c", "compare", "Compare the marked sessions"),
        Binding("R", "report", "Report on acceptance"),
        Binding("x", "export", "Export the session"),
        Binding("A", "advise", "Which tree pays for which task"),
        Binding("y", "copy", "Copy the summary"),
        Binding("q", "leave", "Leave"),
        Binding("escape", "all", "Show all sessions", show=False),
    ]

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.database = database
        self.sessions: tuple[SessionSummary, ...] = ()
        self.card: Card | None = None
        self._feed = SessionsFeed(database, lambda payload: self.post_message(SessionsFed(payload)))  # type: ignore[arg-type]
        self._filter = Filter()
        self._entries: dict[int, tuple[SessionSummary, Entry]] = {}
        self._card_wanted: bool | None = None
        self.marked: dict[int, str] = {}
        """Sessions to be compared, id -> name, in the order they were marked."""

    def compose(self) -> ComposeResult:
        """Header, filter, list or what to do without one, summary, notice, keys."""
        yield Line(id="head")
        with Horizontal(id="filter"):
            yield Label("/ ", markup=False)
            yield FilterInput(placeholder=FILTER_HINT, id="filter-text")
        with Vertical(id="list"):
            yield Table(session_columns(self.marked), lambda row: row.id, id="list-view")
            yield Rows(id="none")
        yield Rows(id="empty")
        with Vertical(id="card"):
            yield SessionCard(id="card-view")
        yield Line(id="notice")
        yield KeyBar(HINTS, id="keys")

    def on_mount(self) -> None:
        """Start reading."""
        self.table: Table[SessionSummary] = self.query_one("#list-view", Table)
        self.table.sort_by("#")
        self.query_one("#empty", Rows).set_rows(EMPTY)
        place = sanitize_line(str(self.database).replace(str(Path.home()), "~", 1))
        self.query_one("#head", Line).set_rows([((" spectui  ", "accent"), (place, "muted"))])
        self.table.focus()
        self._draw_titles()
        self._feed.start()

    def on_unmount(self) -> None:
        """Stop reading."""
        self._feed.stop()

    def on_screen_suspend(self) -> None:
        """Another screen covers this one."""
        self._feed.pause(True)

    def on_screen_resume(self) -> None:
        """In sight again."""
        self._feed.pause(False)

    def on_resize(self, event: events.Resize) -> None:
        """Give the summary what the terminal has room for."""
        self.set_class(event.size.height < LOW, "-low")
        self.set_class(event.size.height < SHORT, "-short")
        self._fit_card()

    # What the feed has read.

    def on_sessions_fed(self, message: SessionsFed) -> None:
        """Show what was read."""
        try:
            trouble = ""
            for item in message.payload:
                if isinstance(item, Sessions):
                    self.sessions = item.rows
                    self._show_sessions()
                elif isinstance(item, Card):
                    self._show_card(item)
                elif isinstance(item, Trouble):
                    trouble = item.message
            self.query_one("#notice", Line).set_rows([((f" ! {sanitize_line(trouble)}", "warning"),)])
            self.set_class(bool(trouble), "-notice")
        finally:
            self._feed.taken()

    def _show_sessions(self) -> None:
        """The sessions that the filter finds, without those to be deleted."""
        rows = [row for row in self.sessions if row.id not in self.app.doomed]
        found = [row for row in rows if self._filter.matches(self._entry(row))] if self._filter else rows
        self.table.show(found)
        self.set_class(not rows, "-empty")
        self.set_class(bool(rows) and not found, "-none")
        if rows and not found:
            self.query_one("#none", Rows).set_rows([_nothing_found(len(rows))])
        self._draw_titles()

    def _entry(self, row: SessionSummary) -> Entry:
        """What there is to find a session by; made once, the feed keeps rows that have not changed."""
        known = self._entries.get(row.id)
        if known is None or known[0] is not row:
            known = self._entries[row.id] = (row, entry_of(row))
        return known[1]

    def _show_card(self, card: Card | None) -> None:
        self.card = card
        self.query_one(SessionCard).show(card)
        title = fit(sanitize_line(card.summary.name), 60).rstrip() if card else ""
        set_title(self.query_one("#card"), title)

    def _draw_titles(self) -> None:
        """How many are shown, in what order, and what of the filter was not understood."""
        pane = self.query_one("#list")
        every = len(self.sessions) - len(self.app.doomed.keys() & {row.id for row in self.sessions})
        shown = len(self.table.items)
        number = f"{count(shown)} of {count(every)}" if self._filter else count(every)
        title = f"sessions {number} · by {self.table.order}"
        marked = f"{len(self.marked)} marked, c compares" if self.marked else ""
        subtitle = self._filter.problem or marked or "α match rate  τ tokens per round"
        for name, text in (("border_title", title), ("border_subtitle", subtitle)):
            if getattr(pane, name) != text:
                setattr(pane, name, text)

    # Finding.

    def action_filter(self) -> None:
        """Type what to look for."""
        self.add_class("-filtering")
        self.query_one("#filter-text").focus()

    @on(Input.Changed, "#filter-text")
    def _filter_typed(self, message: Input.Changed) -> None:
        self._filter = parse(message.value)
        self._show_sessions()

    @on(Input.Submitted, "#filter-text")
    def _filter_kept(self, message: Input.Submitted) -> None:
        self.table.focus()
        if not message.value.strip():
            self.action_all()

    def action_all(self) -> None:
        """Forget the filter; where the summary stands in the list's place, put the list back."""
        if self.has_class("-short"):
            self._card_wanted = None
            self._fit_card()
        self.query_one("#filter-text", Input).value = ""
        self.remove_class("-filtering")
        self.table.focus()

    def action_move(self, rows: int) -> None:
        """Move the cursor of the list."""
        self.table.action_move(rows)

    def action_sort(self, step: int) -> None:
        """Sort by the column after this one, or before it."""
        self.table.action_sort(step)

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.table.action_reverse()

    @on(Table.Sorted)
    def _table_sorted(self) -> None:
        self._draw_titles()

    # One session.

    @on(Table.Moved)
    def _cursor_moved(self, message: Table.Moved) -> None:
        if message.key is None:
            self._show_card(None)
        self._feed.look_at(message.key)

    @on(Table.Chosen)
    def _session_chosen(self, message: Table.Chosen) -> None:
        self.app.open_session(message.key)

    def action_open(self) -> None:
        """Open the session under the cursor."""
        self.table.action_choose()

    def action_advise(self) -> None:
        """Weigh trees on the session."""
        if self.table.cursor_item is not None:
            self.app.open_advice(self.table.cursor_item.id)

    def action_report(self) -> None:
        """Open the report of the session."""
        if self.table.cursor_item is not None:
            self.app.open_report(self.table.cursor_item.id)

    def action_export(self) -> None:
        """Write the session to files."""
        from tui.screens.export import ExportScreen

        if self.table.cursor_item is None:
            return
        screen = ExportScreen(self.database, self.table.cursor_item)

        def answered(written: bool | None) -> None:
            if written and screen.exported is not None:
                rows = sum(screen.exported.rows.values())
                first = screen.exported.paths[0]
                place = first if len(screen.exported.paths) == 1 else first.parent
                self._tell(f"Wrote {count(rows)} rows to {place}.")

        self.app.push_screen(screen, answered)

    def action_toggle_card(self) -> None:
        """Show the summary, or hide it."""
        self._card_wanted = not self._card_shown
        self._fit_card()
        alone = self._card_shown and self.has_class("-short")
        (self.query_one(SessionCard) if alone else self.table).focus()

    @property
    def _card_shown(self) -> bool:
        return not self.has_class("-short") if self._card_wanted is None else self._card_wanted

    def _fit_card(self) -> None:
        self.set_class(self._card_shown, "-card")

    def action_rename(self) -> None:
        """Give the session another name."""
        self._ask("rename", editing.rename, lambda row: row.name, "A name is unique, and no number.")

    def action_tag(self) -> None:
        """Give the session tags."""
        self._ask(
            "tags", editing.tag, lambda row: " ".join(row.tags), "Words, such as: study gpu. / finds #study."
        )

    def action_note(self) -> None:
        """Write a note about the session."""
        self._ask("note", editing.note, lambda row: row.notes, "What to remember about it. / finds it too.")

    def _ask(
        self, what: str, save: editing.Edit, present: Callable[[SessionSummary], str], hint: str
    ) -> None:
        row = self.table.cursor_item
        if row is None:
            return

        def answered(saved: bool | None) -> None:
            if saved:
                self._feed.ask()

        title = f"{what} · {fit(sanitize_line(row.name), 40).rstrip()}"
        self.app.push_screen(
            AskScreen(title, present(row), hint, partial(save, self.database, row.id)), answered
        )

    def action_mark(self) -> None:
        """Mark the session for a comparison, or take its mark away."""
        row = self.table.cursor_item
        if row is None:
            return
        if self.marked.pop(row.id, None) is None:
            if len(self.marked) == MOST_COMPARED:
                self._tell(f"{MOST_COMPARED} sessions are marked; c compares them, m on one unmarks it.")
                return
            self.marked[row.id] = row.name
        self.table.show(self.table.items)
        self._draw_titles()

    def action_compare(self) -> None:
        """Open the marked sessions beside each other."""
        here = {row.id for row in self.sessions} - self.app.doomed.keys()
        chosen = {number: name for number, name in self.marked.items() if number in here}
        if len(chosen) < 2:
            self._tell("Mark two to four sessions with m, then c compares them.")
            return
        from tui.screens.compare import CompareScreen

        self.app.push_screen(CompareScreen(self.database, chosen))

    def action_delete(self) -> None:
        """Delete the session, once that is confirmed."""
        row = self.table.cursor_item
        if row is None:
            return
        if row.live:
            self._tell(f"{row.name} is {row.status}: open it and stop it first (q, Stop run).")
            return

        def answered(delete: bool | None) -> None:
            if delete:
                self.app.doomed[row.id] = row.name
                self._show_sessions()

        self.app.push_screen(DeleteScreen(row), answered)

    def action_undo(self) -> None:
        """Bring back the session that was deleted last."""
        if not self.app.doomed:
            self._tell("Nothing was deleted since the dashboard was opened.")
            return
        session_id, name = self.app.doomed.popitem()
        self._show_sessions()
        self.table.select(session_id)
        self._tell(f"{name} is back.")

    def action_copy(self) -> None:
        """Copy the summary of the session."""
        if self.card is not None:
            self._tell(copy(self.app, card_text(self.card)))

    def _tell(self, words: str) -> None:
        self.notify(sanitize_line(words), timeout=4, markup=False)

    def action_new_run(self) -> None:
        """Open the form for a new run."""
        self.app.new_run()

    def action_leave(self) -> None:
        """Leave the dashboard."""
        self.app.leave([row for row in self.sessions if row.live])


def _nothing_found(of: int) -> Row:
    cells: list[Cell] = [
        (f"None of {count(of)} sessions is like that. ", "text"),
        ("esc", "key"),
        (" shows all.", "muted"),
    ]
    return tuple(cells)
