"""How it looks, on fixed data at three sizes. `pytest --snapshot-update` after looking at what changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from decoding.config import RunConfig
from store.sessions import set_notes, set_tags
from tests.tui.conftest import app_for, at_fixed_times, live_screen, shown, wait_for
from tests.tui.replay import Recording
from tui.screens.sessions import SessionsScreen
from tui.widgets.histogram import Histogram
from tui.widgets.rows import Line

SIZES = [(80, 24), (120, 40), (200, 60)]
Compare = Callable[..., bool]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path that reads the same in every run: the list of sessions shows it."""
    monkeypatch.chdir(tmp_path)
    return Path("spectui.db")


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def prepared(position: int, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run_before(pilot: Pilot[Any]) -> None:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, position) and screen.state)
        await wait_for(pilot, lambda: screen.query(Histogram).first()._figures)
        await pilot.press(*keys)
        await wait_for(pilot, lambda: not pilot.app._animator.is_being_animated(screen, "scroll_y"))

    return run_before


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_live(snap_compare: Compare, database: Path, running: Recording, size: tuple[int, int]) -> None:
    app = app_for(database, running.id)
    assert snap_compare(app, terminal_size=size, run_before=prepared(2))


@pytest.mark.parametrize("theme", ["light", "colour-blind-safe", "ansi"])
def test_live_in_other_themes(snap_compare: Compare, database: Path, running: Recording, theme: str) -> None:
    app = app_for(database, running.id, theme)
    assert snap_compare(app, terminal_size=(120, 40), run_before=prepared(2))


@pytest.mark.parametrize("pane", ["2", "3", "4"])
def test_panes_of_a_small_terminal(
    snap_compare: Compare, database: Path, running: Recording, pane: str
) -> None:
    app = app_for(database, running.id)
    assert snap_compare(app, terminal_size=(80, 24), run_before=prepared(2, pane))


def test_finished_with_the_depth_chart(snap_compare: Compare, database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    assert snap_compare(app, terminal_size=(120, 40), run_before=prepared(7, "h"))


@pytest.fixture
def several(database: Path, finished: Recording) -> Path:
    """A database with a session of every kind."""
    set_tags(finished.db, finished.id, ["cpu", "study"])
    set_notes(finished.db, finished.id, "before the new head")
    for name, status, error in (
        ("brave-otter", "stopped", None),
        ("old-maple", "failed", "the model needs 31 GB, 8 GB are free"),
        ("tall-wren", None, None),
    ):
        other = Recording(database, name=name, tasks=("code", "rag"), prompts=4)
        other.begin()
        other.prompt(tokens=30)
        if status:
            other.end(status, error=error)
        at_fixed_times(other)
    return database


def listed(*keys: str, dialogue: str = "") -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Press keys once the list and the summary are there; wait for what is asked, or for the summary again."""

    async def run_before(pilot: Pilot[Any]) -> None:
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

    return run_before


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_sessions(snap_compare: Compare, several: Path, size: tuple[int, int]) -> None:
    assert snap_compare(app_for(several), terminal_size=size, run_before=listed())


@pytest.mark.parametrize(
    ("keys", "dialogue"),
    [
        (("slash", *"-failed", "space", *"task:code"), ""),
        (("v", "o", "O", "i", "d"), "Delete quiet-heron?"),
        (("number_sign",), "finds #study"),
    ],
    ids=["filter", "delete", "tags"],
)
def test_sessions_at_work(snap_compare: Compare, several: Path, keys: tuple[str, ...], dialogue: str) -> None:
    app = app_for(several, theme="dark" if dialogue else "ansi")
    assert snap_compare(app, terminal_size=(80, 24), run_before=listed(*keys, dialogue=dialogue))


@pytest.mark.parametrize("keys", [("question_mark",), ("q",)], ids=["help", "leave"])
def test_dialogues(snap_compare: Compare, database: Path, running: Recording, keys: tuple[str, ...]) -> None:
    app = app_for(database, running.id)
    assert snap_compare(app, terminal_size=(80, 24), run_before=prepared(2, *keys))


def test_new_run(
    snap_compare: Compare, database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the default drafter is."""
    monkeypatch.setattr(RunConfig, "draft_name", property(lambda config: config.draft.strip() or "eagle"))

    async def run_before(pilot: Pilot[Any]) -> None:
        await pilot.press("r")
        await wait_for(pilot, lambda: type(pilot.app.screen).__name__ == "NewRunScreen")
        await pilot.press("down", "space", "space")
        await wait_for(pilot, lambda: "eagle+lookup" in pilot.app.screen.query_one("#about", Line).text)

    assert snap_compare(app_for(database), terminal_size=(80, 24), run_before=run_before)
