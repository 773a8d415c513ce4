"""The report in the dashboard: what `spectui report` prints, worked out beside the screen."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from spectui.store.analysis import report as store_report
from spectui.store.analysis.report import build_report
from spectui.store.reading.reader import Reader
from spectui.tui.app import SpectuiApp
from spectui.tui.report.text import report_lines
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.report import ReportScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.report_view import ReportView, report_blocks
from spectui.tui.widgets.rows import Line, row_width
from tests.tui.conftest import app_for, live_screen, wait_for
from tests.tui.replay import Recording


async def opened(pilot: Pilot[Any]) -> ReportScreen:
    """Press the key and wait for the page."""
    before = pilot.app.screen
    if isinstance(before, SessionsScreen):
        await wait_for(pilot, lambda: before.table.cursor_item)
    await pilot.press("R")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReportScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ReportScreen)
    await wait_for(pilot, lambda: screen.result)
    await wait_for(pilot, lambda: screen.query_one(ReportView).rows)
    return screen


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def recording(database: Path, name: str, prompts: int, **settings: Any) -> int:
    """A finished session with so many prompts."""
    made = Recording(database, name=name, prompts=prompts, **settings)
    made.begin()
    for _ in range(prompts):
        made.prompt(tokens=60)
    made.end()
    made.close()
    return made.id


async def test_it_says_what_the_command_line_says(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(80, 40)) as pilot:
        screen = await opened(pilot)
        page = flat(screen.query_one(ReportView).text)
        with Reader(database) as reader:
            report = build_report(reader, finished.id)
        assert screen.result == report
        assert report.verdict in page
        for line in report_lines(report):
            whole = len(line) <= 76  # a table that is wider stands in parts
            assert all(part in page for part in ([flat(line)] if whole else line.split())), line
        assert "published (arXiv 2604.14682)" in page
        await pilot.press("escape")
        assert isinstance(app.screen, SessionsScreen)


async def test_it_opens_from_a_session_too_and_scrolls(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(80, 24)) as pilot:
        live_screen(pilot)
        screen = await opened(pilot)
        view = screen.query_one(ReportView)
        assert view.scroll_offset.y == 0
        tops = []
        for _ in range(4):
            await pilot.press("right_square_bracket")
            tops.append(view.scroll_offset.y)
        assert tops == sorted(set(tops))
        assert view.rows[tops[0]][0][0] == "Sizes"
        await pilot.press("left_square_bracket")
        assert view.scroll_offset.y == tops[-2]
        await pilot.press("G")
        assert view.scroll_offset.y == view.max_scroll_y > 100
        await pilot.press("g", "j")
        assert view.scroll_offset.y == 1
        assert view.max_scroll_x == 0
        assert not screen.query_one("#page").border_subtitle
        await pilot.resize_terminal(24, 24)
        await wait_for(pilot, lambda: view.max_scroll_x > 0)  # a name and a figure do not fit any more
        assert "←" in str(screen.query_one("#page").border_subtitle)
        await pilot.press("right")
        assert view.scroll_offset.x > 0
        await pilot.press("escape")
        assert isinstance(app.screen, LiveScreen)


@pytest.mark.parametrize("width", [38, 76, 116, 196])
def test_sentences_and_charts_keep_to_the_width(database: Path, finished: Recording, width: int) -> None:
    with Reader(database) as reader:
        report = build_report(reader, finished.id)
    blocks = report_blocks(report, width)
    wide = {block[0][0][0].strip() for block in blocks if max(map(row_width, block)) > width}
    assert not {title for title in wide if "intervals" in title or "Survival" in title or "session" in title}
    if width == 196:
        assert not wide
        assert len(blocks) < len(report_blocks(report, 116))  # charts stand beside their tables


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("without", {"prompts": 4, "draft_probabilities": False}, "the drafter has no probabilities"),
        ("alone", {"prompts": 1}, "it takes two prompts; there is one of code"),
        ("only", {"prompts": 3, "tasks": ("code",)}, "cannot be judged: all nodes have the same task"),
    ],
)
async def test_what_is_missing_says_why(
    database: Path, name: str, settings: dict[str, Any], said: str
) -> None:
    session = recording(database, name, **settings)
    app = app_for(database, session)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        page = flat(screen.query_one(ReportView).text)
        assert said in page
        assert "Acceptance α under each definition" in page


async def test_a_session_without_rounds_and_one_that_runs(database: Path) -> None:
    made = Recording(database, prompts=3)
    made.begin()
    app = app_for(database, made.id)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        view = screen.query_one(ReportView)
        assert "no round has been recorded yet" in flat(view.text)
        made.prompt(tokens=60)
        await pilot.press("r")
        await wait_for(pilot, lambda: "it takes two prompts; there is one of code" in flat(view.text))
        assert "it is running: these are the figures so far" in flat(view.text)
        await pilot.press("q")
        await wait_for(pilot, lambda: "LeaveScreen" in type(app.screen).__name__)


async def test_copies_and_writes(
    database: Path, finished: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_for(database)
    copied: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("y")
        assert screen.result is not None
        assert copied == ["\n".join(report_lines(screen.result)) + "\n"]
        for place, start in (
            ("quiet-heron.html", "<!doctype html>"),
            ("charts.svg", "<svg"),
            ("tables", "task,definition,mean,ci_low,ci_high"),
        ):
            await pilot.press("w")
            await wait_for(pilot, lambda: isinstance(app.screen, AskScreen))
            if place != "quiet-heron.html":
                app.screen.query_one("#answer").value = place  # type: ignore[attr-defined]
            await pilot.press("enter")
            await wait_for(pilot, lambda: app.screen is screen)
            file = tmp_path / place if "." in place else tmp_path / place / "alpha.csv"
            assert file.read_text(encoding="utf-8").startswith(start)
        await pilot.press("w")
        await wait_for(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("enter")
        note = app.screen.query_one("#ask-note", Line)
        await wait_for(pilot, lambda: "is there already; name another place" in note.text)


async def test_leaving_gives_the_work_up_and_the_screen_answers_meanwhile(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def slow(reader: Reader, ref: int, progress: Any) -> Any:
        begun.set()
        go_on.wait(20)
        try:
            return build_report(reader, ref, progress)
        except BaseException as error:
            ended.append(error)
            raise

    monkeypatch.setattr(store_report, "build_report", slow)
    app: SpectuiApp = app_for(database, finished.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("R")
        await wait_for(pilot, lambda: isinstance(app.screen, ReportScreen) and begun.is_set())
        screen = app.screen
        assert isinstance(screen, ReportScreen)
        await pilot.press("y", "w", "right_square_bracket")  # nothing to copy, write or scroll yet
        assert "Reading the session" in screen.query_one("#waiting", Line).text
        await pilot.press("escape")
        assert isinstance(app.screen, LiveScreen)
        go_on.set()
        await wait_for(pilot, lambda: ended)
    assert type(ended[0]).__name__ == "Gone"


async def test_a_database_that_cannot_be_read_is_said(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).state)
        app.go("report", 999)
        await wait_for(pilot, lambda: isinstance(app.screen, ReportScreen))
        waiting = app.screen.query_one("#waiting", Line)
        await wait_for(pilot, lambda: "there is no session '999'" in waiting.text)


def test_the_screen_is_opened_without_what_only_figures_need() -> None:
    code = (
        "import sys, spectui.tui.screens.report\n"
        "print(*(m for m in ('torch', 'transformers', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
