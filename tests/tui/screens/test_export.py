"""Exporting from the list of sessions."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectui.store.export.export import export_session
from spectui.tui.screens.dialogs import export
from spectui.tui.screens.dialogs.export import ExportScreen, kind_of
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.rows import Line
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording


async def asked(pilot: Pilot[Any], place: str = "") -> ExportScreen:
    screen = pilot.app.screen
    assert isinstance(screen, SessionsScreen)
    await wait_for(pilot, lambda: screen.table.cursor_item)
    await pilot.press("x")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
    dialogue = pilot.app.screen
    assert isinstance(dialogue, ExportScreen)
    if place:
        dialogue.query_one("#answer", Input).value = place
    await pilot.press("enter")
    return dialogue


def test_the_name_says_the_format() -> None:
    names = ("a-csv", "a", "a.b", "a-jsonl", "a-parquet", "x/a.db", "a-aiperf.jsonl")
    assert [kind_of(Path(name)) for name in names] == [
        "csv", "csv", "csv", "jsonl", "parquet", "sqlite", "aiperf",
    ]  # fmt: skip


async def test_writes_where_it_is_told(
    database: Path, finished: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        home = app.screen
        await asked(pilot)
        await wait_for(pilot, lambda: app.screen is home)
        assert (tmp_path / "quiet-heron-csv" / "node.csv").exists()
        await asked(pilot, "~nobody.db")  # no such user: a name as any other
        await wait_for(pilot, lambda: app.screen is home)
        assert (tmp_path / "~nobody.db").exists()
        await asked(pilot, "friday.db")
        await wait_for(pilot, lambda: app.screen is home)
        with closing(sqlite3.connect(tmp_path / "friday.db")) as copy:
            assert copy.execute("SELECT name FROM session").fetchall() == [("quiet-heron",)]
        notices = [note.message for note in app._notifications]
        assert any("friday.db" in each and "rows" in each for each in notices)
        dialogue = await asked(pilot, "friday.db")
        note = dialogue.query_one("#ask-note", Line)
        await wait_for(pilot, lambda: "is there already" in note.text)
        await pilot.press("escape")
        assert app.screen is home


async def test_escape_stops_half_way_and_leaves_nothing(
    database: Path, finished: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun, go_on = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def slow(*arguments: Any, **named: Any) -> Any:
        begun.set()
        go_on.wait(20)
        try:
            return export_session(*arguments, **named)
        except BaseException as error:
            ended.append(error)
            raise

    monkeypatch.setattr(export, "export_session", slow)
    before = {file.name for file in tmp_path.iterdir()}
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        home = app.screen
        await asked(pilot)
        await wait_for(pilot, begun.is_set)
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is home)
        go_on.set()
        await wait_for(pilot, lambda: ended)
    assert type(ended[0]).__name__ == "Gone"
    assert {file.name for file in tmp_path.iterdir()} - before <= {"spectui.db-wal", "spectui.db-shm"}
