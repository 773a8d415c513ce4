"""The live screen: its keys, what it follows, and sessions of every kind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len

from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.whereabouts import whereabouts
from spectui.tui.screens.dialogs.leave import LeaveScreen
from spectui.tui.screens.live.replay import ReplayScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.histogram import Histogram
from spectui.tui.widgets.prose import PromptHead
from spectui.tui.widgets.rows import Line
from spectui.tui.widgets.status import Status
from spectui.tui.widgets.table import Table
from tests.tui.conftest import app_for, live_screen, shown, text_of, wait_for
from tests.tui.replay import Recording


def commands(recording: Recording) -> list[str]:
    return [row[0] for row in recording.db.execute("SELECT kind FROM command ORDER BY id")]


async def test_follows_the_run_from_prompt_to_prompt(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        assert screen.shown is not None
        running.writer.finish_generation(screen.shown.id, "finished")
        running.prompt(tokens=30, finish=None)
        await wait_for(pilot, lambda: shown(screen, 3))
        assert "plan for a" in text_of(screen).replace("\n", " ")
        assert screen.query_one(PromptHead).text.startswith("Any ideas")


async def test_scrolling_up_stops_following_and_counts_what_is_new(
    database: Path, running: Recording
) -> None:
    async with app_for(database, running.id).run_test(size=(100, 30)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2) and screen.stream.max_scroll_y > 0)
        await pilot.press("up")
        await wait_for(pilot, lambda: not screen.follow)
        top = screen.stream.scroll_y
        generation = screen.shown
        assert generation is not None
        running.writer.finish_generation(generation.id, "finished")
        running.prompt(tokens=30, finish=None)
        await wait_for(pilot, lambda: screen.state and screen.state.generations[3].status == "running")
        assert screen.shown is not None
        assert screen.shown.id == generation.id
        assert screen.stream.scroll_y == top
        await pilot.press("p")
        await wait_for(pilot, lambda: shown(screen, 3))
        assert screen.follow


async def test_says_how_much_is_new_below(database: Path) -> None:
    recording = Recording(database)
    recording.begin()
    generation = recording.queue[0]
    recording.prompt(tokens=150, finish=None)
    async with app_for(database, recording.id).run_test(size=(100, 30)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 0) and screen.stream.max_scroll_y > 0)
        await pilot.press("g")
        await wait_for(pilot, lambda: screen.stream.scroll_y == 0)
        tokens = recording.go_on(generation.id, tokens=40)
        await wait_for(pilot, lambda: screen.stream.new_below == tokens)
        assert f"{tokens} new below" in screen.body.legend.text
        await pilot.press("G")
        await wait_for(pilot, lambda: screen.follow)
        assert "new below" not in screen.body.legend.text
        assert screen.stream.scroll_y == screen.stream.max_scroll_y


async def test_walks_through_the_prompts(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 7))
        await pilot.press("left_square_bracket")
        await wait_for(pilot, lambda: shown(screen, 6))
        await pilot.press("left_square_bracket")
        await wait_for(
            pilot, lambda: screen.shown and screen.shown.position == 5 and "failed" in text_of(screen)
        )
        assert "9000 tokens long" in text_of(screen).replace("\n", " ")
        await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await wait_for(pilot, lambda: shown(screen, 7))


async def test_a_pending_prompt_says_so_and_fills_when_its_turn_comes(
    database: Path, running: Recording
) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        await pilot.press("right_square_bracket")
        await wait_for(pilot, lambda: "waits for its turn" in text_of(screen))
        running.writer.finish_generation(running.queue[0].id - 1, "finished")
        running.prompt(tokens=30, finish=None)
        await wait_for(pilot, lambda: "plan for a" in text_of(screen).replace("\n", " "))
        assert "waits for its turn" not in text_of(screen)


async def test_steps_through_rounds_while_the_run_goes_on(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        last = int(screen.body.tree_view.text.split()[1])
        await pilot.press("left", "left")
        await wait_for(
            pilot, lambda: screen.body.tree_view.text.startswith(f"round {last - 2} of {last} (held)")
        )
        assert not screen.follow
        generation = screen.shown
        assert generation is not None
        running.go_on(generation.id, tokens=20)
        await wait_for(pilot, lambda: f"round {last - 2} of {last} " not in screen.body.tree_view.text)
        assert screen.body.tree_view.text.startswith(f"round {last - 2} of ")
        await pilot.press("p")
        await wait_for(pilot, lambda: "(held)" not in screen.body.tree_view.text)


async def test_x_hides_and_shows_rejected_spans(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 7))

        def kinds() -> set[str]:
            return {kind for y in range(500) for kind, _, _ in screen.stream.transcript.line(y)}

        assert "rejected" in kinds()
        await pilot.press("x")
        assert "rejected" not in kinds()
        assert "hidden" in screen.body.legend.text
        await pilot.press("x")
        assert "rejected" in kinds()


async def test_h_switches_the_chart(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: "code" in screen.query_one("#lengths-view", Histogram).text)
        assert screen.query_one("#lengths").display
        assert not screen.query_one("#depths").display
        await pilot.press("h")
        await wait_for(pilot, lambda: "S " in screen.query_one("#lengths-view", Histogram).text)
        await pilot.press("H")
        assert "S " not in screen.query_one("#lengths-view", Histogram).text


async def test_charts_say_what_the_store_says(database: Path, finished: Recording) -> None:
    with Reader(database) as reader:
        figures = reader.figures(finished.id)
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        chart = screen.query_one("#lengths-view", Histogram)
        await wait_for(pilot, lambda: "code" in chart.text)
        for task, figure in figures.items():
            heading = next(line for line in chart.text.splitlines() if line.startswith(task))
            assert f"{figure.rounds}" in heading
            assert f"{figure.mean_accepted_length:.2f}" in heading
            assert f"{figure.match_rate:.2f}".removeprefix("0") in heading


async def test_numbers_choose_panes_when_small_and_blow_them_up_when_not(
    database: Path, finished: Recording
) -> None:
    async with app_for(database, finished.id).run_test(size=(80, 24)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 7))
        for key, pane in (("2", "tree"), ("3", "charts"), ("4", "prompts"), ("1", "text")):
            await pilot.press(key)
            visible = [
                p for p in ("text", "tree", "charts", "prompts") if screen.query_one(f"#{p}").size.width
            ]
            assert visible == [pane]
        await pilot.resize_terminal(120, 40)
        await wait_for(pilot, lambda: screen.query_one("#tree").size.width > 0)
        await pilot.press("2")
        assert screen.query_one("#text").size.width == 0
        await pilot.press("escape")
        assert screen.query_one("#text").size.width > 0


async def test_space_pauses_and_resumes_by_commands(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        status = screen.query_one(Status)
        await wait_for(pilot, lambda: "running" in status.text)
        await pilot.press("space")
        await wait_for(pilot, lambda: "pausing…" in status.text)
        assert commands(running) == ["pause"]
        assert running.writer.take_commands() == ["pause"]
        running.writer.set_status("paused")
        await wait_for(pilot, lambda: "paused" in status.text and "pausing" not in status.text)
        await pilot.press("space")
        await wait_for(pilot, lambda: "resuming…" in status.text)
        await pilot.press("s")
        await wait_for(pilot, lambda: "skipping…" in status.text)
        assert commands(running) == ["pause", "resume", "skip"]


async def test_a_finished_session_takes_no_commands(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 7))
        await pilot.press("space", "s")
        await pilot.pause()
        assert commands(finished) == []
        assert "following" not in screen.body.legend.text
        assert "cpu" not in screen.query_one(Status).text


@pytest.mark.parametrize("width", [120, 60, 48, 40])
async def test_when_a_run_ends_is_never_cut(database: Path, running: Recording, width: int) -> None:
    """Words and the clock make room for it."""
    async with app_for(database, running.id).run_test(size=(width, 24)) as pilot:
        status = live_screen(pilot).query_one(Status)
        await wait_for(pilot, lambda: "running" in status.text)
        first = status.text.splitlines()[0]
        assert "ETA" in first
        assert cell_len(first) <= width


async def test_a_failed_run_shows_its_error(database: Path) -> None:
    recording = Recording(database)
    recording.begin()
    recording.end("failed", error="the model needs 31 GB, 8 GB are free; choose a smaller --target")
    async with app_for(database, recording.id).run_test(size=(80, 24)) as pilot:
        notice = live_screen(pilot).query_one("#notice", Line)
        await wait_for(pilot, lambda: "31 GB" in notice.text)
        assert notice.size.height > 0


async def test_a_worker_that_died_is_noticed_without_a_write(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        send_command(running.db, running.id, "stop")
        await wait_for(pilot, lambda: "stopping" in screen.query_one(Status).text)
        with running.db:
            running.db.execute("UPDATE session SET pid_created = 1.0, worker_place = ''")
        await wait_for(pilot, lambda: "interrupted" in screen.query_one(Status).text)
        assert "stopping" not in screen.query_one(Status).text
        assert "worker is gone" in screen.query_one("#notice", Line).text


async def test_a_run_that_waits_for_the_disk_says_so(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        notice = screen.query_one("#notice", Line)
        assert notice.text == ""
        running.writer.set_status("paused")
        running.writer.set_stage("waiting: the disk is full")
        await wait_for(pilot, lambda: "Waiting: the disk is full; the run goes on by itself" in notice.text)
        with Reader(database) as reader:
            assert reader.session(running.id).held_up_by == "waiting: the disk is full"
        running.writer.set_status("running")
        running.writer.set_stage("decoding")
        await wait_for(pilot, lambda: notice.text == "")


async def test_a_frozen_worker_has_no_speed_and_no_end_in_sight(database: Path, running: Recording) -> None:
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE) as worker:
        async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
            screen = live_screen(pilot)
            await wait_for(pilot, lambda: shown(screen, 2))
            status = screen.query_one(Status)
            assert "● running" in status.text
            assert re.search(r"\n +\d+\.\d tok/s", status.text)
            place = whereabouts(worker.pid, database).to_json()
            with running.db:
                running.db.execute(
                    "UPDATE session SET pid = ?, worker_place = ?, heartbeat_at = ?",
                    (worker.pid, place, (datetime.now(UTC) - timedelta(seconds=37)).isoformat()),
                )
            await wait_for(pilot, lambda: "no sign of life for" in status.text)
            assert "●" not in status.text
            assert "\n       – tok/s" in status.text
            assert re.search(r"ETA +–", status.text)
            assert "cpu" not in status.text
            notice = screen.query_one("#notice", Line).text
            assert f"process {worker.pid} on {socket.gethostname()}" in notice
            app = screen.app
            await pilot.press("escape")
            await wait_for(pilot, lambda: isinstance(app.screen, SessionsScreen) and app.screen.sessions)
            await wait_for(pilot, lambda: "silent" in app.screen.query_one("#list-view", Table).text)
            running.writer.heartbeat(191.0, 1_310_000_000)
            await wait_for(pilot, lambda: "● running" in app.screen.query_one("#list-view", Table).text)
        worker.kill()


async def test_a_session_without_rounds(database: Path) -> None:
    recording = Recording(database)
    async with app_for(database, recording.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: "waits for its turn" in text_of(screen))
        assert "starting" in screen.query_one(Status).text
        await pilot.press("left", "right", "x", "h", "g", "G", "p", "p")
        recording.writer.claim()
        recording.writer.set_stage("loading the target", 61e6, 93e6, "bytes")
        await wait_for(pilot, lambda: "61 MB of 93 MB" in screen.query_one(Status).text)


async def test_tasks_of_users_get_their_place(database: Path) -> None:
    recording = Recording(database, tasks=("rag", "code", "translation"), prompts=3)
    recording.begin()
    for _ in range(3):
        recording.prompt(tokens=20)
    recording.end()
    async with app_for(database, recording.id).run_test(size=(120, 40)) as pilot:
        chart = live_screen(pilot).query_one("#lengths-view", Histogram)
        await wait_for(pilot, lambda: "rag" in chart.text)
        assert [line.split()[0] for line in chart.text.splitlines() if " n " in line] == [
            "rag",
            "code",
            "translation",
        ]


async def test_a_run_that_is_taken_up_again_shows_the_new_text_alone(
    database: Path, running: Recording
) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        await pilot.press("p")
        running.writer.claim()
        running.writer.restart_unfinished()  # a new worker begins half-done prompts anew
        running.queue = running.writer.pending_generations()
        await wait_for(
            pilot, lambda: "waits for its turn" in text_of(screen) and not screen.body.tree_view.number
        )
        running.writer.set_status("running")
        running.prompt(tokens=9, finish=None)
        await wait_for(pilot, lambda: shown(screen, 2) and screen.body.tree_view.number)
        assert screen.body.tree_view.number < 9
        assert "waits" not in text_of(screen)


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (10, 3)])
async def test_tiny_terminals_do_not_crash(database: Path, running: Recording, size: tuple[int, int]) -> None:
    async with app_for(database, running.id).run_test(size=size) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.state is not None)
        await pilot.press("1", "2", "3", "4", "h", "x", "left", "question_mark", "escape", "q", "escape")
        await pilot.resize_terminal(200, 60)
        await wait_for(pilot, lambda: shown(screen, 2))


async def test_leaving_a_run_asks_once(database: Path, running: Recording) -> None:
    app = app_for(database, running.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.state is not None)
        await pilot.press("q")
        await wait_for(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen)
        await pilot.press("q", "s")
        await wait_for(pilot, lambda: app._exit)
    assert commands(running) == ["stop"]


async def test_leaving_keeps_the_run_unless_told_otherwise(database: Path, running: Recording) -> None:
    app = app_for(database, running.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).state is not None)
        await pilot.press("q", "enter")
        await wait_for(pilot, lambda: app._exit)
    assert commands(running) == []


async def test_leaving_a_finished_session_asks_nothing(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).state is not None)
        await pilot.press("q")
        await wait_for(pilot, lambda: app._exit)


async def test_escape_goes_to_the_list(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).state is not None)
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, SessionsScreen))


async def test_the_mouse_scrolls_and_presses(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2) and screen.stream.max_scroll_y > 0)
        screen.stream.action_scroll_by(-3)
        await wait_for(pilot, lambda: not screen.follow)
        await pilot.click("#keys", offset=(3, 0))
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, LeaveScreen))


async def test_a_database_that_goes_away_is_said_in_words(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        with running.db:
            running.db.execute("DELETE FROM session")
        await wait_for(pilot, lambda: "trying again" in screen.query_one("#notice", Line).text)


async def test_it_says_which_rounds_and_which_tokens_are_missing(database: Path, finished: Recording) -> None:
    first = finished.db.execute("SELECT min(id) FROM generation").fetchone()[0]
    with finished.db:
        finished.db.execute("DELETE FROM round WHERE generation_id = ? AND number IN (3, 4)", (first,))
        finished.db.execute("UPDATE session SET tokenizer_id = 'never-seen' WHERE id = ?", (finished.id,))
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.state)
        screen.open_prompt(first)
        notice = screen.query_one("#notice", Line)
        await wait_for(
            pilot, lambda: shown(screen, 0) and "2 rounds of this prompt are missing" in notice.text
        )
        assert "tokens are shown as their ids" in notice.text
        assert "2 rounds are missing here" in text_of(screen)
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, ReplayScreen))
        await pilot.press("end")
        await pilot.press("colon", *"1.9", "enter")
        replayed = app.screen.query_one("#notice", Line)
        await wait_for(pilot, lambda: "2 rounds of this prompt are missing" in replayed.text)
        await pilot.press("colon", *"1.2", "enter")
        await wait_for(pilot, lambda: "missing from the file" not in replayed.text)
