"""The series of a plot: points of tasks or sessions, and the values under its cursor in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from spectui.tui.charts.base import Chart, Point, Source, together
from spectui.tui.terminal.cells import NOTHING, fit, fitting
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.rows import Cell, Row

SESSION_SLOT = 4
"""The colour of the first session; those before it are the four tasks'."""


@dataclass(frozen=True)
class Series:
    """Points of one task or session, and the role they are drawn in."""

    name: str
    role: str
    points: tuple[Point, ...]
    dot: int = 0
    """Index of the sign in `glyphs().dots` that marks its points, so that series differ without colour too."""


def task_series(
    chart: Chart, sources: Mapping[str, Source], hidden: Sequence[str] | set[str] = ()
) -> list[Series]:
    """A series for each task and side of the chart, but for `hidden` tasks."""
    slots = task_slots(sources)
    return [
        series
        for task, source in sources.items()
        if task not in hidden
        for series in _series(chart, sanitize_line(task), f"task-{slots[task]}", source, slots[task])
    ]


def session_series(
    chart: Chart, sources: Mapping[int, Mapping[str, Source]], names: Mapping[int, str], task: str | None
) -> list[Series]:
    """A series for each session and side of the chart: of one task or, for None, of all together."""
    series = []
    for place, (session_id, by_task) in enumerate(sources.items()):
        chosen = by_task.values() if task is None else [s for name, s in by_task.items() if name == task]
        role = f"task-{SESSION_SLOT + place}"
        series += _series(chart, sanitize_line(names[session_id]), role, together(chosen), place)
    return series


def _series(chart: Chart, name: str, role: str, source: Source, dot: int) -> list[Series]:
    if len(chart.sides) == 1:
        return [Series(name, role, tuple(chart.points(source)), dot)]
    return [
        Series(
            f"{name}, {side.name}",
            role if place else f"{role}-name",
            tuple(side.points(source)),
            dot + place,
        )
        for place, side in enumerate(chart.sides)
    ]


def reading_rows(
    chart: Chart,
    place: Point | None,
    values: Sequence[tuple[Series, Point | None]],
    width: int,
    next_key: str,
) -> list[Row]:
    """The values at one place of a chart, a line for each series; what to do where there are none."""
    if place is None:
        why = "the draft gives no probabilities, or " if chart.needs_probabilities else ""
        words = f"Nothing to read: {why}no round has been decoded yet.  "
        return [((words, "muted"), (next_key, "key"), (" another chart", "muted"))]
    rows: list[Row] = [((place.where, "strong"),)]
    longest = max((cell_len(series.name) for series, _ in values), default=0) + 1
    names = min(longest, max(width // 3, 8))
    for series, point in values:
        # A narrow terminal has room for the first of the words.
        says = point.says.split("  ") if point else [NOTHING]
        cells: list[Cell] = [
            (fit(series.name, names) + " ", series.role),
            (fitting(says, width - names - 1, "  "), "text"),
        ]
        rows.append(tuple(cells))
    return rows
