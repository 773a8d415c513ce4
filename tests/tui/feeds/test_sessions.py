"""Of many sessions the first page is there before the rest, and in the end the list is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.app import SpectuiApp
from spectui.tui.feeds import sessions as home_feed
from spectui.tui.feeds.sessions import SessionsFeed
from spectui.tui.memory import FALLING, SORTED_BY, Memory
from spectui.tui.model.state import Card, Sessions
from spectui.tui.screens.sessions.screen import SessionsScreen
from tests.store.samples import make_session
from tests.tui.conftest import wait_for

COUNT, PAGE = 9, 4


@pytest.fixture
def many(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """More sessions than a page holds, one of them deleted."""
    monkeypatch.setattr(home_feed, "PAGE", PAGE)
    db = connect(database)
    for number in range(COUNT + 1):
        make_session(db, name=f"run-{number}")
    with db:
        db.execute("UPDATE session SET deleted_at = created_at WHERE name = 'run-7'")
    db.close()
    return database


def _names(posted: Sessions) -> list[str]:
    return [row.name for row in posted.rows]


def test_the_page_comes_first_then_the_summary_then_the_rest(many: Path) -> None:
    feed = SessionsFeed(many, lambda _: None)
    with Reader(many) as reader:
        whole = tuple(reader.sessions())
        (page,) = feed.poll(reader, changed=True)
        assert isinstance(page, Sessions)
        assert (page.rows, page.unread) == (whole[:PAGE], COUNT - PAGE)
        assert feed.period() == 0.0
        feed.look_at(page.rows[0].id)
        (card,) = feed.poll(reader, changed=False)
        assert isinstance(card, Card)
        assert card.summary is page.rows[0]
        (rest,) = feed.poll(reader, changed=False)
        assert isinstance(rest, Sessions)
        assert (rest.rows, rest.unread) == (whole, 0)
        assert all(new is old for new, old in zip(rest.rows, page.rows, strict=False))
        assert list(feed.poll(reader, changed=False)) == []
        assert feed.period() > 0.0


def test_the_rest_comes_where_no_session_is_looked_at_or_one_far_down(many: Path) -> None:
    for wanted in (None, 1, 10**6):
        feed = SessionsFeed(many, lambda _: None)
        feed.look_at(wanted)
        with Reader(many) as reader:
            list(feed.poll(reader, changed=True))
            posted = list(feed.poll(reader, changed=False))
        assert isinstance(posted[0], Sessions)
        assert len(posted[0].rows) == COUNT
        assert [type(item) for item in posted[1:]] == ([Card] if wanted == 1 else [])


def test_a_rest_that_is_gone_before_it_is_read_is_not_counted_on(many: Path) -> None:
    feed = SessionsFeed(many, lambda _: None)
    with Reader(many) as reader:
        (page,) = feed.poll(reader, changed=True)
        assert isinstance(page, Sessions)
        db = connect(many)
        with db:
            db.execute("UPDATE session SET deleted_at = created_at WHERE id < ?", [page.rows[-1].id])
        db.close()
        assert list(feed.poll(reader, changed=True)) == [Sessions(page.rows, 0)]


def test_few_sessions_are_read_once(database: Path) -> None:
    db = connect(database)
    make_session(db, name="only")
    db.close()
    feed = SessionsFeed(database, lambda _: None)
    with Reader(database) as reader:
        (page,) = feed.poll(reader, changed=True)
        assert isinstance(page, Sessions)
        assert (_names(page), page.unread) == (["only"], 0)
        assert list(feed.poll(reader, changed=False)) == []


def test_a_reader_gives_the_newest_as_it_gives_all(many: Path) -> None:
    with Reader(many) as reader:
        whole = reader.sessions()
        assert reader.session_count() == len(whole) == COUNT
        for newest in (0, 1, PAGE, COUNT, 100):
            assert reader.sessions(newest) == whole[:newest]


@pytest.mark.parametrize(("by", "falling", "first"), [("#", True, "run-9"), ("session", False, "run-0")])
async def test_the_list_is_whole_whatever_it_is_sorted_by(
    many: Path, tmp_path: Path, by: str, falling: bool, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of the newest is shown only where the newest are on top; the title counts all of them at once."""
    shown: list[tuple[int, str]] = []
    show = SessionsScreen.show_sessions

    def noting(screen: SessionsScreen) -> None:
        show(screen)
        shown.append((len(screen.table.items), str(screen.query_one("#list").border_title)))

    monkeypatch.setattr(SessionsScreen, "show_sessions", noting)
    memory = Memory(tmp_path / "memory.json")
    memory.remember(SORTED_BY, by)
    memory.remember(FALLING, falling)
    app = SpectuiApp(many, memory=memory)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = app.screen
        assert isinstance(screen, SessionsScreen)
        await wait_for(pilot, lambda: len(screen.table.items) == COUNT)
        assert screen.table.items[0].name == first
        counts = [count for count, _ in shown]
        assert counts == ([PAGE, COUNT] if by == "#" else [COUNT])
        assert all(title.startswith(f"sessions {COUNT} ") for _, title in shown)
