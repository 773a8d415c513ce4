"""The home screen: every session of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Label

from spectui.store.paths import expanded
from spectui.store.rows import SessionSummary
from spectui.store.sweeps.cells import Sweep
from spectui.tui.feeds.sessions import SessionsFeed
from spectui.tui.memory import FALLING, SORTED_BY, SUMMARY
from spectui.tui.model.session_filter import Entry, Filter, entry_of, parse
from spectui.tui.model.state import Card, Sessions
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.screens.sessions.actions import SessionActions
from spectui.tui.screens.sessions.columns import session_columns
from spectui.tui.terminal.cells import count, fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.inputs import SteadyInput
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Cell, Line, Row, Rows, set_title
from spectui.tui.widgets.session_card import SessionCard
from spectui.tui.widgets.table import Table

FILTER_HINT = "name, model, task, #tag, status, >2026-11-01, task:code, -word"

LOW, SHORT = 34, 18
"""Rows of the terminal below which the summary is small, and below which it stands in the list's place."""


class FilterInput(SteadyInput):
    """Typing filters; the arrows move the cursor of the list meanwhile."""

    BINDINGS = bindings("filter_input")


class SessionsScreen(SessionActions):
    """The list; enter opens a session, r starts one."""

    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "Table"  # not the filter, which is there unseen and would take what is typed
    BINDINGS = bindings("sessions")

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self._filter = Filter()
        self._entries: dict[int, tuple[SessionSummary, Entry]] = {}
        self._card_wanted: bool | None = None
        self._card_over = False
        """True while it stands in the place of the list, on a terminal too low for both."""
        self._unread = 0
        self._known = False
        self._sweep: Sweep | None = None

    def make_feed(self, post: Callable[[object], None]) -> SessionsFeed:
        """A feed of the list, and of more about the session under the cursor."""
        return SessionsFeed(self.database, post)

    def compose(self) -> ComposeResult:
        """Header, filter, list or the page of an empty database, summary, notice, keys."""
        yield Line(id="head")
        with Horizontal(id="filter"):
            yield Label("/ ", markup=False)
            yield FilterInput(placeholder=FILTER_HINT, id="filter-text")
        with Vertical(id="list", classes="pane"):
            yield Table(session_columns(self.marked), lambda row: row.id, id="list-view")
            yield Rows(id="none")
        yield Rows(id="empty")
        with Vertical(id="card", classes="pane"):
            yield SessionCard(id="card-view")
        yield Line(id="notice")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Show the database, and the list as it looked last."""
        self.table: Table[SessionSummary] = self.query_one("#list-view", Table)
        memory = self.app.memory
        by = memory.get(SORTED_BY, str, "#")
        if not self.table.sort_by(by, falling=memory.get(FALLING, bool, None)):
            self.table.sort_by("#")
        self._card_wanted = memory.get(SUMMARY, bool, None)
        self.query_one("#empty", Rows).set_rows(_empty(key_for(self, "new_run")))
        home = str(expanded("~"))  # "~" itself where there is none
        place = sanitize_line(str(self.database).replace(home, "~", 1))
        self.set_head((place, "muted"))
        self.table.focus()
        self.draw_titles()

    def on_resize(self, event: events.Resize) -> None:
        """Give the summary what the terminal has room for."""
        self.set_class(event.size.height < LOW, "-low")
        self.set_class(event.size.height < SHORT, "-short")
        self._fit_card()

    # What the feed has read.

    def take(self, item: object) -> None:
        """Show the list, or more about the session under the cursor."""
        if isinstance(item, Sessions):
            if item.unread and self.table.sorting != ("#", True):
                return  # in another order the first are among those that follow
            self.sessions, self._unread, self._known = item.rows, item.unread, True
            self._sweep = item.sweep
            self.show_sessions()
        elif isinstance(item, Card):
            self._show_card(item)

    def draw(self) -> None:
        """Show why the database could not be read."""
        self.query_one("#notice", Line).set_rows([((f" ! {self.trouble}", "warning"),)])
        self.set_class(bool(self.trouble), "-notice")

    def show_sessions(self) -> None:
        """The sessions that the filter finds, without those to be deleted."""
        rows = [row for row in self.sessions if row.id not in self.app.to_delete]
        passing = [row for row in rows if self._filter.matches(self._entry(row))] if self._filter else rows
        self.table.show(passing)
        self.set_class(not rows, "-empty")
        self.set_class(bool(rows) and not passing, "-none")
        if rows and not passing:
            self.query_one("#none", Rows).set_rows([_nothing_found(len(rows), key_for(self, "all"))])
        self.draw_titles()

    def _entry(self, row: SessionSummary) -> Entry:
        """The words a session is filtered by; made once, as the feed keeps rows that have not changed."""
        known = self._entries.get(row.id)
        if known is None or known[0] is not row:
            known = self._entries[row.id] = (row, entry_of(row))
        return known[1]

    def _show_card(self, card: Card | None) -> None:
        self.card = card
        self.query_one(SessionCard).show(card)
        title = fit(sanitize_line(card.summary.name), 60).rstrip() if card else ""
        set_title(self.query_one("#card"), title)

    def draw_titles(self) -> None:
        """Write the titles: how many are shown, in what order, and what of the filter was not understood."""
        pane = self.query_one("#list")
        every = (
            len(self.sessions)
            - len(self.app.to_delete.keys() & {row.id for row in self.sessions})
            + self._unread
        )
        shown = len(self.table.items)
        number = f"{count(shown)} of {count(every)}" if self._filter else count(every)
        title = f"sessions {number} · by {self.table.order}" if self._known else "sessions · loading…"
        if self._sweep is not None:
            title += f" · {sanitize_line(self._sweep.words)}"
        chosen = len(self.comparable())
        marked = (
            f"{chosen} marked" + (f", {key_for(self, 'compare')} compares" if chosen > 1 else "")
            if chosen
            else ""
        )
        subtitle = self._filter.problem or marked or "α match rate  τ tokens per round"
        set_title(pane, title)
        if pane.border_subtitle != subtitle:
            pane.border_subtitle = subtitle

    # Finding.

    def action_filter(self) -> None:
        """Go to the filter."""
        self.query_one("#filter").display = True
        self.set_focus(self.query_one("#filter-text"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The filter may hold the character that opens it."""
        return action != "filter" or not isinstance(self.focused, FilterInput)

    @on(Input.Changed, "#filter-text")
    def _filter_typed(self, message: Input.Changed) -> None:
        self._filter = parse(message.value)
        self.show_sessions()

    @on(Input.Submitted, "#filter-text")
    def _filter_kept(self, message: Input.Submitted) -> None:
        self.table.focus()
        if not message.value.strip():
            self.action_all()

    def action_all(self) -> None:
        """Forget the filter; where the summary stands in the list's place, put the list back."""
        if self.has_class("-short"):
            self._card_over = False
            self._fit_card()
        self.query_one("#filter-text", Input).value = ""
        self.query_one("#filter").display = False
        self.table.focus()

    def action_move(self, rows: int) -> None:
        """Move the cursor of the list."""
        self.table.action_move(rows)

    def action_sort(self, step: int) -> None:
        """Sort by the column after this one, or before it."""
        self.table.action_sort(step)

    def action_reverse(self) -> None:
        """Reverse the order."""
        self.table.action_reverse()

    @on(Table.Sorted)
    def _table_sorted(self) -> None:
        title, falling = self.table.sorting
        self.app.memory.remember(SORTED_BY, title)
        self.app.memory.remember(FALLING, falling)
        self.draw_titles()

    # One session.

    @on(Table.Moved)
    def _cursor_moved(self, message: Table.Moved) -> None:
        if message.key is None:
            self._show_card(None)
        self._feed.look_at(message.key)

    @on(Table.Chosen)
    def _session_chosen(self, message: Table.Chosen) -> None:
        chosen = next((row for row in self.table.items if row.id == message.key), None)
        if chosen is not None:
            self.app.open_session(chosen.id, chosen.source)

    def action_open(self) -> None:
        """Open the session under the cursor."""
        self.table.action_choose()

    def action_toggle_card(self) -> None:
        """Show the summary, or hide it."""
        if self.has_class("-short"):
            self._card_over = not self._card_over
        else:
            self._card_wanted = not self._card_shown
            self.app.memory.remember(SUMMARY, self._card_wanted)
        self._fit_card()
        alone = self._card_shown and self.has_class("-short")
        (self.query_one(SessionCard) if alone else self.table).focus()

    @property
    def _card_shown(self) -> bool:
        return self._card_over if self.has_class("-short") else self._card_wanted is not False

    def _fit_card(self) -> None:
        self.set_class(self._card_shown, "-card")

    def action_new_run(self) -> None:
        """Open the form for a new run; the session that it starts is shown."""

        def started(session_id: int | None) -> None:
            if session_id is not None:
                self.app.go("live", session_id)

        self.app.go("new_run", answer=started)

    def running(self) -> Iterable[SessionSummary | None]:
        """All of them."""
        return self.sessions


def _empty(key: str) -> list[Row]:
    """The page of an empty database; `key` starts a run."""
    start: Row = (
        ("Press ", "muted"),
        (key, "key"),
        (" to start a run; the embedded model needs no preparation.", "muted"),
    )
    shell: Row = (
        ("In a shell, ", "muted"),
        ("spectui run", "text"),
        (" runs every bundled prompt.", "muted"),
    )
    return [(("No sessions yet.", "strong"),), (), start, shell]


def _nothing_found(sessions: int, key: str) -> Row:
    cells: list[Cell] = [
        (f"None of {count(sessions)} sessions matches. ", "text"),
        (key, "key"),
        (" shows all.", "muted"),
    ]
    return tuple(cells)
