"""The looks of every screen, at three sizes, in every theme and in ASCII; see `tests.tui.screens` to add one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.app import App
from textual.message_pump import MessagePump
from textual.pilot import Pilot

from spectui.decoding.config import RunConfig
from spectui.tui.navigation import DESTINATIONS
from spectui.tui.screens.base import FedScreen
from spectui.tui.terminal import glyphs
from spectui.tui.terminal.plain_output import PlainFilter
from spectui.tui.terminal.theme import THEME_NAMES
from tests.tui.conftest import app_for
from tests.tui.screens.dump import letters, lines_of, styles_of, text_of
from tests.tui.screens.registry import SCREENS, Shown

SIZES = ((80, 24), (120, 40), (200, 60))
WIDEST = SIZES[-1]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path that reads the same in every run, for the list of sessions shows it; and a fixed drafter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(RunConfig, "draft_name", property(lambda config: config.draft.strip() or "eagle"))
    return Path("spectui.db")


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose the pictures alone, not every update for a terminal that is not there: half of the time."""

    def render_update(compositor: Compositor, **_: object) -> None:
        compositor._dirty_regions.clear()

    monkeypatch.setattr(Compositor, "render_update", render_update)


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
async def test_it_looks_as_it_did(screen: Shown, database: Path, request: pytest.FixtureRequest) -> None:
    app = app_for(database, screen.data(database))
    async with app.run_test(size=SIZES[0]) as pilot:
        await screen.reach(pilot)
        assert type(app.screen).__name__ == screen.screen
        try:
            drawn = await picture(pilot)
        finally:
            glyphs.choose(ascii=False)
    path = GOLDEN / f"{screen.name}.txt"
    if request.config.getoption("--snapshot-update"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
    assert path.exists(), f"no golden file for {screen.name} yet; see tests/tui/screens/__init__.py"
    assert drawn.splitlines() == path.read_text(encoding="utf-8").splitlines()


def test_every_screen_is_pictured() -> None:
    destinations = {destination.load().__name__ for destination in DESTINATIONS.values()}
    assert destinations == {screen.screen for screen in SCREENS}


async def picture(pilot: Pilot[Any]) -> str:
    """Text of the screen on top at every size, styles at all but the widest; last, what they are in each theme."""
    out: list[str] = []
    known: dict[tuple[str, ...], str] = {}
    order = list(THEME_NAMES)
    for width, height in SIZES:
        settled_text: list[str] = []
        if pilot.app.size != (width, height):
            await pilot.resize_terminal(width, height)
            settled_text = await settled(pilot)
        if (width, height) == WIDEST:  # most of the cells; colours are those of the other sizes
            out += [f"== {width}x{height}", *settled_text]
            continue
        themes = {}
        for theme in order:
            pilot.app.theme = theme
            await pilot.pause()
            themes[theme] = lines_of(pilot.app)
        order.reverse()  # the next size begins with the theme that is in force
        texts = text_of(themes[THEME_NAMES[0]])
        assert all(text_of(lines) == texts for lines in themes.values()), "a theme changes the text"
        styles = [styles_of(themes[theme]) for theme in THEME_NAMES]
        out += [f"== {width}x{height}", *texts, f"== {width}x{height} styles", *letters(styles, known)]
    glyphs.choose(ascii=True)
    pilot.app.plain = PlainFilter("ascii")  # type: ignore[attr-defined]
    for width, height in SIZES:
        await pilot.resize_terminal(width, height)
        texts = await settled(pilot)
        assert all(text.isascii() for text in texts)
        out += [f"== {width}x{height} ascii", *texts]
    for place, theme in enumerate(THEME_NAMES):
        out += [f"== {theme}", *(f"{letter} {styles[place]}" for styles, letter in known.items())]
    return "\n".join(out) + "\n"


async def settled(pilot: Pilot[Any], seconds: float = 60.0) -> list[str]:
    """The text of the screen once two pictures of it are the same with nothing waiting to be done in between.

    A new size takes several steps; a picture is dear, and is composed only when nothing waits.
    """
    deadline = time.monotonic() + seconds
    before: list[str] | None = None
    while True:
        assert time.monotonic() < deadline, f"the screen does not come to rest within {seconds:g} s"
        await pilot.pause(0.02)
        if not at_rest(pilot.app):
            before = None
            continue
        now = text_of(lines_of(pilot.app))
        if now == before and at_rest(pilot.app):
            return now
        before = now


def at_rest(app: App[Any]) -> bool:
    """True when no message waits, no layout is due and nothing remains to be read, however slow the machine is."""
    screen = app.screen
    feed = screen._feed if isinstance(screen, FedScreen) else None
    if feed is not None and (feed._asked or feed._in_flight or feed.period() == 0.0):
        return False
    waiting = [screen._layout_required, screen._repaint_required, screen._scroll_required, screen._callbacks]
    pumps: list[MessagePump] = [app, screen, *screen.walk_children()]
    return not any(waiting) and not any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
