"""Home: every session of the database, whatever became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen

from store.rows import SessionSummary
from tui.cells import NOTHING, number, share, short_count
from tui.feed import Sessions, SessionsFeed, Trouble
from tui.progress import ago
from tui.textsafe import sanitize_line
from tui.widgets.key_bar import Hint, KeyBar
from tui.widgets.rows import Cell, Line, Row, Rows
from tui.widgets.status import SYMBOLS
from tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tui.app import SpectuiApp

HINTS: tuple[Hint, ...] = (
    ("q", "leave", "leave"),
    ("?", "help", "app.help"),
    ("enter", "open", "open"),
    ("r", "new run", "new_run"),
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


class SessionsFed(Message):
    """The feed has read something."""

    def __init__(self, payload: tuple[object, ...]) -> None:
        super().__init__()
        self.payload = payload


class SessionsScreen(Screen[None]):
    """The list; enter opens a session, r starts one."""

    app: SpectuiApp
    CSS_PATH = "sessions.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("r", "new_run", "Start a run"),
        Binding("enter", "open", "Open the session", show=False),
        Binding("q", "leave", "Leave"),
    ]

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.database = database
        self.sessions: tuple[SessionSummary, ...] = ()
        self._feed = SessionsFeed(database, lambda payload: self.post_message(SessionsFed(payload)))  # type: ignore[arg-type]

    def compose(self) -> ComposeResult:
        """Header, list or what to do without one, notice, keys."""
        yield Line(id="head")
        with Vertical(id="list"):
            yield Table(_columns(), lambda row: row.id, id="list-view")
        yield Rows(id="empty")
        yield Line(id="notice")
        yield KeyBar(HINTS, id="keys")

    def on_mount(self) -> None:
        """Start reading."""
        self.table: Table[SessionSummary] = self.query_one("#list-view", Table)
        self.query_one("#list").border_title = "sessions"
        self.query_one("#list").border_subtitle = "α match rate  τ tokens per round"
        self.query_one("#empty", Rows).set_rows(EMPTY)
        place = sanitize_line(str(self.database).replace(str(Path.home()), "~", 1))
        self.query_one("#head", Line).set_rows([((" spectui  ", "accent"), (place, "muted"))])
        self.table.focus()
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

    def on_sessions_fed(self, message: SessionsFed) -> None:
        """Show what was read."""
        try:
            trouble = ""
            for item in message.payload:
                if isinstance(item, Sessions):
                    self.sessions = item.rows
                    self.table.show(item.rows)
                    self.set_class(not item.rows, "-empty")
                elif isinstance(item, Trouble):
                    trouble = item.message
            self.query_one("#notice", Line).set_rows([((f" ! {sanitize_line(trouble)}", "warning"),)])
            self.set_class(bool(trouble), "-notice")
        finally:
            self._feed.taken()

    @on(Table.Chosen)
    def _session_chosen(self, message: Table.Chosen) -> None:
        self.app.open_session(message.key)

    def action_open(self) -> None:
        """Open the session under the cursor."""
        self.table.action_choose()

    def action_new_run(self) -> None:
        """Open the form for a new run."""
        self.app.new_run()

    def action_leave(self) -> None:
        """Leave the dashboard."""
        self.app.leave([row for row in self.sessions if row.live])


def _status(row: SessionSummary) -> Cell:
    sign, role = SYMBOLS.get(row.status, ("?", "muted"))
    return f"{sign} {row.status}", role


def _started(row: SessionSummary) -> Cell:
    return ago(row.started_at or row.created_at) or NOTHING, "muted"


def _tasks(row: SessionSummary) -> Cell:
    return " ".join(f"{sanitize_line(task)} {n}" for task, n in row.tasks.items()), "muted"


def _columns() -> list[Column[SessionSummary]]:
    return [
        Column("#", lambda row: (str(row.id), "muted"), 3, "right", keep=9),
        Column("session", lambda row: (sanitize_line(row.name), "strong"), 14),
        Column("status", _status, 13),
        Column("prompts", lambda row: (f"{row.prompts_done}/{row.prompt_count}", "text"), 7, "right", keep=4),
        Column("tok", lambda row: (short_count(row.tokens), "text"), 5, "right", keep=3),
        Column("α", lambda row: (share(row.match_rate), "text"), 3, "right", keep=1),
        Column("τ", lambda row: (number(row.tokens_per_round), "text"), 4, "right", keep=1),
        Column("started", _started, 12, keep=2),
        Column("target", lambda row: (sanitize_line(row.target), "text"), 17, keep=5),
        Column("drafter", lambda row: (sanitize_line(row.drafter), "text"), 9, keep=7),
        Column("tasks", _tasks, 11, keep=8, grows=True),
    ]
