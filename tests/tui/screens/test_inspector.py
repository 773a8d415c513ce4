"""The inspector: every node and its fate, why in words, from one rejected node to the next, search."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectui.store.reading.reader import Reader
from spectui.store.reading.search import Hit, Step
from spectui.store.rows import RoundRow
from spectui.tui.model.inspection import fate_of, items_of, missing, why
from spectui.tui.screens.dialogs import search as dialog_module
from spectui.tui.screens.dialogs.search import SearchScreen
from spectui.tui.screens.inspector import InspectorScreen
from spectui.tui.screens.live.replay import ReplayScreen
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.widgets.rows import Line
from tests.store.samples import FULL_3X2, make_round
from tests.tui.conftest import app_for, live_screen, shown, wait_for
from tests.tui.replay import Recording


def row_of(path: list[int], cut: str | None = None, keep: set[int] | None = None) -> RoundRow:
    """A round of the study's tree with this accepted path; `keep` are the nodes that are still there."""
    record = make_round(7, path=path, cut=cut, bonus=None if cut else 7)  # type: ignore[arg-type]
    nodes = tuple(node for node in record.nodes if keep is None or node.idx in keep)
    return RoundRow(1, 1, 7, 10, len(path), record.bonus_token_id, cut, 14, 1.0, 2.0, 3.0, nodes)


async def opened(pilot: Pilot[None], position: int = 7, *keys: str) -> InspectorScreen:
    screen = live_screen(pilot)
    await wait_for(pilot, lambda: shown(screen, position))
    await pilot.press(*keys, "enter")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, InspectorScreen) and pilot.app.screen.shown)
    assert isinstance(pilot.app.screen, InspectorScreen)
    return pilot.app.screen


def line(screen: InspectorScreen, name: str) -> str:
    return " ".join(screen.query_one(f"#{name}", Line).text.split())


def test_fates() -> None:
    row = row_of([0, 3])
    fates = {node.idx: fate_of(node, row) for node in row.nodes}
    assert [i for i, fate in fates.items() if fate == "accepted"] == [0, 3]
    assert [i for i, fate in fates.items() if fate == "rejected"] == [
        n.idx for n in row.nodes if n.parent in (None, 0, 3) and not n.accepted
    ]
    assert fates[4] == "not reached"
    cut = row_of([0, 3], cut="eos")
    assert {fate_of(n, cut) for n in cut.nodes if n.parent == 3} == {"cut off"}


def test_every_node_stands_once_below_its_parent() -> None:
    for path in ([], [1], [0, 3], [0, 3, 8]):
        items = items_of(row_of(path), {})
        assert sorted(item.key for item in items) == [-1, *range(len(FULL_3X2))]
        places = {item.key: place for place, item in enumerate(items)}
        for item in items:
            if item.node and item.node.parent is not None:
                assert places[item.node.parent] < places[item.key]
        if path:
            assert places[-1] > places[path[-1]]


def test_nodes_without_their_parent_are_shown_all_the_same() -> None:
    row = row_of([0], keep={0, 4, 10, 13})
    items = items_of(row, {})
    assert sorted(item.key for item in items) == [-1, 0, 4, 10, 13]
    assert [item.key for item in items if item.lead.startswith("?")] == [4, 13]
    assert missing(row, pruned=False).startswith("10 of the 14 nodes of this round are missing")
    assert "pruned" in missing(row, pruned=True)
    assert missing(row_of([0]), pruned=False) == ""


def test_says_what_the_target_wanted() -> None:
    row = row_of([0, 3])
    items = items_of(row, {row.bonus_token_id or 0: "own"})
    words = {item.key: why(item, row, items, greedy=False) for item in items}
    assert words[0].startswith("Accepted")
    assert words[1].startswith("Rejected")
    assert "first choice was" in words[1]
    assert words[4].startswith("Never tried")
    below = [n for n in row.nodes if n.parent == 3]
    if not any(n.match for n in below):
        assert "not in the tree: own" in words[below[0].idx]
    cut = row_of([0, 3], cut="length")
    never = next(item for item in items_of(cut, {}) if item.fate == "cut off")
    assert "limit of new tokens" in why(never, cut, [], greedy=True)
    # Nothing is drawn in a greedy run, so that no chance decides.
    greedy = why(items[[i.key for i in items].index(1)], row, items, greedy=True)
    assert "Sampling accepts it" in words[1]
    assert greedy.startswith("Rejected")
    assert "ampling" not in greedy
    assert ".00" not in greedy


def test_of_a_servers_nodes_nothing_is_said_that_it_does_not_tell() -> None:
    """It tells which were accepted; what the target would have chosen follows where nothing is drawn."""
    row = row_of([0, 3])
    row = replace(row, nodes=tuple(node._replace(match=None) for node in row.nodes))
    items = items_of(row, {row.bonus_token_id or 0: "own"})
    for greedy in (True, False):
        words = {item.key: why(item, row, items, greedy=greedy) for item in items}
        assert not any("not in the tree" in each for each in words.values())
        assert ("It is the target's first choice" in words[0]) == greedy
        below = next(node.idx for node in row.nodes if node.parent == 3)
        assert ("first choice was own" in words[below]) == greedy
        assert (f"first choice was {items[0].text}" in words[1]) == greedy
        assert ("its first choice" in words[-1]) == greedy
        assert "is not known" in words[4]


async def test_shows_the_round_the_live_screen_shows(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 7, "left", "left")
        assert screen.shown is not None
        assert screen.shown.row is not None
        with Reader(database) as reader:
            rounds = reader.rounds(screen.shown.generation.id)  # type: ignore[union-attr]
        assert screen.shown.row == rounds[-3]
        assert len(screen.items) == 15
        assert "Here is a plan" in line(screen, "before")
        for node in rounds[-3].nodes[:3]:
            assert f"{node.draft_p:.2f}".removeprefix("0") in screen.table.text
            assert f"{node.target_entropy:.2f}" in screen.table.text
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.shown and screen.shown.row == rounds[-2])
        await pilot.press("escape")
        await wait_for(pilot, lambda: type(pilot.app.screen) is LiveScreen)


async def test_n_goes_from_one_rejected_node_to_the_next_and_back(
    database: Path, finished: Recording
) -> None:
    with Reader(database) as reader:
        generations = reader.generations(finished.id)
        expected = [
            (g.id, row.number, item.key)
            for g in generations[5:7]
            for row in reader.rounds(g.id)
            for item in items_of(row, {})
            if item.fate == "rejected"
        ][-6:]
    async with app_for(database, finished.id).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)

        def cursor() -> tuple[int, int, int] | None:
            item, now = screen.table.cursor_item, screen.shown
            return (now.generation.id, now.number, item.key) if item and now and now.generation else None

        screen._feed.go(generations[7].id, 1, -1)
        await wait_for(pilot, lambda: cursor() and cursor()[1] == 1)  # type: ignore[index]
        await pilot.press("home", "N")
        await wait_for(pilot, lambda: cursor() == expected[-1])
        for place in reversed(expected[:-1]):
            await pilot.press("N")
            await wait_for(pilot, lambda place=place: cursor() == place)  # type: ignore[misc]
        for place in expected[1:]:
            await pilot.press("n")
            await wait_for(pilot, lambda place=place: cursor() == place)  # type: ignore[misc]
        assert line(screen, "why").startswith("Rejected")


async def test_n_says_so_where_no_rejected_node_follows(database: Path, finished: Recording) -> None:
    with Reader(database) as reader:
        generations = reader.generations(finished.id)
        last = reader.rounds(generations[-1].id)[-1]
    async with app_for(database, finished.id).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)

        def place() -> tuple[int, int] | None:
            now = screen.shown
            return (now.generation.id, now.number) if now and now.generation else None

        def notified(words: str) -> bool:
            return any(words in note.message for note in pilot.app._notifications)

        ends = (
            ((generations[0].id, 1), "home", "N", "before"),
            ((last.generation_id, last.number), "end", "n", "after"),
        )
        for end, edge, key, words in ends:
            screen._feed.go(*end, None)
            await wait_for(pilot, lambda end=end: place() == end)  # type: ignore[misc]
            await pilot.press(edge, key)
            await wait_for(pilot, lambda words=words: notified(words))  # type: ignore[misc]


async def test_search_goes_to_what_was_found(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("slash", *"CARL. TH", "enter")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, SearchScreen))
        dialog = pilot.app.screen
        assert isinstance(dialog, SearchScreen)
        await wait_for(pilot, lambda: "place" in dialog.last.note and "rounds." in dialog.last.note)
        hits = list(dialog.last.hits)
        assert {hit.position for hit in hits} == {2, 6}
        await pilot.press("down", "enter")
        await wait_for(pilot, lambda: pilot.app.screen is screen and screen.shown.number == hits[1].number)  # type: ignore[union-attr]
        assert screen.shown is not None
        assert screen.shown.generation is not None
        assert screen.shown.generation.id == hits[1].generation_id
        await pilot.press("slash", "down")  # on from there
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, SearchScreen))
        assert "place" in pilot.app.screen.query_one("#search-note", Line).text
        await pilot.press("x", "x", "x", "enter")
        await wait_for(pilot, lambda: "Not found" in pilot.app.screen.query_one("#search-note", Line).text)
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is screen)


async def test_hits_of_a_search_that_another_has_followed_are_not_shown(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def slow(reader: Reader, session_id: int, text: str) -> Iterator[Step]:
        if text == "old":
            go_on.wait(10)
            yield Step((Hit(1, 0, 1, None, "", "old", ""),), 1)
        yield Step((), 2)

    monkeypatch.setattr(dialog_module, "search", slow)
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"old", "enter")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, SearchScreen))
        dialog = pilot.app.screen
        assert isinstance(dialog, SearchScreen)
        await wait_for(pilot, lambda: dialog.last.query == "old")
        answer = dialog.query_one(Input)
        dialog.post_message(Input.Submitted(answer, "new"))
        go_on.set()
        time.sleep(0.2)  # keeps the dialog from it until the first search has posted what it found
        await wait_for(pilot, lambda: dialog.last.query == "new" and "Searching" not in dialog.last.note)
        await pilot.pause(0.1)
        assert dialog.last.hits == []
        assert "Not found" in dialog.last.note


async def test_from_a_replay_and_into_one(database: Path, finished: Recording) -> None:
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: shown(live_screen(pilot), 7))
        await pilot.press("space")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen) and pilot.app.screen.moment)
        replay: ReplayScreen = pilot.app.screen  # type: ignore[assignment]
        await wait_for(pilot, lambda: replay.body.tree_view.number)
        await pilot.press("enter")
        await wait_for(
            pilot, lambda: isinstance(pilot.app.screen, InspectorScreen) and pilot.app.screen.shown
        )
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen))
        await pilot.press("escape", "escape")
        await wait_for(
            pilot, lambda: pilot.app.screen is replay and replay.moment and not replay.moment.playing
        )


async def test_says_what_is_missing(database: Path, finished: Recording) -> None:
    with finished.db:
        finished.db.execute("DELETE FROM token")
        finished.db.execute(
            "DELETE FROM node WHERE idx > 9 AND round_id IN (SELECT id FROM round WHERE generation_id = 8)"
        )
        finished.db.execute("DELETE FROM round WHERE generation_id = 8 AND number = 30")
    async with app_for(database, finished.id).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await wait_for(pilot, lambda: "4 of the 14 nodes" in line(screen, "gaps"))
        assert "shown as their ids" in line(screen, "gaps")
        assert "⟨id " in screen.table.text
        screen._feed.go(8, 30)
        await wait_for(pilot, lambda: "Round 30 is missing" in line(screen, "why"))
        await pilot.press("y", "down", "slash", "escape", "n")
        await wait_for(pilot, lambda: screen.shown and screen.shown.number == 31)


@pytest.mark.parametrize("size", [(80, 24), (20, 5)])
async def test_a_session_without_rounds_opens_and_says_so(database: Path, size: tuple[int, int]) -> None:
    recording = Recording(database)
    async with app_for(database, recording.id).run_test(size=size) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).state is not None)
        await pilot.press("slash")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, SearchScreen))
        await pilot.press(*"text", "enter")
        await wait_for(pilot, lambda: "Not found" in pilot.app.screen.query_one("#search-note", Line).text)
        await pilot.press("escape")
        await wait_for(
            pilot, lambda: isinstance(pilot.app.screen, InspectorScreen) and pilot.app.screen.shown
        )
        screen = pilot.app.screen
        assert isinstance(screen, InspectorScreen)
        await pilot.press("n", "N", "left", "shift+right", "r", "y")
        if size[1] > 10:
            await wait_for(pilot, lambda: "no rounds yet" in line(screen, "before"))
