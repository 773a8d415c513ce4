"""The replicas of a run at work, a row each: device, prompt, tokens per second, last sign of life; and their table."""

from __future__ import annotations

from collections.abc import Callable

from textual import events

from spectui.tui.model.replicas import ReplicaState, replica_states, words_of
from spectui.tui.model.state import RunState
from spectui.tui.terminal.cells import NOTHING, count, duration, fit, number, pad, rate, size
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.gpu_panel import MOST_ROWS, SHORT, TALL
from spectui.tui.widgets.rows import Cell, Line, Row, row_width
from spectui.tui.widgets.table import Column

NAME_WIDTH = 26


class ReplicaPanel(Line):
    """Shows the replicas that are at work; hidden where there are none."""

    DEFAULT_CSS = "ReplicaPanel { height: 0; display: none; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._states: list[ReplicaState] = []
        self._height = 0

    def show(self, state: RunState) -> None:
        """Draw the state of this run."""
        self._states = replica_states(state) if state.summary.live else []
        self._draw()

    def on_mount(self) -> None:
        """Keep the time since each sign of life up to date."""
        self.set_interval(1.0, self._draw)

    def on_resize(self, _: events.Resize) -> None:
        """Draw for the new width."""
        self._draw()

    def _draw(self) -> None:
        tall = self.screen.size.height
        most = MOST_ROWS if tall >= TALL else 1 if tall >= SHORT else 0
        rows = replica_rows(self._states, self.screen.size.width, most) if self._states else []
        if len(rows) != self._height:  # assigning a height costs a layout even when it is the same
            self._height = len(rows)
            self.styles.height = len(rows)
            self.display = bool(rows)
        if rows or self.rows:
            self.set_rows(rows)


def replica_rows(states: list[ReplicaState], width: int, most: int) -> list[Row]:
    """A row for each replica at work; the last of `most` says how many more there are, and how many are gone."""
    at_work = [each for each in states if each.row.at_work]
    gone = len(states) - len(at_work)
    rows = []
    for place, each in enumerate(at_work[:most]):
        more = len(at_work) - most if place + 1 == most else 0
        notes = [f"and {more} more"] if more > 0 else []
        notes += [f"{gone} gone"] if gone and place + 1 == min(most, len(at_work)) else []
        rows.append(_row(each, width, ", ".join(notes)))
    return rows


def _row(each: ReplicaState, width: int, note: str) -> Row:
    row: list[Cell] = [
        (f" replica {each.row.number} ", "muted"),
        (fit(sanitize_line(f"{each.row.host} {each.row.device}"), NAME_WIDTH), "text"),
    ]
    parts: list[list[Cell]] = [
        [(pad(rate(each.rate), 7, "right"), "strong"), (" tok/s", "muted")],
        [(fit(_prompt_words(each), 18), "text")],
        [_sign(each)],
        [(f"{count(each.done)} done", "muted")],
        [(note, "muted")],
    ]
    for part in parts:
        if part[0][0] and row_width((*row, *part)) + 2 <= width:
            row += [("  ", "text"), *part]
    return tuple(row)


def _prompt_words(each: ReplicaState) -> str:
    if not each.row.at_work:
        return ""
    if each.prompt is None:
        return sanitize_line(each.row.stage) or "waiting"
    return f"prompt {count(each.prompt.position + 1)} {sanitize_line(each.prompt.task)}"


def _sign(each: ReplicaState) -> Cell:
    if not each.row.at_work:
        return f"gone: {sanitize_line(each.row.reason)}" if each.row.reason else "gone", "muted"
    if each.silent is None:
        return "no sign of life yet", "muted"
    return f"heard {duration(each.silent)} ago", "warning" if each.is_silent else "muted"


def replica_columns() -> list[Column[ReplicaState]]:
    """Columns of the pane with all replicas."""

    def text(words: Callable[[ReplicaState], str]) -> Callable[[ReplicaState], Cell]:
        return lambda each: (sanitize_line(words(each)) or NOTHING, "text" if each.row.at_work else "muted")

    def memory(each: ReplicaState) -> str:
        return "" if each.row.rss_bytes is None else size(each.row.rss_bytes)

    def device_class(each: ReplicaState) -> str:
        return each.row.machine.words if each.row.machine.name else ""

    return [
        Column("#", text(lambda each: str(each.row.number)), 3, "right"),
        Column("host", text(lambda each: each.row.host), 10, keep=2, widest=20),
        Column("device", text(lambda each: each.row.device), 7, keep=1),
        Column("prompt", text(_prompt_words), 14, keep=1),
        Column("tok/s", text(lambda each: number(each.rate, 1)), 6, "right"),
        Column("done", text(lambda each: count(each.done)), 4, "right", keep=3),
        Column("tokens", text(lambda each: count(each.tokens)), 6, "right", keep=4),
        Column("memory", text(memory), 7, "right", keep=5),
        Column("sign of life", _sign, 16, keep=1, grows=True),
        Column("class", text(device_class), 10, keep=6, widest=24),
    ]  # fmt: skip


def pane_title(state: RunState) -> str:
    """The title of that pane."""
    states = replica_states(state)
    return words_of(states) if states else "no replicas: the worker decodes by itself"
