"""Replaying: the clock, the arrows, the scrubber, and that every widget shows the moment."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from textual.pilot import Pilot

from spectui.store.reading.moments import Stretch
from spectui.store.reading.reader import Reader
from spectui.store.rows import RoundRow
from spectui.tui.model.goto import ToPrompt, ToShare, ToTime, parse
from spectui.tui.model.pieces import StreamDecoder
from spectui.tui.model.timeline import Place, Timeline
from spectui.tui.model.transcript import Transcript
from spectui.tui.screens.live.replay import ReplayScreen
from spectui.tui.widgets.histogram import Histogram
from spectui.tui.widgets.rows import Line
from spectui.tui.widgets.scrubber import Scrubber
from spectui.tui.widgets.status import Status
from tests.tui.conftest import app_for, live_screen, shown, text_of, wait_for
from tests.tui.replay import Recording

TIMELINE = Timeline(
    [Stretch(7, 1, 8, 8, 20, 12, 80.0), Stretch(7, 9, 10, 2, 4, 2, 20.0), Stretch(9, 1, 3, 3, 3, 0, 100.0)]
)


async def opened(pilot: Pilot[None], position: int, *keys: str) -> ReplayScreen:
    """The replay of the session, begun from the prompt that the live screen shows."""
    screen = live_screen(pilot)
    await wait_for(pilot, lambda: shown(screen, position))
    await pilot.press(*(keys or ("r",)))
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen) and pilot.app.screen.moment)
    assert isinstance(pilot.app.screen, ReplayScreen)
    return pilot.app.screen


def at(screen: ReplayScreen) -> tuple[int, int]:
    """Prompt, from 0, and round of the moment that is shown."""
    assert screen.moment is not None
    assert screen.state is not None
    place = screen.moment.place
    return next(g.position for g in screen.state.generations if g.id == place.generation_id), place.number


async def go(pilot: Pilot[None], screen: ReplayScreen, place: str, where: tuple[int, int]) -> None:
    await pilot.press("colon", *place, "enter")
    await wait_for(pilot, lambda: pilot.app.screen is screen and at(screen) == where)


def rounds_of(recording: Recording, database: Path, position: int) -> list[RoundRow]:
    with Reader(database) as reader:
        return reader.rounds(reader.generations(recording.id)[position].id)


def text_after(recording: Recording, rounds: list[RoundRow]) -> str:
    decoder = StreamDecoder()
    pieces = [piece for row in rounds for piece in decoder.feed(row, recording.vocabulary.table)]
    return "".join(piece.text for piece in pieces)


def whole_text(screen: ReplayScreen) -> str:
    return screen.stream.transcript.text_of("accepted", "rejected", "target")


def test_a_timeline_knows_its_borders() -> None:
    assert TIMELINE.moved(Place(7, 10), 1) == Place(9, 1)
    assert TIMELINE.moved(Place(9, 2), -3) == Place(7, 9)
    assert TIMELINE.moved(Place(9, 2), 50) == TIMELINE.end == Place(9, 3)
    assert TIMELINE.moved(Place(7, 2), -50) == TIMELINE.start == Place(7, 1)
    assert TIMELINE.clamped(Place(8, 4)) == TIMELINE.start
    assert [TIMELINE.where(ms).stretch for ms in (0, 79, 81, 150, 900)] == [0, 0, 1, 2, 2]
    assert TIMELINE.means(4) == [(1.5, 7), (pytest.approx(6.5 / 5), 7), (0.0, 9), (0.0, 9)]


def test_places_as_one_types_them() -> None:
    assert parse("12") == ToPrompt(12, 1)
    assert parse(" 12.88 ") == ToPrompt(12, 88)
    assert parse(".88") == ToPrompt(None, 88)
    assert parse("1:30") == ToTime(90.0)
    assert parse("1:00:05.5") == ToTime(3605.5)
    assert parse("90s") == ToTime(90.0)
    assert parse("50%") == ToShare(0.5)
    for wrong in ("", "x", "1:", "-3", "12.x"):
        with pytest.raises(ValueError, match="no place"):
            parse(wrong)


@pytest.mark.parametrize("width", [7, 40])
def test_text_that_is_cut_back_wraps_as_if_it_had_never_been_longer(width: int) -> None:
    spans = [("accepted", f"word{n} of\n" if n % 7 == 0 else f" longer{n}x", n) for n in range(1, 40)]
    for number in (0, 1, 6, 7, 8, 20, 39, 50):
        long, short = Transcript(width), Transcript(width)
        long.append("note", "before", 0)
        short.append("note", "before", 0)
        long.extend([*spans, ("note", "\n\nthe end", 0)])
        short.extend(span for span in spans if span[2] <= number)
        long.cut(number)
        assert [long.line(y) for y in range(60)] == [short.line(y) for y in range(60)]
        assert (long.length, long.line_count) == (short.length, short.line_count)


async def test_arrows_step_over_the_borders_of_prompts(database: Path, finished: Recording) -> None:
    last = len(rounds_of(finished, database, 6))
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7)
        assert at(screen) == (7, 1)
        await pilot.press("left")
        await wait_for(pilot, lambda: at(screen) == (6, last))
        assert screen.body.tree_view.number == last
        await pilot.press("shift+left")
        await wait_for(pilot, lambda: at(screen) == (6, last - 10))
        await pilot.press("left_square_bracket")
        await wait_for(pilot, lambda: at(screen) == (6, 1))
        await pilot.press("left_square_bracket")  # the one before failed without a round
        await wait_for(pilot, lambda: at(screen) == (4, 1))
        await pilot.press("shift+right", "right")
        await wait_for(pilot, lambda: at(screen) == (4, 12))
        await pilot.press("home")
        await wait_for(pilot, lambda: at(screen) == (0, 1))
        await pilot.press("end")
        await wait_for(pilot, lambda: at(screen)[0] == 7 and "at the end" in screen.query_one(Scrubber).text)


async def test_every_pane_shows_the_moment(database: Path, finished: Recording) -> None:
    rounds = rounds_of(finished, database, 2)
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7)
        await go(pilot, screen, "3.9", (2, 9))
        assert whole_text(screen) == text_after(finished, rounds[:9])
        assert screen.body.tree_view.text.startswith(f"round 9 of {len(rounds)} ·")
        chart = screen.query_one("#lengths-view", Histogram)
        mean = sum(row.accepted_length for row in rounds[:9]) / 9
        logic = next(line for line in chart.text.splitlines() if line.startswith("logic"))
        assert "n     9  α" in logic
        assert f"{mean:.2f}" in logic
        assert screen.state is not None
        assert [g.status for g in screen.state.generations[:5]] == [
            "finished",
            "finished",
            "running",
            "pending",
            "pending",
        ]
        assert "2/8" in screen.query_one(Status).text
        # Back by some rounds, and on again: as if it had been read once.
        await pilot.press("left", "left", "left")
        await wait_for(pilot, lambda: at(screen) == (2, 6))
        assert whole_text(screen) == text_after(finished, rounds[:6])
        await pilot.press("right", "right")
        await wait_for(pilot, lambda: at(screen) == (2, 8))
        assert whole_text(screen) == text_after(finished, rounds[:8])


async def test_the_end_of_a_replay_is_the_session(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        live = live_screen(pilot)
        await wait_for(
            pilot, lambda: shown(live, 7) and "chat" in live.query_one("#lengths-view", Histogram).text
        )
        chart, text = live.query_one("#lengths-view", Histogram).text, text_of(live)
        screen = await opened(pilot, 7)
        await pilot.press("end")
        await wait_for(pilot, lambda: screen.query_one("#lengths-view", Histogram).text == chart)
        assert text_of(screen) == text
        assert screen.state is not None
        with Reader(database) as reader:
            whole = reader.session(finished.id)
        for name in (
            "tokens",
            "rounds",
            "nodes",
            "prompts_done",
            "match_rate",
            "accepted_at_risk",
            "tokens_per_round",
        ):
            assert getattr(screen.state.summary, name) == pytest.approx(getattr(whole, name)), name


async def test_plays_at_any_speed_to_the_end(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7)
        await pilot.press("home", *(["greater_than_sign"] * 9))
        await wait_for(pilot, lambda: screen.moment and math.isinf(screen.moment.speed))
        await pilot.press("space")
        await wait_for(pilot, lambda: screen.moment and screen.moment.playing)
        assert "playing" in screen.query_one(Status).text
        await wait_for(pilot, lambda: screen.moment and screen.moment.at_end and not screen.moment.playing)
        assert at(screen) == (7, len(rounds_of(finished, database, 7)))
        await pilot.press("space")  # from the end, from the start
        await wait_for(pilot, lambda: screen.moment and not screen.moment.at_end)


async def test_space_plays_a_finished_session_and_holds_it(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7, "space")
        await wait_for(pilot, lambda: at(screen) > (7, 1))
        assert "REPLAY" in screen.query_one("#head", Line).text
        await pilot.press("space")
        await wait_for(pilot, lambda: screen.moment and not screen.moment.playing)
        await pilot.press("escape")
        await wait_for(pilot, lambda: live_screen(pilot) is not screen)
        assert "REPLAY" not in live_screen(pilot).query_one("#head", Line).text


async def test_a_running_session_is_replayed_and_grows(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 2)
        await pilot.press("s", "space", "space")
        assert list(running.db.execute("SELECT kind FROM command")) == []
        await pilot.press("end")
        last = len(rounds_of(running, database, 2))
        await wait_for(pilot, lambda: at(screen) == (2, last))
        running.go_on(screen.moment.place.generation_id, tokens=20)  # type: ignore[union-attr]
        await wait_for(pilot, lambda: screen.moment and not screen.moment.at_end)
        assert at(screen) == (2, last)
        await pilot.press("right")
        await wait_for(pilot, lambda: at(screen) == (2, last + 1))


async def test_a_click_on_the_scrubber_goes_there(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7)
        await pilot.click(Scrubber, offset=(2, 0))
        await wait_for(pilot, lambda: at(screen)[0] == 0)
        await pilot.press("colon", *"nowhere", "enter")
        await wait_for(pilot, lambda: "no place" in pilot.app.screen.query_one("#ask-note", Line).text)
        await pilot.press("escape", "colon", *"0:01", "enter")
        await wait_for(pilot, lambda: pilot.app.screen is screen and 900 < screen.moment.at_ms < 1100)  # type: ignore[union-attr]


async def test_rounds_that_are_missing_are_passed_over(database: Path, finished: Recording) -> None:
    with finished.db:
        finished.db.execute("DELETE FROM round WHERE generation_id = 1 AND number > 5")
        finished.db.execute("DELETE FROM round WHERE generation_id = 2 AND number BETWEEN 3 AND 6")
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7)
        await go(pilot, screen, "1.5", (0, 5))
        await pilot.press("right", "shift+right")
        await wait_for(pilot, lambda: at(screen) == (1, 11))
        await go(pilot, screen, "2.4", (1, 4))
        assert screen.body.tree_view.number == 2


async def test_there_is_nothing_to_replay_without_rounds(database: Path) -> None:
    recording = Recording(database)
    async with app_for(database, recording.id).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).state is not None)
        await pilot.press("r")
        await pilot.pause()
        assert not isinstance(pilot.app.screen, ReplayScreen)


async def test_a_long_prompt_shows_the_rounds_before_the_moment(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectui.tui.feeds.replay_text.WINDOW", 6)
    rounds = rounds_of(finished, database, 3)
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7)
        await go(pilot, screen, "4.20", (3, 20))
        assert "Rounds 1 to 14 " in text_of(screen)
        assert whole_text(screen).endswith(text_after(finished, rounds[:20])[-40:])
        for _ in range(9):
            await pilot.press("left")
        await wait_for(pilot, lambda: at(screen) == (3, 11))
        # Read anew at the first step out of what was there, or later where several keys were taken at once.
        assert any(f"Rounds 1 to {before} " in text_of(screen) for before in range(5, 9))
        assert whole_text(screen).endswith(text_after(finished, rounds[:11])[-40:])


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (10, 3)])
async def test_tiny_terminals_do_not_crash(
    database: Path, finished: Recording, size: tuple[int, int]
) -> None:
    async with app_for(database, finished.id).run_test(size=size) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.shown and screen.shown.position == 7)
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen) and pilot.app.screen.moment)
        await pilot.press("right", "left", "shift+left", "space", "2", "3", "4", "space", "less_than_sign")
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
