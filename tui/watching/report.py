"""A recorded watch in text: its segments, its answer, its events; and two of them beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from spectui.servers.watch.figures import added
from spectui.servers.watch.payoff import Payoff, Plain, payoff
from spectui.servers.watch.server import View, Watched
from spectui.servers.watch.sources import FIGURES
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sources import WATCH
from spectui.tui.terminal.cells import NOTHING, number, percent
from spectui.tui.watching.figures import shown
from spectui.tui.watching.once import once_words
from spectui.tui.watching.recorded import RecordedFleet

SEGMENTS = ("segment", "from", "to", "k", "rounds", "ms/tok", "τ", "accepted", "load")


@dataclass(frozen=True)
class WatchReport:
    """A server of a recorded watch."""

    view: View
    segments: list[list[str]]


def read_watch(reader: Reader, session_id: int) -> tuple[RecordedFleet, Watched]:
    """The watch of a session, and its server. Raises `StoreError` when nothing was recorded."""
    fleet = RecordedFleet(session_id)
    fleet.load(reader)
    server = next(each for each in fleet.servers if each.url == fleet.opened)
    if server.history.last is None:
        raise StoreError(f"session '{fleet.names[server.url]}' has no samples: its server never answered")
    return fleet, server


def watch_report(reader: Reader, session_id: int) -> WatchReport:
    """The report of a session. Raises `StoreError`."""
    fleet, server = read_watch(reader, session_id)
    view = server.view(fleet.now(), "segment", fleet.plain_for(server), columns=0)
    return WatchReport(view, [_segment_row(server, number) for number in server.history.numbers])


def report_lines(report: WatchReport) -> list[str]:
    """The answer and the events."""
    lines = once_words([report.view])
    return [*lines, "", *(f"{_time(one.at)}  {one.sign} {one.text}" for one in report.view.events)]


def _segment_row(server: Watched, segment: int) -> list[str]:
    samples = server.history.of_segment(segment)
    figures = added(server.history.minutes(segment))
    return [
        str(segment),
        _time(samples[0].at),
        _time(samples[-1].at),
        str(samples[-1].depth or NOTHING),
        f"{figures.rounds or 0:,.0f}" if figures else "0",
        number(figures.ms_per_token, 1) if figures else NOTHING,
        number(figures.tokens_per_round) if figures else NOTHING,
        percent(figures.accepted_share) if figures else NOTHING,
        number(figures.load, 1) if figures else NOTHING,
    ]


@dataclass(frozen=True)
class WatchComparison:
    """Two recorded watches: the first held against the second."""

    names: tuple[str, str]
    views: tuple[View, View]
    result: Payoff


def compare_watches(reader: Reader, summaries: Sequence[SessionSummary]) -> WatchComparison:
    """Two watches beside each other, under like loads. Raises `StoreError` when one is none, or holds nothing."""
    views, minutes, names = [], [], []
    for summary in summaries:
        if summary.source != WATCH:
            raise StoreError(
                f"session '{summary.name}' is no watched server; compare it with another run, or two watches"
            )
        fleet, server = read_watch(reader, summary.id)
        views.append(server.view(fleet.now(), "segment", None, columns=0))
        minutes.append(server.history.minutes())
        names.append(summary.name)
    result = payoff(minutes[0], None, Plain(f"'{names[1]}'", tuple(minutes[1])))
    return WatchComparison((names[0], names[1]), (views[0], views[1]), result)


def comparison_rows(comparison: WatchComparison) -> list[list[str]]:
    """A row for each figure that both watches have by themselves."""
    others = (
        "speedup",
        "plain_ms_per_token",
        "pays_below_ms",
        "tokens_per_second",
        "running",
        "waiting",
        "kv",
    )
    names = [name for name in FIGURES if name not in others]
    return [[name, *(shown(FIGURES[name], view) for view in comparison.views)] for name in names]


def comparison_words(comparison: WatchComparison) -> str:
    """The answer in a sentence."""
    result = comparison.result
    first, second = comparison.names
    if result.speedup is None:
        return f"not to be compared: {result.why}"
    band = f" (minutes {result.band[0]:.2f}-{result.band[1]:.2f})" if result.band else ""
    return (
        f"'{first}' is {result.speedup:.2f}× as fast a token as '{second}' under like loads{band}:"
        f" {result.ms_per_token or 0:.1f} and {result.plain_ms or 0:.1f} ms"
    )


def comparison_json(comparison: WatchComparison) -> dict[str, object]:
    """The comparison for scripts."""
    result = comparison.result
    return {
        "sessions": list(comparison.names),
        "speedup": result.speedup,
        "band": list(result.band) if result.band else None,
        "why": result.why or None,
        "figures": {
            name: [figure.value(view) for view in comparison.views] for name, figure in FIGURES.items()
        },
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%d %b %H:%M:%S")
