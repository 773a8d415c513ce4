"""The list of screens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from textual.pilot import Pilot

from spectui.tui.screens.compare import CompareScreen
from spectui.tui.screens.live.replay import ReplayScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.histogram import Histogram
from spectui.tui.widgets.rows import Line, Rows
from tests.tui.conftest import live_screen, shown, wait_for
from tests.tui.screens import data

Reach = Callable[[Pilot[Any]], Awaitable[None]]
"""Gets from the app as it opened to the screen, and waits until all of it is there."""


@dataclass(frozen=True)
class Shown:
    """A screen, or a state of one that looks unlike its others."""

    name: str
    screen: str
    """The class of the screen on top."""
    data: data.Data
    reach: Reach


def says(text: str, *, on: str = "") -> Callable[[Pilot[Any]], bool]:
    """A condition: a row of the screen on top has that text, and the screen is of that class."""

    def is_said(pilot: Pilot[Any]) -> bool:
        screen = pilot.app.screen
        if on and type(screen).__name__ != on:
            return False
        return any(text in rows.text for rows in screen.query(Rows))

    return is_said


def live(position: int, *keys: str, then: str = "", on: str = "") -> Reach:
    """The live screen with that prompt; after the keys, wait for `then`."""

    async def reach(pilot: Pilot[Any]) -> None:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, position) and screen.state)
        await wait_for(pilot, lambda: screen.query(Histogram).first()._figures)
        await pilot.press(*keys)
        if then or on:
            await wait_for(pilot, lambda: says(then, on=on)(pilot))

    return reach


def listed(*keys: str, dialogue: str = "") -> Reach:
    """The list of sessions with the cursor on the oldest; keys, then a dialogue that says so or the summary."""

    async def reach(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, SessionsScreen)
        await wait_for(pilot, lambda: "quiet-heron" in screen.table.text)
        await pilot.press("end")
        await wait_for(pilot, lambda: screen.card and screen.card.summary.name == "quiet-heron")
        await pilot.press(*keys)
        if dialogue:
            await wait_for(pilot, lambda: dialogue in "".join(n.text for n in pilot.app.screen.query(Line)))
        else:
            await wait_for(pilot, lambda: screen.card and screen.card.summary is screen.table.cursor_item)

    return reach


def until(*keys: str, then: str, on: str = "") -> Reach:
    """Press keys, wait for a text."""

    async def reach(pilot: Pilot[Any]) -> None:
        await pilot.press(*keys)
        await wait_for(pilot, lambda: says(then, on=on)(pilot))

    return reach


async def watched_figures(pilot: Pilot[Any]) -> None:
    """The pane of sources: its rows are as wide as they are beside a scrollbar that comes after them."""
    await until(then="YES")(pilot)
    await until("f", then="ms_per_round")(pilot)


async def fleet(pilot: Pilot[Any]) -> None:
    """From one of its servers, once that is read: before, escape leads to the list."""
    await until(then="YES")(pilot)
    await until("escape", then="recorded as", on="FleetScreen")(pilot)


def comparing(*keys: str) -> Reach:
    """The two older sessions beside each other."""

    async def reach(pilot: Pilot[Any]) -> None:
        home = pilot.app.screen
        assert isinstance(home, SessionsScreen)
        await wait_for(pilot, lambda: len(home.table.items) == 3)
        await pilot.press("end", "m", "up", "m", "c")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen)
        await wait_for(pilot, lambda: screen.answers is not None and screen._lines and screen._sources)
        await pilot.press(*keys)

    return reach


async def new_run(pilot: Pilot[Any]) -> None:
    """The form, with another drafter chosen."""
    await pilot.press("r")
    await wait_for(pilot, lambda: type(pilot.app.screen).__name__ == "NewRunScreen")
    await pilot.press("down", "space", "space")
    await wait_for(pilot, lambda: "eagle+lookup" in pilot.app.screen.query_one("#about", Line).text)


async def replay(pilot: Pilot[Any]) -> None:
    """A replay held in the middle."""
    await live(7, "r", then="held", on="ReplayScreen")(pilot)
    await pilot.press("colon", *"7.9", "enter")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ReplayScreen)
    await wait_for(pilot, lambda: screen.moment and screen.moment.place.number == 9)
    # Intervals come once nothing moves any more.
    await wait_for(pilot, lambda: screen.query(Histogram).first()._intervals)


def inspected(*keys: str, then: str, on: str = "InspectorScreen") -> Reach:
    """The inspector on a round of the last prompt; keys, then a text."""

    async def reach(pilot: Pilot[Any]) -> None:
        await live(7, "left", "left", "enter", then="rejected", on="InspectorScreen")(pilot)
        await pilot.press(*keys)
        await wait_for(pilot, lambda: says(then, on=on)(pilot))

    return reach


async def advice(pilot: Pilot[Any]) -> None:
    """The advice for the finished session, weighed."""
    await live(7, "A", on="AdviseScreen", then="plain")(pilot)


SCREENS = (
    Shown("live", "LiveScreen", data.running, live(2)),
    Shown("live-tree", "LiveScreen", data.running, live(2, "2")),
    Shown("live-charts", "LiveScreen", data.running, live(2, "3")),
    Shown("live-prompts", "LiveScreen", data.running, live(2, "4")),
    Shown("live-finished", "LiveScreen", data.finished, live(7, "h")),
    Shown("live-entropy", "LiveScreen", data.finished, live(7, "h", "h")),
    Shown("live-failed", "LiveScreen", data.failed, until(then="The run failed")),
    Shown("live-server", "LiveScreen", data.on_server, live(3)),
    Shown("chart", "ChartScreen", data.finished, live(7, "z", then="0 accepted", on="ChartScreen")),
    Shown(
        "chart-calibration",
        "ChartScreen",
        data.finished,
        live(7, "h", "h", "h", "z", then="q .00 to", on="ChartScreen"),
    ),
    Shown("replay", "ReplayScreen", data.finished, replay),
    Shown("inspector", "InspectorScreen", data.finished, inspected("n", then="Rejected:")),
    Shown(
        "search",
        "SearchScreen",
        data.finished,
        inspected("slash", *"calm", "enter", then="places in", on="SearchScreen"),
    ),
    Shown("sessions", "SessionsScreen", data.make_several, listed()),
    Shown("sessions-empty", "SessionsScreen", data.nothing, until(then="No sessions yet")),
    Shown(
        "sessions-filter",
        "SessionsScreen",
        data.make_several,
        listed("slash", *"-failed", "space", *"task:code"),
    ),
    Shown("sessions-delete", "DeleteScreen", data.make_several, listed("d", dialogue="Delete quiet-heron?")),
    Shown("sessions-tags", "AskScreen", data.make_several, listed("number_sign", dialogue="finds #study")),
    Shown("export", "ExportScreen", data.make_several, listed("x", dialogue="is a database")),
    Shown("compare", "CompareScreen", data.compared, comparing("right")),
    Shown("compare-figures", "CompareScreen", data.compared, comparing("2")),
    Shown("compare-outputs", "CompareScreen", data.compared, comparing("3", "n")),
    Shown("report", "ReportScreen", data.finished, until("R", then="Acceptance α", on="ReportScreen")),
    Shown("advise", "AdviseScreen", data.finished, advice),
    Shown("watched", "WatchedScreen", data.watched, until(then="YES")),
    Shown("watched-figures", "WatchedScreen", data.watched, watched_figures),
    Shown("fleet", "FleetScreen", data.watched, fleet),
    Shown("new-run", "NewRunScreen", data.nothing, new_run),
    Shown("help", "HelpScreen", data.running, live(2, "question_mark", then="round", on="HelpScreen")),
    Shown("leave", "LeaveScreen", data.running, live(2, "q", then="Keep it running", on="LeaveScreen")),
)
