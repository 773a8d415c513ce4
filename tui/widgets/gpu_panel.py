"""The GPUs of a run at work, a row each: load over the last minutes, memory, power, temperature, clock.

Hidden where the worker reports no GPU: there is none, no driver, or the run is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rich.cells import cell_len
from textual import events

from spectui.store.analysis.spending import joules_per_token
from spectui.store.rows import SessionSummary
from spectui.tui.terminal.cells import fit, number, pad, size
from spectui.tui.terminal.glyphs import glyphs
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Cell, Line, Row, row_width

Words = Callable[[float], str]
"""A figure with its unit."""

MOST_ROWS = 4
"""Of a terminal of `TALL` rows; lower ones give the panel one row, and those below `SHORT` none."""
TALL, SHORT = 28, 14
LEAST_PLOT, NAMED_PLOT, MOST_PLOT = 6, 30, 60
"""Columns of the load over time, one for every five seconds; the second number goes before the device's name."""


class GpuPanel(Line):
    """Shows the GPUs as the worker reported them last."""

    DEFAULT_CSS = "GpuPanel { height: 0; display: none; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows_for: Callable[[int, int], list[Row]] | None = None
        self._height = 0

    def show(self, summary: SessionSummary) -> None:
        """Draw the state of this run."""
        self._rows_for = partial(gpu_rows, summary)
        self._draw()

    def show_gpus(self, gpus: Sequence[Mapping[str, Any]]) -> None:
        """Draw GPUs of this machine."""
        self._rows_for = partial(reported_rows, gpus)
        self._draw()

    def on_resize(self, _: events.Resize) -> None:
        """Draw for the new width."""
        self._draw()

    def _draw(self) -> None:
        if self._rows_for is None:
            return
        tall = self.screen.size.height
        most = MOST_ROWS if tall >= TALL else 1 if tall >= SHORT else 0
        rows = self._rows_for(self.screen.size.width, most)
        if len(rows) != self._height:  # assigning a height costs a layout even when it is the same
            self._height = len(rows)
            self.styles.height = len(rows)
            self.display = bool(rows)
        self.set_rows(rows)


def gpu_rows(summary: SessionSummary, width: int, most: int) -> list[Row]:
    """A row for each GPU, the last of `most` naming how many more there are; none for a run that is over."""
    reported = (summary.gpu or {}).get("gpus")
    if not summary.live or not isinstance(reported, list):
        return []
    gpus = [gpu for gpu in reported if isinstance(gpu, Mapping)]
    return reported_rows(gpus, width, most, joules_per_token(summary))


def reported_rows(
    gpus: Sequence[Mapping[str, Any]], width: int, most: int, per_token: float | None = None
) -> list[Row]:
    """A row for each GPU, the last of `most` naming how many more there are; joules a token are of all together."""
    rows = []
    for place, gpu in enumerate(gpus[:most]):
        tail: list[Cell] = []
        if (
            per_token is not None
        ):  # of all of them together, so it stands once, and leaves its room in other rows
            words = pad(number(per_token), 7, "right"), " J/token"
            tail = (
                [(words[0], "text"), (words[1], "muted")]
                if place == 0
                else [(" " * len("".join(words)), "text")]
            )
        if place + 1 == most < len(gpus):
            tail = [(f"  and {len(gpus) - most} more", "muted")]
        rows.append(_gpu_row(gpu, width, tail))
    return rows


def _gpu_row(gpu: Mapping[str, Any], width: int, tail: list[Cell]) -> Row:
    index, load = _figure(gpu, "index"), _figure(gpu, "percent")
    row: list[Cell] = [(f" gpu {index or 0:.0f} ", "muted")]
    if load is not None:
        row.append((pad(f"{load:.0f} %", 5, "right"), "strong"))
    figures = [
        _of(_figure(gpu, "used_bytes"), _figure(gpu, "total_bytes"), size, 19),
        _of(_figure(gpu, "watts"), _figure(gpu, "limit_watts"), lambda w: f"{w:.0f} W", 14),
        _one(_figure(gpu, "celsius"), lambda c: f"{c:.0f} °C", 6),
        _one(_figure(gpu, "mhz"), lambda mhz: f"{mhz:,.0f} MHz", 9),
    ]
    after: list[Cell] = []
    for cells in (*figures, tail):
        if cells and row_width((*row, *after, *cells)) + 2 <= width:
            after += [("  ", "text"), *cells] if cells is not tail else cells
    history = gpu.get("history")
    points = [p for p in map(_number, history) if p is not None] if isinstance(history, list) else []
    room = width - row_width((*row, *after)) - 3
    name = sanitize_line(f"{gpu.get('host', '')} {gpu.get('name', '')}".strip())
    if name and room - cell_len(name) - 2 >= NAMED_PLOT:
        after.append((f"  {name}", "muted"))
        room -= cell_len(name) + 2
    if load is not None and room >= LEAST_PLOT:
        columns = min(room, MOST_PLOT)
        drawn = "".join(glyphs().up[_eighths(p)] for p in points[-columns:])
        row += [(" ", "text"), (fit(drawn, columns, "right"), "accent")]
    return (*row, *after)


def _eighths(percent: float) -> int:
    """Height of a bar; what is above 0 shows."""
    return min(max(round(percent / 12.5), 1 if percent > 0 else 0), 8)


def _figure(gpu: Mapping[str, Any], name: str) -> float | None:
    return _number(gpu.get(name))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None


def _one(value: float | None, words: Words, width: int) -> list[Cell]:
    return [] if value is None else [(pad(words(value), width, "right"), "text")]


def _of(value: float | None, most: float | None, words: Words, width: int) -> list[Cell]:
    """``41.2 GB of 80.0 GB``, or what is known of it."""
    if value is None:
        return []
    limit = "" if most is None else f" of {words(most)}"
    return [(pad(words(value), width - len(limit), "right"), "text"), (limit, "muted")]
