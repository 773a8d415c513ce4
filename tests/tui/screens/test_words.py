"""Protects: a newcomer finds every sign of the screens under ``?``, and nothing that means two things."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.widgets import Label

from spectui.decoding.config import AUTO, UNCHOSEN, RunConfig
from spectui.store.reading.reader import Reader
from spectui.tui.cli.result import print_figures
from spectui.tui.feeds.base import Feed
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.screens.dialogs.delete import DeleteScreen
from spectui.tui.screens.dialogs.export import ExportScreen
from spectui.tui.screens.help import WORDS
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.new_run import FIELDS, NewRunScreen
from spectui.tui.terminal import glyphs
from spectui.tui.widgets.head import head_row
from spectui.tui.widgets.histogram import Histogram
from spectui.tui.widgets.key_bar import KeyBar, spelled
from spectui.tui.widgets.rows import Line, row_width
from tests.tui.conftest import app_for, live_screen, wait_for
from tests.tui.replay import Recording
from tests.tui.screens.test_screens import at_rest


@pytest.mark.parametrize(
    "sign", ["α", "E ±", "τ", "h, S", "q, p", "Hq, Hp", "overlap", "tok", "ETA", "⟨200D⟩", "–"]
)
def test_every_sign_is_explained(sign: str) -> None:
    assert any(word.startswith(sign) for word, _ in WORDS)


def test_a_tree_to_be_chosen_is_called_so_also_where_that_is_asked_for() -> None:
    assert RunConfig(tree=AUTO).tree_label == RunConfig().tree_label == UNCHOSEN
    assert RunConfig(tree="auto:plan.json").tree_label == "auto:plan.json"


def test_the_final_table_says_why_an_interval_is_missing_and_what_its_seconds_are(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Recording(database, tasks=("code", "chat"), prompts=3)
    run.begin()
    for tokens in (30, 30, 90):
        run.prompt(tokens=tokens)
    run.end()
    with Reader(database) as reader:
        print_figures(reader, reader.session(run.id))
    printed = capsys.readouterr().out
    assert "no 95 % interval for chat: " in printed
    assert printed.splitlines()[2].split()[7] == "–"  # what is not known is no blank
    assert " s of decoding" in printed
    assert "CPU s" not in printed
    assert "measured 3 times" in printed


async def test_bars_of_all_tasks_are_on_one_scale(database: Path) -> None:
    run = Recording(database, tasks=("code", "chat"), prompts=2)
    run.begin()
    run.prompt(tokens=30)
    run.prompt(tokens=30)
    run.end()
    with run.db:
        run.db.execute("DELETE FROM rollup_length")
        run.db.executemany(
            "INSERT INTO rollup_length VALUES (?, ?, ?, ?)",
            [(run.id, "code", 0, 100), *((run.id, "chat", length, 33) for length in (0, 1, 2))],
        )
        run.db.execute("UPDATE rollup_task SET rounds = 100 WHERE task = 'code'")
        run.db.execute("UPDATE rollup_task SET rounds = 99 WHERE task = 'chat'")
    async with app_for(database, run.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.query(Histogram).first()._figures)
        rows = screen.query(Histogram).first().text.splitlines()
        whole, third = (next(row for row in rows if f"{share} %" in row).count("█") for share in (100, 33))
        assert third == pytest.approx(whole / 3, abs=1)


async def test_before_a_session_is_read_its_footer_offers_no_pause(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Feed, "start", lambda _: None)
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "pause" not in pilot.app.screen.query_one(KeyBar).text


async def test_another_session_opens_with_all_its_panes(database: Path, finished: Recording) -> None:
    other = Recording(database, name="other", prompts=2)
    other.begin()
    other.prompt(tokens=20)
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.state)
        await pilot.press("4")
        assert screen.body.single
        app.go("live", other.id)
        await wait_for(pilot, lambda: app.screen is not screen and isinstance(app.screen, LiveScreen))
        assert not live_screen(pilot).body.single
        app.go("live", finished.id)
        await wait_for(pilot, lambda: live_screen(pilot).session_id == finished.id)
        await wait_for(pilot, lambda: live_screen(pilot).body.single)  # as it was left


async def test_the_export_says_which_folder(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    async with app_for(database).run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: getattr(pilot.app.screen, "sessions", None))
        await pilot.press("x")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
        await pilot.pause()
        place = pilot.app.screen.query_one("#ask-place", Line)
        assert f"{tmp_path}/quiet-heron-csv" in place.text.replace("\n", "")
        await pilot.press("end", *["backspace"] * 15, *"/x.db")
        await wait_for(pilot, lambda: "Writes /x.db" in place.text)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (40, 10)])
async def test_no_word_of_a_dialogue_is_cut(
    size: tuple[int, int], database: Path, finished: Recording
) -> None:
    app = app_for(database)
    async with app.run_test(size=size) as pilot:
        await wait_for(pilot, lambda: getattr(app.screen, "sessions", None))
        with Reader(database) as reader:
            summary = reader.session(finished.id)
        long = "How long a sentence may be before its last words are no longer on the screen at all"
        for screen in (
            DeleteScreen(summary),
            ExportScreen(database, summary),
            AskScreen("", "", long, lambda _: None),
        ):
            app.push_screen(screen)
            await wait_for(pilot, lambda now=screen: app.screen is now and at_rest(app))  # type: ignore[misc]
            for line in screen.query(Line):
                assert len(line.rows) <= line.size.height
                assert all(row_width(row) <= line.size.width for row in line.rows), line.text
            app.pop_screen()
        form = NewRunScreen(database)
        app.push_screen(form)
        await wait_for(pilot, lambda: app.screen is form and at_rest(app))
        for field in FIELDS:
            form.query_one(f"#{field.name}").focus()
            await wait_for(pilot, lambda: at_rest(app))
            beside = form.query_one(f"#{field.name}").parent
            assert beside is not None
            (hint,) = beside.query(".hint").results(Label)
            about = form.query_one("#about", Line)
            if hint.display:
                assert cell_len(field.form.hint) <= hint.size.width, field.form.hint
            else:
                assert field.form.hint in about.text
            assert " ".join(about.text.split()).endswith(field.form.about)
            assert len(about.rows) <= about.size.height


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("pane", [0, 1])
def test_a_replay_is_called_one_however_long_its_name_is(
    width: int, pane: int, database: Path, finished: Recording
) -> None:
    """The whole left of the header went, and nothing told a replay from the present."""
    with Reader(database) as reader:
        summary = replace(reader.session(finished.id), name="evening-of-the-exceptionally-long-study" * 3)
    row = head_row(summary, width, pane=pane, mode="REPLAY")
    assert row_width(row) <= width
    assert ("REPLAY" in "".join(text for text, _ in row)) == (width > 40 or not pane)


def test_arrows_in_ascii_are_not_called_as_other_keys() -> None:
    """A replay's footer offered ``< >`` twice: for rounds, which the arrows step, and for the speed."""
    glyphs.choose(ascii=True)
    try:
        assert spelled("← →") == "left right"
    finally:
        glyphs.choose(ascii=False)
    assert spelled("← →") == "← →"
