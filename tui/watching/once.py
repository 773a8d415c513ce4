"""Watched servers in plain text: a table for ``--once``, lines for a watch without a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from spectui.servers.watch.events import Event
from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.server import SILENT, View
from spectui.tui.terminal.cells import NOTHING, percent
from spectui.tui.watching.fleet import FleetRow
from spectui.tui.watching.words import draft_words, pay_words, verdict

HEAD = ("server", "engine", "model", "k", "pays", "ms/tok", "τ", "accepted", "tok/s", "running", "KV")


def once_rows(views: Sequence[View]) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of the table of servers."""
    rows = []
    for place, view in enumerate(views):
        figures, sample = FleetRow(place, view).figures, view.sample if view.answers else None
        speed = view.tokens_per_second if view.answers else None
        rows.append(
            [
                view.name,
                view.engine or NOTHING,
                view.model or NOTHING,
                str(view.depth or NOTHING),
                _pays(view),
                _number(figures.ms_per_token if figures else None, 1),
                _number(figures.tokens_per_round if figures else None, 2),
                percent(figures.accepted_share if figures else None),
                _number(speed, 0),
                _number(sample.running if sample else None, 0),
                percent(sample.kv if sample else None),
            ]
        )
    return HEAD, rows


def once_words(views: Sequence[View]) -> list[str]:
    """A line or two on each server: the answer and what it rests on, or why there is none; then alerts."""
    lines = []
    for view in views:
        if not view.answers:
            lines.append(f"{view.name}: {view.words}")
            continue
        words = pay_words(view)
        head = "" if view.plain else f"{verdict(view.payoff)}  "
        lines.append(f"{view.name}: {head}{words[0] if words else view.words}")
        lines += [f"{'':{len(view.name)}}  {line}" for line in words[1:] if line != draft_words(view)]
        lines += [f"{view.name}: {event.sign} {event.text}" for event in view.alerts]
    return lines


def _pays(view: View) -> str:
    if not view.answers:
        return view.state
    if view.plain:
        return "plain"
    return "?" if view.payoff.speedup is None else f"{view.payoff.speedup:.2f}×"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"


class EventLines:
    """Events as lines, each once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._last: dict[str, Event] = {}
        self._problems: dict[str, str] = {}

    def fresh(self) -> list[str]:
        """The events since the last call."""
        lines = []
        for server in self._fleet.servers:
            with server.lock:
                events = list(server.events)
            last = self._last.get(server.url)
            # By the event, not its time: one of the same moment may come later.
            known = next((place for place, event in enumerate(events, 1) if event is last), 0)
            for event in events[known:]:
                at = datetime.fromtimestamp(event.at).strftime("%H:%M:%S")
                lines.append(f"{at}  {event.sign} {server.name}  {event.text}")
            if events:
                self._last[server.url] = events[-1]
            state, words = server.state(self._fleet.now())
            problem = state if state in SILENT and state != "asking" else ""
            if problem and problem != self._problems.get(server.url) and not events:
                lines.append(f"{server.name}: {words}")
            self._problems[server.url] = problem
        return lines
