"""One watched server: does it pay, by position, over time, what it is at, what has happened."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.server import View
from spectui.tui.navigation import DESTINATIONS
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.watch.base import WatchScreen
from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.watching import panes
from spectui.tui.watching.figures import figure_lines, figure_rows
from spectui.tui.watching.words import basis, server_words
from spectui.tui.widgets.gpu_panel import GpuPanel
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Cell, Line, Row, Rows, row_width, set_title

NARROW, LOW, TINY_COLUMNS, TINY_ROWS = 100, 28, 60, 18
"""Columns and rows below which fewer panes fit, and below which one is shown at a time."""
PANES = ("pay", "positions", "course", "serving", "events", "figures")
"""By the digit that shows it alone, from 1."""
ALL = (*PANES, "lengths", "unseen")


class WatchedScreen(WatchScreen):
    """One server of a fleet."""

    BINDINGS = bindings("watched")

    def __init__(self, database: Path, fleet: Fleet, url: str = "") -> None:
        super().__init__(database, fleet)
        self.url = url
        self._pane = 0
        """The pane that is shown alone, from 1; 0: as many as fit."""

    def compose(self) -> ComposeResult:
        """Header, panes, GPUs, status, keys."""
        yield Line(id="head")
        with Container(id="body"):
            for name in ("pay", "positions", "course", "serving", "lengths", "events", "unseen", "figures"):
                with Vertical(id=name, classes="pane"):
                    yield Rows(id=f"{name}-rows")
        yield GpuPanel(id="gpus")
        yield Line(id="status")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Name the panes."""
        for name, title in (
            ("pay", "does it pay?"),
            ("positions", "accepted by position"),
            ("course", "over time"),
            ("serving", "serving"),
            ("lengths", "accepted length"),
            ("events", "events"),
            ("unseen", "not to be seen from here"),
            ("figures", "figures and where they come from"),
        ):
            self.query_one(f"#{name}").border_title = title
        self.query_one("#positions").border_subtitle = "of all: as vLLM prints it"
        self.query_one("#lengths").border_subtitle = "n rounds  E mean"
        self.query_one("#pay-rows", Rows).set_rows([(("asking …", "muted"),)])
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        """Choose the layout for the terminal's size."""
        self.call_after_refresh(self._arrange)

    @property
    def view(self) -> View | None:
        """The server that is shown."""
        return next(
            (view for view in self.views if view.url == self.url), self.views[0] if self.views else None
        )

    def draw_views(self) -> None:
        """Draw every pane in sight."""
        view = self.view
        assert view is not None
        self.url = view.url
        self._draw_head(view)
        for name in ALL:
            rows_view = self.query_one(f"#{name}-rows", Rows)
            width, height = rows_view.room, rows_view.size.height
            if not width or not height:
                continue
            rows = self._rows_of(name, view, width, height)
            if not view.answers and name not in ("events", "unseen"):
                rows = panes.dimmed(rows)
            rows_view.set_rows(rows)
        set_title(self.query_one("#course"), panes.span_words(view.course))
        set_title(self.query_one("#pay"), f"does it pay? · {basis(view)}" if basis(view) else "does it pay?")
        self.query_one(GpuPanel).show_gpus(self.gpus if self.gpus and _is_local(view.url) else ())
        status = self.query_one("#status", Line)
        words = "picture held" if self.held else self.recording_words(view.url)
        if self.past:
            state = panes.past_cells(view, self.size.width, words)
        else:
            state = panes.state_cells(view, max(self.at - (view.at or self.at), 0.0), self.size.width, words)
        live = panes.live_cells(view, self.size.width)
        status.set_rows([state, live if view.answers else panes.dimmed([live])[0]])

    def _rows_of(self, name: str, view: View, width: int, height: int) -> list[Row]:
        if name == "pay":
            return panes.pay_rows(view, width)
        if name == "positions":
            rows = panes.position_rows(view, width, height)
            spare = height - len(rows) - 1
            if self._pane == PANES.index("positions") + 1 and spare > 3:
                rows += [(), *panes.length_rows(view, width, spare)]
            return rows
        if name == "course":
            return panes.course_rows(view, width)
        if name == "serving":
            rows = panes.serving_rows(view, width)
            if self._pane == PANES.index("serving") + 1:
                rows += [(), (("Not to be seen from here:", "muted"),), *panes.unseen_rows(view, width)]
            return rows
        if name == "lengths":
            return panes.length_rows(view, width, height)
        if name == "events":
            return panes.event_rows(view, width, height)
        if name == "unseen":
            return panes.unseen_rows(view, width)
        return figure_rows(view, width)

    def _draw_head(self, view: View) -> None:
        left: list[Cell] = [
            (" spectui  ", "accent"),
            ("recorded · " if self.recorded else "watch · ", "muted"),
            (sanitize_line(view.name), "strong"),
        ]
        facts = [sanitize_line(part) for part in server_words(view)]
        while facts and row_width(tuple(left)) + len(" · ".join(facts)) + 3 > self.size.width:
            facts.pop()
        right = f"{' · '.join(facts)} " if facts else ""
        gap = self.size.width - row_width(tuple(left)) - len(right)
        self.query_one("#head", Line).set_rows([(*left, (fit("", max(gap, 0)), "text"), (right, "muted"))])

    # Panes.

    def _arrange(self) -> None:
        width, height = self.size
        tiny = width < TINY_COLUMNS or height < TINY_ROWS
        alone = self._pane or (1 if tiny else 0)
        self.set_class(bool(alone), "-alone")
        self.set_class(not alone and (width < NARROW or height < LOW), "-narrow")
        for place, name in enumerate(PANES, start=1):
            self.query_one(f"#{name}").set_class(place == alone, "-shown")
        self.set_class(height < 12, "-short")
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        for rows in self.query("#course-rows").results(Rows):  # none once the screen has been left
            self._feed.show(self._feed.window, panes.course_columns(rows.room))
            self.draw()

    def action_pane(self, pane: int) -> None:
        """Show a pane alone, then all again."""
        self._pane = 0 if pane == self._pane else pane
        self._arrange()
        if self._pane:
            self.query_one(f"#{PANES[pane - 1]}-rows").focus()

    def action_step_server(self, step: int) -> None:
        """Show the server before this one, or after it."""
        if self.views:
            urls = [view.url for view in self.views]
            place = urls.index(self.url) if self.url in urls else 0
            self.url = urls[(place + step) % len(urls)]
            self.draw()

    def action_plain(self) -> None:
        """Hold it against another plain server."""
        self.choose_plain(self.url)

    def action_drive(self) -> None:
        """Say how our prompts are driven through it by task."""
        self.inform(f"Our prompts by task through it: spectui run --server {self.url}", 8)

    def action_copy(self) -> None:
        """Copy the figures with their counters."""
        if self.view is not None:
            self.copy_text("\n".join(figure_lines(self.view)))

    def action_back(self) -> None:
        """Show all panes again where one is alone, else the fleet, else the list of sessions."""
        if self._pane:
            self.action_pane(self._pane)
        elif len(self.fleet.servers) < 2:
            self.app.go_home()
        elif any(isinstance(screen, WatchScreen) for screen in self.app.screen_stack[:-1]):
            super().action_back()
        else:
            self.app.switch_screen(DESTINATIONS["fleet"].load()(self.database, self.fleet))


def _is_local(url: str) -> bool:
    from spectui.servers.address import is_local  # HTTP, which a recording is shown without

    return is_local(url)
