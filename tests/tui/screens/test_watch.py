"""Protects the screens of watched servers: the answer is in sight at any size, nothing old looks alive, keys do what
they say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from spectui.servers.watch.figures import Figures
from spectui.servers.watch.fleet import LiveFleet, read_servers
from spectui.servers.watch.server import View
from spectui.store.database import connect
from spectui.tui.app import SpectuiApp
from spectui.tui.screens.watch.fleet import FleetScreen
from spectui.tui.screens.watch.one import WatchedScreen
from spectui.tui.watching.feed import Views
from spectui.tui.watching.recorder import Recorder, Watching
from spectui.tui.watching.words import draft_words
from spectui.tui.widgets.gpu_panel import GpuPanel
from spectui.tui.widgets.rows import Rows
from tests.nvml import Device, install
from tests.servers.watch.fake import SETUPS, FakeServer, simulated
from tests.tui.conftest import wait_for


@dataclass
class Watched:
    """Servers, and the fleet that is shown; asked when a test says so."""

    fakes: list[FakeServer]
    fleet: LiveFleet

    def ask(self) -> None:
        self.fleet.ask_all()


@pytest.fixture
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The servers that a test names."""
    fakes = []
    for name in request.param:
        setup = replace(SETUPS[name], step_ms=60.0, concurrency=2)
        fakes.append(FakeServer(simulated("vllm", setup, before_s=120.0)).__enter__())
    made = Watched(fakes, LiveFleet(read_servers([fake.url for fake in fakes])))
    made.ask()
    yield made
    for fake in fakes:
        fake.__exit__()


@asynccontextmanager
async def shown(watched: Watched, database: Path, size: tuple[int, int]) -> AsyncIterator[Pilot[Any]]:
    """The dashboard on these servers, with the first views drawn."""
    connect(database).close()
    app = SpectuiApp(database, watching=Watching(watched.fleet, Recorder(watched.fleet, None)))
    async with app.run_test(size=size) as pilot:
        await wait_for(pilot, lambda: getattr(app.screen, "views", ()))
        await pilot.pause()
        yield pilot


def text(pilot: Pilot[Any], name: str) -> str:
    return pilot.app.screen.query_one(f"#{name}-rows", Rows).text


def roles(pilot: Pilot[Any], name: str) -> set[str]:
    rows = pilot.app.screen.query_one(f"#{name}-rows", Rows).rows
    return {role for row in rows for words, role in row if words.strip()}


ONE = pytest.mark.parametrize("watched", [("eagle",)], indirect=True)
PAIR = pytest.mark.parametrize("watched", [("eagle", "plain")], indirect=True)


def test_tokens_thrown_away_are_said_beside_those_drafted() -> None:
    """An idle server showed ``0 a second thrown away`` alone, of nobody knew what."""
    idle = View("http://h:1", "h:1", "idle", "", figures=Figures(0.0, 6.0, "vllm", drafted=0.0, accepted=0.0))
    busy = replace(idle, figures=Figures(0.0, 6.0, "vllm", drafted=30.0, accepted=12.0))
    assert draft_words(idle) == ""
    assert draft_words(busy) == "40 % of drafted tokens accepted · 3 a second thrown away"


@ONE
async def test_nothing_of_a_silent_server_is_in_full_colour(watched: Watched, database: Path) -> None:
    """Numbers that look alive beside "down" are what other monitors show."""
    async with shown(watched, database, (120, 40)) as pilot:
        assert roles(pilot, "pay") - {"muted"}
        watched.fakes[0].__exit__()
        watched.ask()
        watched.ask()
        await wait_for(pilot, lambda: pilot.app.screen.views[0].state == "silent")  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: roles(pilot, "pay") <= {"muted", "faint"})
        for name in ("positions", "course", "serving", "lengths"):
            assert roles(pilot, name) <= {"muted", "faint"}, name
        status = pilot.app.screen.query_one("#status", Rows).text
        assert "silent" in status
        assert "Figures are of" in status
        assert "silent (" in text(pilot, "events")


@PAIR
async def test_the_answer_is_in_sight_at_any_size(watched: Watched, database: Path) -> None:
    async with shown(watched, database, (120, 40)) as pilot:
        pilot.app.screen.action_open()  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, WatchedScreen))
        for size in ((120, 40), (80, 24), (60, 15), (40, 10), (20, 6), (200, 60)):
            await pilot.resize_terminal(*size)
            await wait_for(pilot, lambda: text(pilot, "pay").startswith("YES  1."))
            region = pilot.app.screen.query_one("#pay-rows").region
            assert region.height >= 1
            assert region.bottom <= size[1]


@PAIR
async def test_keys_of_the_table_and_of_a_server(
    watched: Watched, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown(watched, database, (120, 40)) as pilot:
        assert isinstance(pilot.app.screen, FleetScreen)
        await wait_for(pilot, lambda: "YES" in text(pilot, "pay"))
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, WatchedScreen))
        screen = pilot.app.screen
        assert isinstance(screen, WatchedScreen)
        await wait_for(pilot, lambda: "YES" in text(pilot, "pay"))
        await pilot.press("f")
        await wait_for(pilot, lambda: "inter_token_latency_seconds_sum" in text(pilot, "figures"))
        assert not screen.query_one("#pay").display
        await pilot.press("escape")
        await wait_for(pilot, lambda: screen.query_one("#pay").display)
        await pilot.press("right_square_bracket")
        await wait_for(pilot, lambda: "does not speculate" in text(pilot, "pay"))
        await pilot.press("left_square_bracket", "w")
        await wait_for(pilot, lambda: screen._feed.window == "1 h")
        await pilot.press("b")
        assert watched.fleet.chosen == {watched.fakes[0].url: watched.fakes[1].url}
        await pilot.press("b")
        assert watched.fleet.chosen == {}
        await pilot.press("space")
        held, come, take = screen.views, list[object](), screen.take
        monkeypatch.setattr(screen, "take", lambda item: (come.append(item), take(item)))
        watched.ask()
        asked_at = watched.fleet.now()
        screen._feed.again()
        await wait_for(pilot, lambda: any(isinstance(one, Views) and one.at >= asked_at for one in come))
        assert screen.views is held
        await pilot.press("space")
        await wait_for(pilot, lambda: screen.views is not held)
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, FleetScreen))
        await pilot.press("escape")
        await wait_for(pilot, lambda: type(pilot.app.screen).__name__ == "SessionsScreen")


@PAIR
async def test_a_server_that_fell_silent_is_counted_as_that_alone(watched: Watched, database: Path) -> None:
    async with shown(watched, database, (120, 40)) as pilot:
        head = pilot.app.screen.query_one("#head", Rows)
        await wait_for(pilot, lambda: "1 speculate · 1 plain" in head.text)
        watched.fakes[0].__exit__()
        watched.ask()
        watched.ask()
        await wait_for(pilot, lambda: "0 speculate · 1 plain · 1 silent" in head.text)


@PAIR
async def test_a_recorded_watch_opens_from_the_list(watched: Watched, database: Path) -> None:
    with Recorder(watched.fleet, database):
        pass  # what was asked is recorded at the end, too
    app = SpectuiApp(database)
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_for(pilot, lambda: getattr(app.screen, "table", None) and len(app.screen.table.items) == 2)  # type: ignore[attr-defined]
        await pilot.press("end", "enter")
        await wait_for(pilot, lambda: isinstance(app.screen, WatchedScreen))
        await wait_for(pilot, lambda: "YES" in text(pilot, "pay"))
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, FleetScreen))


@ONE
async def test_gpus_of_this_machine_are_beside_a_server_on_it(
    watched: Watched, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, [Device(), Device(uuid="b", percent=3)])
    async with shown(watched, database, (120, 40)) as pilot:
        panel = pilot.app.screen.query_one(GpuPanel)
        await wait_for(pilot, lambda: "87 %" in panel.text)
        assert "41.2 GB of 80.0 GB" in panel.text
        assert panel.display
        monkeypatch.setattr("spectui.servers.address.is_local", lambda url: False)
        await wait_for(pilot, lambda: not panel.display)
