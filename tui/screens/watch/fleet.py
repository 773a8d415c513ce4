"""All watched servers: a row each, the answer for the one under the cursor, and the events of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.server import View
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.watch.base import WatchScreen
from spectui.tui.terminal.cells import fitting
from spectui.tui.watching import panes
from spectui.tui.watching.fleet import FleetRow, fleet_columns, fleet_rows, foot_words
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Line, Row, Rows, set_title
from spectui.tui.widgets.table import Table

NARROW, LOW = 100, 28


class FleetScreen(WatchScreen):
    """The table of servers."""

    BINDINGS = bindings("fleet")
    AUTO_FOCUS = "Table"

    def __init__(self, database: Path, fleet: Fleet) -> None:
        super().__init__(database, fleet)
        self._alert_order = True

    def compose(self) -> ComposeResult:
        """Header, table, two panes about the server under the cursor, events, status, keys."""
        yield Line(id="head")
        with Vertical(id="fleet-body"):
            with Vertical(id="servers", classes="pane"):
                yield Table[FleetRow](fleet_columns(), lambda row: row.place, id="servers-view")
            with Horizontal(id="below"):
                for name in ("pay", "positions"):
                    with Vertical(id=name, classes="pane"):
                        yield Rows(id=f"{name}-rows")
            with Vertical(id="events", classes="pane"):
                yield Rows(id="events-rows")
        yield Line(id="status")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Name the panes."""
        self.query_one("#servers").border_title = "servers"
        self.query_one("#pay").border_title = "does it pay?"
        self.query_one("#positions").border_title = "by position"
        self.query_one("#events").border_title = "events of all"
        self.table: Table[FleetRow] = self.query_one("#servers-view", Table)
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        """Choose the layout for the terminal's size."""
        self.call_after_refresh(self._arrange)

    def _arrange(self) -> None:
        width, height = self.size
        self.set_class(width < NARROW or height < LOW, "-narrow")
        self.set_class(height < 18, "-short")
        rows = min(max(len(self.fleet.servers), 1) + 3, max(height - 18, 4))
        self.query_one("#servers").styles.height = rows if height >= LOW and width >= NARROW else "1fr"
        self._feed.show(self._feed.window, 12)
        self.call_after_refresh(self.draw)

    def draw_views(self) -> None:
        """Draw the table and what is below it."""
        self.table.show(fleet_rows(self.views, by_alert=not self.table.order))
        order = self.table.order or "by alert"
        set_title(self.query_one("#servers"), f"servers {len(self.views)} · {order}")
        view = self.view
        if view is not None:
            set_title(self.query_one("#pay"), f"{view.name} · does it pay?")
            self._draw_pane("pay", view, lambda width, _: panes.pay_rows(view, width))
            self._draw_pane("positions", view, lambda width, height: panes.position_rows(view, width, height))
        log = self.query_one("#events-rows", Rows)
        if log.room and log.size.height:
            happened = sorted(
                ((event, each.name) for each in self.views for event in each.events),
                key=lambda pair: -pair[0].at,
            )
            log.set_rows(
                [panes.event_row(event, name, log.room) for event, name in happened[: log.size.height]]
            )
        self._draw_head()
        first, second = foot_words(self.views, None if self.past else self.at, self.recording_words())
        width = max(self.size.width - 4, 8)
        held = ["picture held"] if self.held else []
        self.query_one("#status", Line).set_rows(
            [
                (
                    (" ■ ", "muted") if self.past else (" ● ", "good"),
                    (fitting([*held, *first], width, "   "), "text"),
                ),
                ((f"   {fitting(second, width, '  │ ')}", "text"),),
            ]
        )

    def _draw_pane(self, name: str, view: View, rows_for: Callable[[int, int], list[Row]]) -> None:
        pane = self.query_one(f"#{name}-rows", Rows)
        if pane.room and pane.size.height:
            rows = rows_for(pane.room, pane.size.height)
            pane.set_rows(rows if view.answers else panes.dimmed(rows))

    @property
    def view(self) -> View | None:
        """The server under the cursor."""
        row = self.table.cursor_item
        return row.view if row is not None else None

    def _draw_head(self) -> None:
        states = [view.state for view in self.views]
        speculate = sum(bool(view.answers and view.sample and view.sample.speculative) for view in self.views)
        parts = [f"{speculate} speculate"]
        if plain := states.count("plain"):
            parts.append(f"{plain} plain")
        if silent := states.count("silent") + states.count("foreign"):
            parts.append(f"{silent} silent")
        if mixed := states.count("mixed"):
            parts.append(f"{mixed} mixed")
        alerts = sum(len(view.alerts) for view in self.views)
        name = "recorded" if self.recorded else "watch"
        words = [f"{name} · {len(self.views)} servers", " · ".join(parts)]
        if alerts:
            words.append(f"{alerts} alert{'s' if alerts > 1 else ''}")
        self.set_head((fitting(words, max(self.size.width - 12, 8), "   "), "strong"))

    @on(Table.Moved)
    def _moved(self) -> None:
        self.draw()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        if self.view is not None:
            self.app.go("watched", self.fleet, self.view.url)

    def action_open(self) -> None:
        """Open the server under the cursor."""
        self.table.action_choose()

    def action_sort(self, step: int) -> None:
        """Sort by the column after this one, or before it."""
        self.table.action_sort(step)
        self.draw()

    def action_reverse(self) -> None:
        """Reverse the order."""
        self.table.action_reverse()
        self.draw()

    def action_plain(self) -> None:
        """Hold the server under the cursor against another plain one."""
        if self.view is not None:
            self.choose_plain(self.view.url)

    def action_back(self) -> None:
        """Go to the list of sessions."""
        self.app.go_home()
