"""Protects: the live screen is told what the database holds of a session's prompts, though few of them are read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from spectui.tui.feeds import session as session_feed
from spectui.tui.feeds.base import IDLE_SECONDS, LIVE_SECONDS, SHARED_SECONDS, Feed
from spectui.tui.feeds.session import PAGE, SessionFeed
from spectui.tui.model.state import Charts, RunState, Tree
from tests.tui.conftest import app_for, live_screen, wait_for
from tests.tui.replay import Recording
from tests.tui.screens.dump import lines_of
from tests.tui.screens.dump import text_of as drawn


def test_prompts_are_as_in_the_database_whatever_becomes_of_them(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_feed, "CHART_SECONDS", 0.0)
    monkeypatch.setattr(session_feed, "LIVE_SECONDS", 0.0)
    recording = Recording(database, prompts=8)
    feed = SessionFeed(database, recording.id, lambda _: None)
    whole = 0

    def counted(*args: object, **options: object) -> object:
        nonlocal whole
        whole += 1
        return real(*args, **options)  # type: ignore[arg-type]

    with Reader(database) as reader:
        real = reader.generations

        def agrees() -> bool:
            states = [item for item in feed.look(reader) if isinstance(item, RunState)]
            return bool(states) and states[-1].generations == tuple(real(recording.id, texts=False))

        assert agrees()
        recording.begin()
        assert agrees()
        monkeypatch.setattr(reader, "generations", counted)
        for tokens in (20, 40, 20):
            recording.prompt(tokens=tokens)
            assert agrees()
        recording.fail_prompt("no room")
        assert agrees()
        last = recording.prompt(tokens=30, finish=None)
        assert agrees()
        recording.go_on(last, tokens=20)
        assert agrees()
        skipped = recording.queue.pop()  # not in the order in which they run
        assert whole == 0
        recording.writer.finish_generation(skipped.id, "skipped", finish_reason="skipped")
        assert agrees()
        recording.end("stopped")
        assert agrees()
        # Another worker begins what was half-done anew, then gives up nodes.
        again = SessionWriter(recording.db, recording.id)
        again.claim()
        again.restart_unfinished()
        assert agrees()
        again.prune(datetime.now(UTC))
        assert agrees()
    recording.close()


def test_loading_is_told_as_it_goes_and_figures_seldom(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first tokens do not wait for the next reading of figures, of which there are none before."""
    monkeypatch.setattr(session_feed, "CHART_SECONDS", float("inf"))
    monkeypatch.setattr(session_feed, "PRESENCE_SECONDS", float("inf"))
    monkeypatch.setattr(session_feed, "LIVE_SECONDS", 0.0)
    recording = Recording(database, prompts=8)
    feed = SessionFeed(database, recording.id, lambda _: None)
    with Reader(database) as reader:

        def states() -> list[RunState]:
            return [item for item in feed.look(reader) if isinstance(item, RunState)]

        assert states()
        for stage in ("loading target", "tuning", "measuring plain decoding"):
            recording.writer.set_stage(stage)
            assert [state.summary.stage for state in states()] == [stage]
        recording.begin()
        recording.prompt(tokens=5, finish=None)
        (first,) = states()
        assert first.summary.rounds
        recording.prompt(tokens=20)
        assert states() == []
    recording.close()


def test_figures_are_there_before_what_takes_long(database: Path) -> None:
    """Numpy, intervals and the history of a session come with the second look, which is at once."""
    recording = Recording(database, prompts=8)
    recording.begin()
    for _ in range(4):
        recording.prompt(tokens=30)
    recording.end("finished")
    feed = SessionFeed(database, recording.id, lambda _: None)
    with Reader(database) as reader:

        def charts() -> list[Charts]:
            return [item for item in feed.look(reader) if isinstance(item, Charts)]

        (first,) = charts()
        (second,) = charts()
        assert charts() == []
        figures = reader.figures(recording.id)
    assert first == Charts(figures, {}, whole=False)
    assert second.whole
    assert second.figures == figures
    assert set(second.sources) == set(figures)
    recording.close()


def test_a_prompt_has_its_tree_at_once_however_soon_it_follows_another(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of a second would leave the pane empty for most of it if the time between two trees counted here."""
    monkeypatch.setattr(session_feed, "CHART_SECONDS", 0.0)
    monkeypatch.setattr(session_feed, "TREE_SECONDS", float("inf"))
    recording = Recording(database, prompts=8)
    feed = SessionFeed(database, recording.id, lambda _: None)
    with Reader(database) as reader:

        def trees() -> list[int]:
            return [item.row.number for item in feed.look(reader) if isinstance(item, Tree)]

        recording.begin()
        first = recording.prompt(tokens=30, finish=None)
        assert len(trees()) == 1
        recording.go_on(first, tokens=20)
        assert trees() == []
        recording.writer.finish_generation(first, "finished", finish_reason="length")
        recording.prompt(tokens=30, finish=None)
        assert len(trees()) == 1
    recording.close()


@pytest.mark.parametrize(("device", "seconds"), [("cpu", SHARED_SECONDS), ("cuda:0", LIVE_SECONDS)])
def test_a_model_on_the_cpu_is_disturbed_less_often(database: Path, device: str, seconds: float) -> None:
    recording = Recording(database, prompts=2)
    feed = SessionFeed(database, recording.id, lambda _: None)
    with Reader(database) as reader:
        recording.begin()
        recording.writer.describe(device=device)
        recording.prompt(tokens=20, finish=None)
        feed.look(reader)
        assert feed.period() == 0.0, "intervals are still to be read"
        feed.look(reader)
        assert feed.period() == seconds
        recording.end("stopped")
        feed.hurry()
        feed.look(reader)
        assert feed.period() == IDLE_SECONDS
    recording.close()


def test_of_many_prompts_those_around_the_newest_come_at_once_and_then_all(database: Path) -> None:
    recording = Recording(database, prompts=12 * PAGE)
    with recording.db:
        recording.db.execute("UPDATE generation SET status = 'finished' WHERE position < ?", (8 * PAGE,))
    feed = SessionFeed(database, recording.id, lambda _: None)
    states: list[RunState] = []
    with Reader(database) as reader:
        states += [item for item in feed.look(reader) if isinstance(item, RunState)]
        assert len(states) == 1
        first = states[0]
        assert not first.complete
        assert len(first.generations) == PAGE
        assert 8 * PAGE - 1 in {g.position for g in first.generations}
        assert first.prompts.keys() == {g.id for g in first.generations}
        assert feed.period() == 0.0
        for _ in range(20):
            states += [item for item in feed.look(reader) if isinstance(item, RunState)]
        assert states[-1].complete
        assert states[-1].generations == tuple(reader.generations(recording.id, texts=False))
        assert len(states[-1].prompts) == 12 * PAGE
        assert feed.period() > 0


async def test_before_anything_is_read_a_screen_says_that_it_is_loading(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Feed, "start", lambda _: None)
    for session, size in ((finished.id, (80, 24)), (finished.id, (120, 40)), (None, (80, 24))):
        app = app_for(database, session)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            assert "oading" in "\n".join(drawn(lines_of(app)))
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        monkeypatch.undo()
        screen = live_screen(pilot)
        screen._feed.start()
        await wait_for(pilot, lambda: screen.state)
        assert "oading" not in "\n".join(drawn(lines_of(app)))
