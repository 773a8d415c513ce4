"""The table of watched servers: its rows and columns, and the line below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spectui.servers.watch.figures import Figures
from spectui.servers.watch.server import View
from spectui.tui.terminal.cells import NOTHING, percent
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.watching.panes import ALERT_ROLES, drawn_course
from spectui.tui.watching.words import STATE_SIGNS, VERDICT_ROLES, times
from spectui.tui.widgets.rows import Cell
from spectui.tui.widgets.table import Column


@dataclass(frozen=True)
class FleetRow:
    """A server and its place in the fleet, by which the cursor stays on it."""

    place: int
    view: View

    @property
    def figures(self) -> Figures | None:
        """Those to show."""
        return self.view.shown


def fleet_rows(views: Sequence[View], *, by_alert: bool) -> list[FleetRow]:
    """A row for each server; those with alerts first, silent ones last."""
    rows = [FleetRow(place, view) for place, view in enumerate(views)]
    return sorted(rows, key=_urgency) if by_alert else rows


def _urgency(row: FleetRow) -> tuple[int, int]:
    if not row.view.answers:
        return (3, row.place)
    if row.view.alerts:
        return (0, row.place)
    return (2 if row.view.plain else 1, row.place)


def fleet_columns() -> list[Column[FleetRow]]:
    """From left to right; on a narrow terminal the highest `keep` goes first."""
    return [
        Column("", _sign, 1),
        Column("server", _server, 12, widest=24),
        Column("engine", lambda row: (row.view.engine, "text"), 9, keep=6),
        Column("model", lambda row: (sanitize_line(row.view.model), "text"), 8, keep=4, widest=18),
        Column("k", lambda row: (str(row.view.depth or NOTHING), "text"), 2, "right", 3),
        Column("pays", _pays, 6, "right", order=lambda row: row.view.payoff.speedup),
        _figure("ms/tok", 6, 0, lambda f: f.ms_per_token, lambda v: f"{v:.1f}"),
        _figure("τ", 5, 0, lambda f: f.tokens_per_round, lambda v: f"{v:.2f}"),
        _figure("accepted", 8, 2, lambda f: f.accepted_share, percent),
        _figure("last pos", 8, 7, _last_position, percent),
        Column(
            "tok/s",
            lambda row: _of_now(row, row.view.tokens_per_second, lambda v: f"{v:,.0f}"),
            6,
            "right",
            1,
            order=lambda row: row.view.tokens_per_second,
            falling=True,
        ),
        Column("run/wt", _load, 6, "right", 2),
        Column("KV", lambda row: _level(row, "kv"), 5, "right", 5),
        Column("τ over time", _course, 12, keep=8),
    ]


def _figure(
    title: str,
    width: int,
    keep: int,
    value: Callable[[Figures], float | None],
    shown: Callable[[float], str],
) -> Column[FleetRow]:
    def cell(row: FleetRow) -> Cell:
        known = None if row.figures is None else value(row.figures)
        role = "text" if row.view.answers else "muted"
        return (NOTHING, "muted") if known is None else (shown(known), role)

    def order(row: FleetRow) -> float | None:
        return None if row.figures is None else value(row.figures)

    return Column(title, cell, width, "right", keep, order=order, falling=True)


def _last_position(figures: Figures) -> float | None:
    places = figures.positions
    return places[-1].of_all if places else None


def _sign(row: FleetRow) -> Cell:
    alerts = row.view.alerts
    if alerts and row.view.answers:
        return alerts[-1].sign, ALERT_ROLES.get(alerts[-1].sign, "text")
    return STATE_SIGNS[row.view.state]


def _server(row: FleetRow) -> Cell:
    return sanitize_line(row.view.name), "strong" if row.view.answers else "muted"


def _pays(row: FleetRow) -> Cell:
    view = row.view
    if not view.answers:
        return view.state, "muted"
    if view.plain:
        return "plain", "muted"
    result = view.payoff
    if result.speedup is None:
        return "?", "muted"
    return times(result.speedup), VERDICT_ROLES[result.verdict]


def _of_now(row: FleetRow, value: float | None, shown: Callable[[float], str]) -> Cell:
    if value is None or not row.view.answers:
        return NOTHING, "muted"
    return shown(value), "text"


def _load(row: FleetRow) -> Cell:
    sample = row.view.sample
    if sample is None or not row.view.answers:
        return NOTHING, "muted"
    return "/".join(NOTHING if n is None else f"{n:,.0f}" for n in (sample.running, sample.waiting)), "text"


def _level(row: FleetRow, name: str) -> Cell:
    sample = row.view.sample
    return _of_now(row, None if sample is None else getattr(sample, name), percent)


def _course(row: FleetRow) -> Cell:
    course = row.view.course
    if course is None:
        return "", "muted"
    values = [None if figures is None else figures.tokens_per_round for figures in course.figures]
    return drawn_course(values, course.restarts), "accent" if row.view.answers else "muted"


def foot_words(views: Sequence[View], at: float | None, recorded: str) -> tuple[list[str], list[str]]:
    """Two lines below the table: what is live, and the sums over all servers. `at` is None for the past."""
    live = [view for view in views if view.answers]
    ages = [] if at is None else [at - view.at for view in live if view.at is not None]
    first = [] if at is None else [f"{len(live)} of {len(views)} live"]
    if ages:
        oldest = max(ages)
        first.append("polled just now" if oldest < 2 else f"polled {oldest:.0f} s ago")
    if recorded:
        first.append(recorded)
    speed = [v.tokens_per_second for v in live if v.tokens_per_second is not None]
    thrown = [n for v in live if v.now is not None and (n := v.now.thrown_per_second) is not None]
    second = []
    if speed:
        second.append(f"all: {sum(speed):,.0f} tok/s")
    running = [v.sample.running for v in live if v.sample and v.sample.running is not None]
    waiting = [v.sample.waiting for v in live if v.sample and v.sample.waiting is not None]
    if running:
        second.append(f"{sum(running):,.0f} running, {sum(waiting):,.0f} waiting")
    if thrown:
        second.append(f"{sum(thrown):,.0f} drafted tokens a second thrown away")
    if not second:
        second = ["nothing counted yet"] if live else ["no server answers"]
    return first, second
