"""Protects: the summary of a session fits any size and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.reader import Reader
from tests.tui.replay import Recording
from tui.home_feed import Card, SessionsFeed
from tui.widgets.rows import row_width
from tui.widgets.session_card import card_rows, card_text


def card_of(database: Path, session_id: int) -> Card:
    with Reader(database) as reader:
        summary = reader.session(session_id)
        return Card(summary, reader.figures(session_id), reader.output_sample(session_id))


@pytest.mark.parametrize("width", [20, 34, 69, 70, 76, 116, 196])
@pytest.mark.parametrize("height", [3, 7, 14, 40])
def test_fits_and_has_every_task(database: Path, finished: Recording, width: int, height: int) -> None:
    rows = card_rows(card_of(database, finished.id), width, height)
    assert all(row_width(row) <= max(width, 35) for row in rows)
    text = "\n".join("".join(part for part, _ in row) for row in rows)
    for part in ("code", "math", "logic", "chat", "recycling", "full:3x2"):
        assert part in text


def test_a_session_without_rounds_says_so(database: Path) -> None:
    recording = Recording(database, tasks=("a task with a long name", "\x1b[31mred"), prompts=2)
    rows = card_rows(card_of(database, recording.id), 116, 14)
    text = "\n".join("".join(part for part, _ in row) for row in rows)
    assert "No output yet." in text
    assert "– tok/s" in text
    assert "\x1b" not in text
    recording.begin()
    recording.end("failed", error="it broke")
    text = card_text(card_of(database, recording.id))
    assert "error    it broke" in text


def test_the_feed_keeps_rows_that_have_not_changed(database: Path, finished: Recording) -> None:
    other = Recording(database, name="tall-wren", prompts=2)
    feed = SessionsFeed(database, lambda _: None)
    feed.look_at(finished.id)
    with Reader(database) as reader:
        first, card = feed.poll(reader, changed=True)
        assert isinstance(card, Card)
        assert (card.summary.id, set(card.figures)) == (finished.id, {"code", "math", "logic", "chat"})
        other.begin()
        (second,) = feed.poll(reader, changed=True)
        assert [row.id for row in second.rows] == [other.id, finished.id]  # type: ignore[attr-defined]
        assert second.rows[1] is first.rows[1]  # type: ignore[attr-defined]
        assert second.rows[0] is not first.rows[0]  # type: ignore[attr-defined]
        assert list(feed.poll(reader, changed=True)) == []
