"""The drawing of a round's tree: every node once, the path told apart, columns that do not move."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from spectui.store.rows import RoundRow
from spectui.tui.model.pieces import token_text
from spectui.tui.widgets.rows import Row
from spectui.tui.widgets.tree_view import draw_tree
from tests.tui.synthetic import TEXTS, Vocabulary, rounds


def made(tree: str, number: int, *, draft_probabilities: bool = True) -> tuple[RoundRow, dict[int, str]]:
    vocabulary = Vocabulary()
    source = rounds(
        TEXTS["code"], vocabulary, tree=tree, acceptance=0.7, draft_probabilities=draft_probabilities
    )
    record = [next(source) for _ in range(number)][-1]
    row = RoundRow(
        1, 1, record.number, record.prefix_length, record.accepted_length, record.bonus_token_id, record.cut,
        len(record.nodes), record.draft_ms, record.verify_ms, record.other_ms, tuple(record.nodes),
    )  # fmt: skip
    table = vocabulary.table
    return row, {token_id: token_text(token_id, table) for token_id in table}


def plain(rows: list[Row]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


@pytest.mark.parametrize("tree", ["full:3x2", "recycling:8", "chain:5", "recycling:16"])
@pytest.mark.parametrize("width", [30, 72, 120])
def test_every_node_is_drawn_once(tree: str, width: int) -> None:
    for number in range(1, 8):
        row, texts = made(tree, number)
        rows, _ = draw_tree(row, texts, width)
        roles = [role for line in rows for _, role in line]
        assert roles.count("accepted-path") == row.accepted_length
        assert "\n".join(plain(rows)).count("→") == 1
        assert sum(line.count("✓") for line in plain(rows)) == sum(n.match is True for n in row.nodes)
        # A row for each leaf; the target's own token makes one more unless it follows a leaf.
        parents = {n.parent for n in row.nodes}
        leaves = sum(n.idx not in parents for n in row.nodes)
        assert len(rows) in (leaves, leaves + 1)


def test_columns_stay_where_they_are_from_round_to_round() -> None:
    starts = set()
    for number in range(1, 12):
        row, texts = made("full:3x2", number)
        rows, _ = draw_tree(row, texts, 72)
        starts.add(tuple(i for i, c in enumerate(plain(rows)[0]) if c == "┬")[:2])
    assert len(starts) == 1


def test_probabilities_that_are_not_known_are_not_invented() -> None:
    row, texts = made("full:3x2", 3, draft_probabilities=False)
    rows, _ = draw_tree(row, texts, 120)
    assert "q" not in "".join(text for line in rows for text, role in line if role == "muted" and "." in text)
    assert "/" not in "".join(text for line in rows for text, role in line if role == "muted")
    assert any("p." in line for line in plain(rows))


def test_fits_the_width_when_it_can() -> None:
    row, texts = made("full:3x2", 4)
    rows, width = draw_tree(row, texts, 90)
    assert width <= 90
    assert max(cell_len(line.replace("  target's own", "")) for line in plain(rows)) <= 90


def test_a_round_without_a_tree_shows_the_target_alone() -> None:
    row = RoundRow(1, 1, 1, 5, 0, 7, None, 0, 0.0, 30.0, 0.5, ())
    rows, _ = draw_tree(row, {7: " word"}, 60)
    assert plain(rows) == ["●── → ·word  target's own"]
