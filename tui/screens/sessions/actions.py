"""Actions on the session under the cursor of the list, and on those that are marked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from spectui.store.rows import SessionSummary
from spectui.store.sources import WATCH
from spectui.tui.feeds import writes
from spectui.tui.feeds.sessions import SessionsFeed
from spectui.tui.model.state import Card
from spectui.tui.navigation.keymap import key_for
from spectui.tui.screens.base import FedScreen
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.screens.dialogs.delete import DeleteScreen
from spectui.tui.terminal.cells import count, fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.session_card import card_text
from spectui.tui.widgets.table import Table

MOST_COMPARED = 4


class SessionActions(FedScreen):
    """The list of sessions, as far as it changes sessions or opens something about them."""

    _feed: SessionsFeed
    table: Table[SessionSummary]

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self.sessions: tuple[SessionSummary, ...] = ()
        self.card: Card | None = None
        self.marked: dict[int, str] = {}
        """Sessions to be compared, id -> name, in the order they were marked."""

    def show_sessions(self) -> None:
        """Show the list anew: one has gone, or come back."""
        raise NotImplementedError

    def draw_titles(self) -> None:
        """Write the titles: how many are shown, and how many are marked."""
        raise NotImplementedError

    def action_advise(self) -> None:
        """Weigh trees on the session."""
        row = self.table.cursor_item
        if row is not None and row.source == WATCH:
            self.inform("A watched server has no rounds of ours to weigh trees on.")
        elif row is not None:
            self.app.go("advise", row.id)

    def action_report(self) -> None:
        """Open the report of the session; a watched server is one page as it is."""
        row = self.table.cursor_item
        if row is not None and row.source == WATCH:
            self.app.open_session(row.id, row.source)
        elif row is not None:
            self.app.go("report", row.id)

    def action_export(self) -> None:
        """Write the session to files."""
        from spectui.tui.screens.dialogs.export import ExportScreen

        if self.table.cursor_item is None:
            return
        screen = ExportScreen(self.database, self.table.cursor_item)

        def answered(written: bool | None) -> None:
            if written and screen.exported is not None:
                rows = sum(screen.exported.rows.values())
                first = screen.exported.paths[0]
                place = first if len(screen.exported.paths) == 1 else first.parent
                self.inform(f"Wrote {count(rows)} rows to {place}.")

        self.app.push_screen(screen, answered)

    def action_rename(self) -> None:
        """Give the session another name."""
        self._ask("rename", writes.rename, lambda row: row.name, "A name must be unique, and not a number.")

    def action_tag(self) -> None:
        """Give the session tags."""
        hint = f"One word or more, such as: study gpu. {key_for(self, 'filter')} finds #study."
        self._ask("tags", writes.tag, lambda row: " ".join(row.tags), hint)

    def action_note(self) -> None:
        """Write a note about the session."""
        self._ask(
            "note",
            writes.note,
            lambda row: row.notes,
            f"Anything to remember about this session. {key_for(self, 'filter')} searches notes too.",
        )

    def _ask(self, what: str, save: writes.Edit, present: Callable[[SessionSummary], str], hint: str) -> None:
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
                mark, compare = key_for(self, "mark"), key_for(self, "compare")
                self.inform(f"{MOST_COMPARED} are marked; {compare} compares them, {mark} on one unmarks it.")
                return
            self.marked[row.id] = row.name
        self.table.show(self.table.items)
        self.draw_titles()

    def comparable(self) -> dict[int, str]:
        """The marked sessions, id -> name, but for those that were deleted since."""
        listed = {row.id for row in self.sessions} - self.app.to_delete.keys()
        return {number: name for number, name in self.marked.items() if number in listed}

    def action_compare(self) -> None:
        """Open the marked sessions beside each other."""
        chosen = self.comparable()
        if len(chosen) < 2:
            mark, compare = key_for(self, "mark"), key_for(self, "compare")
            self.inform(f"Mark two to four sessions with {mark}, then {compare} compares them.")
            return
        if any(row.source == WATCH for row in self.sessions if row.id in chosen):
            first, second = list(chosen)[:2]
            self.inform(f"Watched servers are compared by: spectui compare {first} {second}", 8)
            return
        self.app.go("compare", chosen)

    def action_delete(self) -> None:
        """Delete the session, once that is confirmed."""
        row = self.table.cursor_item
        if row is None:
            return
        if row.live:
            self.inform(
                f"{row.name} is {row.status}: open it and stop it first ({key_for(self, 'leave')}, Stop run)."
            )
            return

        def answered(delete: bool | None) -> None:
            if delete:
                self.app.to_delete[row.id] = row.name
                self.show_sessions()

        self.app.push_screen(DeleteScreen(row), answered)

    def action_undo(self) -> None:
        """Bring back the session that was deleted last."""
        if not self.app.to_delete:
            self.inform("No session was deleted since the dashboard was opened.")
            return
        session_id, name = self.app.to_delete.popitem()
        self.show_sessions()
        self.table.select(session_id)
        self.inform(f"{name} is back.")

    def action_copy(self) -> None:
        """Copy the summary of the session."""
        if self.card is not None:
            self.copy_text(card_text(self.card))
