"""Databases and apps for the dashboard's tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.content import Content
from textual.pilot import Pilot
from textual.widget import Widget

from spectui.store.reading.reader import Reader
from spectui.tui.app import SpectuiApp
from spectui.tui.model import progress
from spectui.tui.screens.live.screen import LiveScreen
from tests.tui.replay import Recording
from tests.tui.screens.data import make_finished, make_running, worker_words

NOW = datetime(2026, 3, 1, 10, 3, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A path for a database; nothing is there yet."""
    return tmp_path / "spectui.db"


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is always the same minute, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(progress, "now", lambda: NOW)
    monkeypatch.setattr(progress, "worker_words", worker_words)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def finished(database: Path) -> Recording:
    """A session that is over: eight prompts, one of them failed."""
    return make_finished(database)


@pytest.fixture
def running(database: Path) -> Recording:
    """A session in the middle of its third prompt; the test decodes on."""
    return make_running(database)


def app_for(database: Path, session: int | None = None, theme: str = "dark") -> SpectuiApp:
    """The dashboard in a fixed theme, whatever the terminal of the test run is."""
    source = ""
    if session is not None:
        with Reader(database) as reader:
            source = reader.session(session).source
    app = SpectuiApp(database, session, source)
    app.theme = theme
    return app


async def wait_for(pilot: Pilot[None], condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Let the app go on until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the dashboard did not get there in time"
        await pilot.pause(0.02)
    await pilot.pause()


def title_of(pane: Widget) -> str:
    """The title of a pane's border as it is drawn."""
    return Content.from_markup(pane.border_title or "").plain


def live_screen(pilot: Pilot[None]) -> LiveScreen:
    """The live screen that is on top."""
    screen = pilot.app.screen
    assert isinstance(screen, LiveScreen)
    return screen


def shown(screen: LiveScreen, position: int) -> bool:
    """True once the prompt at `position` is on the screen, with its text."""
    return (
        screen.shown is not None
        and screen.shown.position == position
        and screen.stream.transcript.length > 0
        and bool(screen.body.tree_view.number) == bool(screen.shown.round_count)
    )


def text_of(screen: LiveScreen) -> str:
    """Everything in the text pane, wrapped as it is."""
    transcript = screen.stream.transcript
    lines = ("".join(text for _, text, _ in transcript.line(y)) for y in range(transcript.line_count))
    return "\n".join(lines)
