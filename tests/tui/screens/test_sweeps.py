"""Protects: the list of sessions says how far a sweep is; a session of unlike devices shows no speed of them all."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from spectui.store.database import connect
from spectui.store.merging.merge import merge
from spectui.store.merging.parts import Place
from spectui.store.sweeps.cells import Cell, begin_sweep
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.widgets.report_view import ReportView
from spectui.tui.widgets.status import Status
from tests.store.merging.shards import GPU, make
from tests.store.samples import claimed_writer
from tests.tui.conftest import app_for, title_of, wait_for

CELLS = [Cell(draft, "chain:3", 0.0, "code") for draft in ("eagle", "recycling", "lookup")]


async def test_the_list_follows_a_whole_sweep(database: Path) -> None:
    with closing(connect(database)) as db:
        sweep = begin_sweep(db, "night [b]x[/]", CELLS, {})
        writer = claimed_writer(db, ["code", "code"])
        db.execute("UPDATE session SET sweep_id = ?, cell = ?", (sweep, CELLS[0].to_json()))
        app = app_for(database)
        async with app.run_test(size=(80, 24)) as pilot:
            title = app.screen.query_one("#list")
            await wait_for(pilot, lambda: "sweep night [b]x[/]: 0 of 3 sessions, 0 %" in title_of(title))
            first, second = writer.pending_generations()
            writer.start_generation(first.id)
            writer.finish_generation(first.id, "finished")
            await wait_for(pilot, lambda: "0 of 3 sessions, 17 %" in title_of(title))
            writer.start_generation(second.id)
            writer.finish_generation(second.id, "finished")
            writer.set_status("finished")
            await wait_for(pilot, lambda: "1 of 3 sessions, 33 %" in title_of(title))


async def test_a_session_of_unlike_devices_opens_without_a_speed_of_all(
    database: Path, tmp_path: Path
) -> None:
    shards = [make(tmp_path / "1.db", "1/2"), make(tmp_path / "2.db", "2/2", machine=GPU, device="cuda:0")]
    merge([Place(each) for each in shards], database)
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: app.screen.table.cursor_item is not None)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
        await wait_for(pilot, lambda: "– tok/s" in app.screen.query_one(Status).text)
        assert "– plain" in app.screen.query_one(Status).text
        app.go("report", 1)
        await wait_for(
            pilot,
            lambda: (
                app.screen.query(ReportView) and "By class of device" in app.screen.query_one(ReportView).text
            ),
        )
