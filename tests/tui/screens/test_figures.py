"""No figure is ever cut, on any screen, at any width: a column goes, or a shorter form comes."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from rich.cells import cell_len, set_cell_size
from textual._compositor import Compositor
from textual.pilot import Pilot

from spectui.tui.app import SpectuiApp
from spectui.tui.widgets.rows import Rows
from tests.tui.conftest import app_for, wait_for
from tests.tui.screens.dump import lines_of, text_of
from tests.tui.screens.huge import TASKS, make_huge, make_weighed
from tests.tui.screens.registry import says
from tests.tui.screens.test_screens import at_rest
from tests.tui.terminal.pty import Terminal

SIZES = ((120, 40), (79, 24), (80, 24), (100, 30), (160, 50), (60, 20), (40, 10))
CUT = re.compile(r"\d[\d.,:]*( ?[A-Za-z×%°]{1,3})?…")
"""A figure whose end is not there, or whose unit's."""


@dataclass(frozen=True)
class Walk:
    """A screen, how to get there, and the keys that show all of it: a look after each."""

    screen: str
    opened: int | None
    keys: tuple[str, ...] = ()
    then: str = ""
    steps: tuple[tuple[str, ...], ...] = ((),)
    data: Callable[[Path], object] = make_huge


WALKS = {
    "session": Walk("LiveScreen", 1, steps=(("1",), ("2",), ("4",), ("3",), *[("h",)] * 5)),
    "run": Walk("LiveScreen", 2),
    "charts": Walk("ChartScreen", 1, ("z",), steps=(*[("h",)] * 6,)),
    "replay": Walk("ReplayScreen", 1, ("r",), "held"),
    "inspector": Walk("InspectorScreen", 1, ("enter",)),
    "search": Walk("SearchScreen", 1, ("enter", "slash", *"words", "enter"), "place"),
    "report": Walk("ReportScreen", 1, ("R",), "Acceptance"),
    "advise": Walk("AdviseScreen", 1, ("A",), "plain", data=make_weighed),
    "help": Walk("HelpScreen", 1, ("question_mark",)),
    "leave": Walk("LeaveScreen", 2, ("q",)),
    "sessions": Walk("SessionsScreen", None),
    "delete": Walk("DeleteScreen", None, ("end", "d")),
    "export": Walk("ExportScreen", None, ("x",)),
    "compare": Walk("CompareScreen", None, ("m", "down", "m", "c"), steps=(("1",), ("2",), ("3",))),
}


@cache
def made(data: Callable[[Path], object]) -> Path:
    """A database of these, made once."""
    path = Path(mkdtemp()) / "made.db"
    data(path)
    return path


def cut_figures(app: SpectuiApp) -> list[str]:
    """Faults of the screen on top: figures before an ellipsis, and those that go over a widget's edge."""
    wrong = [line.strip() for line in text_of(lines_of(app)) if CUT.search(line)]
    for widget in app.screen.query(Rows):
        if not widget.size.width or not widget.is_on_screen:
            continue
        for row in widget.rows:
            text = "".join(cell for cell, _ in row)
            within = len(set_cell_size(text, widget.room).rstrip())
            if cell_len(text) > widget.room and re.fullmatch(
                r"[\d.,:][\d.,:kMGT%]", text[within - 1 : within + 1]
            ):
                wrong.append(f"#{widget.id}: {text}")
    return wrong


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short path: a figure in one that is too long for the screen may be cut."""
    monkeypatch.chdir(tmp_path)
    return Path("spectui.db")


async def settled(pilot: Pilot[Any]) -> None:
    """Until nothing waits to be done."""
    for _ in range(200):
        await pilot.pause()
        if at_rest(pilot.app):
            return


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose the pictures alone, not every update for a terminal that is not there."""

    def render_update(compositor: Compositor, **_: object) -> None:
        compositor._dirty_regions.clear()

    monkeypatch.setattr(Compositor, "render_update", render_update)


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
async def test_no_figure_is_cut(walk: Walk, database: Path) -> None:
    if walk.opened == 2:  # a copy has no worker
        walk.data(database)
    else:
        shutil.copy(made(walk.data), database)
    app = app_for(database, walk.opened)
    wrong: list[str] = []
    async with app.run_test(size=SIZES[0]) as pilot:
        first = app.screen
        await wait_for(pilot, lambda: getattr(first, "state", None) or getattr(first, "sessions", None))
        await settled(pilot)
        await pilot.press(*walk.keys)
        await wait_for(pilot, lambda: type(app.screen).__name__ == walk.screen)
        if walk.then:
            await wait_for(pilot, lambda: says(walk.then)(pilot))
        for size in SIZES:
            if app.size != size:
                await pilot.resize_terminal(*size)
            await settled(pilot)
            for keys in walk.steps:
                if keys:
                    await pilot.press(*keys)
                    await settled(pilot)
                wrong += [f"{size[0]}x{size[1]} {' '.join(keys)}: {line}" for line in cut_figures(app)]
    assert not wrong, "\n".join(wrong)


NARROW = 80


@pytest.mark.parametrize(
    "command", [["sessions", "ls"], ["sessions", "show", "1"], ["report", "1"]], ids=" ".join
)
def test_no_table_is_broken_over_the_edge_of_a_terminal(command: list[str], database: Path) -> None:
    shutil.copy(made(make_huge), database)
    terminal = Terminal(
        [sys.executable, "-m", "spectui.tui", *command, "--db", str(database)], columns=NARROW, rows=24
    )
    terminal.wait()
    assert terminal._ended.wait(10)  # all of it has been read
    lines = terminal.output().decode().replace("\r", "").splitlines()
    heads = [line.strip() for line in lines if line.startswith(("task ", "id "))]
    assert len(heads) > 1  # in parts
    tables = [line for line in lines if line.startswith((*TASKS, "all ", "1  ", "task ", "id "))]
    assert len(tables) > len(TASKS)
    assert all(cell_len(line) <= NARROW for line in tables), max(tables, key=cell_len)
