"""Protects: requests of a server's clients on the live screen, many at once, and a server that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.servers.recordings.files import Folder
from spectui.servers.recordings.recording import Recording
from spectui.store.database import connect
from spectui.tui.feeds import session as session_feed
from spectui.tui.widgets.prose import PromptHead
from spectui.tui.widgets.rows import Line
from spectui.tui.widgets.status import Status
from tests.servers.recordings.recorder import ENGINE, WORKER, Rows, import_all, rows, write
from tests.tui.conftest import app_for, live_screen, text_of, wait_for


def begun_at_once(all_rows: Rows) -> Rows:
    """All requests begin before any round."""
    return sorted(all_rows, key=lambda row: {"meta": 0, "req": 1}.get(row[0], 2))


async def test_requests_are_the_prompts_and_the_newest_is_followed(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_feed, "DWELL_SECONDS", 0.0)
    monkeypatch.setattr(Recording, "_alive", lambda _: True)
    engine = rows(ENGINE, begun_at_once)
    requests = [line for line in engine if line.startswith(b'["req"')]
    write(tmp_path / "recorded", [engine[0], *requests[:3]])
    db = connect(database)
    folder = Folder(tmp_path / "recorded")
    (key,) = folder.look()
    recording = Recording(db, folder.starts[key], None)
    recording.claim()

    def grow(lines: list[bytes]) -> None:
        with (tmp_path / "recorded" / "1-1-engine.jsonl").open("ab") as file:
            file.write(b"".join(lines))
        while recording.read():
            pass

    grow([])
    async with app_for(database, recording.session).run_test(size=(160, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(
            pilot, lambda: screen.shown and screen.shown.position == 2
        )  # the last of three that run
        assert screen.query_one(PromptHead).text.strip() == "code-001, 56 tokens of prompt"
        grow(requests[3:5])
        await wait_for(pilot, lambda: screen.shown and screen.shown.position == 4)
        assert screen.state is not None
        assert [row.status for row in screen.state.generations] == ["running"] * 5
        assert "request 5 of 5" in str(screen.body.query_one("#text").border_title)
        await pilot.press("s")
        await wait_for(
            pilot, lambda: any("not ours to skip" in note.message for note in screen.app._notifications)
        )
        grow([*requests[5:], *[line for line in engine if line not in requests and line != engine[0]]])
        await wait_for(pilot, lambda: screen.state and screen.state.summary.prompts_done == 8)
        await wait_for(pilot, lambda: "⟨id" in text_of(screen))  # no tokenizer: tokens by their ids
        await wait_for(pilot, lambda: "100 % of 189 greedy" in screen.query_one(Status).text)
        assert "tokens are shown as their ids" in screen.query_one("#notice", Line).text
    recording.leave()
    db.close()


async def test_a_round_that_the_argmax_does_not_explain_is_named_in_red(
    database: Path, tmp_path: Path
) -> None:
    def change(all_rows: Rows) -> Rows:
        verdict = all_rows[60][1][0]
        verdict[5] = [
            token + 1 for token in verdict[2]
        ]  # no draft is the argmax, and no token of the target's
        return all_rows

    wrong = json.loads(WORKER[60])[1][0]
    import_all(write(tmp_path / "recorded", ENGINE, rows(WORKER, change)), database)
    db = connect(database)
    ((position, number),) = db.execute(
        "SELECT position, number FROM round JOIN request USING (generation_id)"
        " JOIN generation ON generation.id = generation_id WHERE name = ? AND prefix_length = ?",
        wrong[:2],
    ).fetchall()
    db.close()
    async with app_for(database, 1).run_test(size=(160, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.query_one("#notice", Line).rows)
        (row, *_) = screen.query_one("#notice", Line).rows
        words, role = row[0]
        assert role == "bad"
        assert f"1 of 189 greedy rounds, the first in request {position + 1}, round {number}" in words
        assert ("99.4 %", "bad") in [cell for row in screen.query_one(Status).rows for cell in row]
