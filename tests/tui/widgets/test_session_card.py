"""Protects: the summary of a session fits any size and says what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectui.store.reading.reader import Reader
from spectui.store.rows import EventRow
from spectui.tui.feeds.sessions import SessionsFeed
from spectui.tui.model.state import Card
from spectui.tui.widgets.rows import row_width
from spectui.tui.widgets.session_card import card_rows, card_text, figure_rows
from tests.tui.replay import Recording


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


@pytest.mark.parametrize("size", [(34, 7), (76, 7), (116, 14)])
def test_what_happened_to_the_run_is_told_in_whole(
    database: Path, finished: Recording, size: tuple[int, int]
) -> None:
    """The settings of a model that are applied stood in `sessions show` alone."""
    words = "applied from generation_config.json: repetition_penalty 1.1; not used: temperature 0.6, top_k 20"
    events = [EventRow(None, "", "note", f"number {number}") for number in range(5)]
    card = replace(card_of(database, finished.id), events=[*events, EventRow(None, "", "settings", words)])
    text = " ".join("".join(part for part, _ in row) for row in card_rows(card, *size))
    assert all(word in text for word in f"settings: {words}".split())
    assert f"1 more: spectui sessions show {finished.id}" in " ".join(text.split())


def test_figures_are_in_line_and_whole_beside_names_of_any_length(
    database: Path, finished: Recording
) -> None:
    card = card_of(database, finished.id)
    tasks = {"retrieval-augmented-generation": 1, "\u5199\u4f5c": 1, "qa": 1}
    figures = {
        task: replace(each, rounds=1_049_382_630)
        for task, each in zip(tasks, card.figures.values(), strict=False)
    }
    card = replace(card, summary=replace(card.summary, tasks=tasks), figures=figures)
    for width in (34, 36, 60, 200):
        rows = figure_rows(card, width)
        assert {row_width(row) for row in rows} == {min(max(width, 33), 52)}, width
        assert all("".join(part for part, _ in row).endswith("1.0G") for row in rows)
