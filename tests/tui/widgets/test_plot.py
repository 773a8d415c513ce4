"""Protects: lines of charts run from point to point without gaps, in dots finer than cells, and in ASCII too."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spectui.tui.terminal import glyphs
from spectui.tui.widgets.plot import draw_line
from spectui.tui.widgets.rows import Cell

WIDTH, HEIGHT = 24, 10
BITS = {
    0x01: (0, 0),
    0x02: (0, 1),
    0x04: (0, 2),
    0x40: (0, 3),
    0x08: (1, 0),
    0x10: (1, 1),
    0x20: (1, 2),
    0x80: (1, 3),
}
"""Dots of Unicode's braille patterns: column and row in the cell."""
points = st.tuples(st.integers(0, WIDTH - 1), st.floats(0, HEIGHT - 1))


def empty() -> list[list[Cell]]:
    return [[(" ", "text")] * WIDTH for _ in range(HEIGHT)]


def dots(grid: list[list[Cell]], role: str) -> set[tuple[int, int]]:
    return {
        (2 * column + x, 4 * row + y)
        for row, cells in enumerate(grid)
        for column, (text, drawn_as) in enumerate(cells)
        if drawn_as == role
        for bit, (x, y) in BITS.items()
        if (ord(text) - 0x2800) & bit
    }


@example((0, 1.0), (0, 5.999999999999998))
@given(points, points)
@settings(max_examples=500)
def test_a_line_has_no_gap(start: tuple[int, float], end: tuple[int, float]) -> None:
    start, end = sorted((start, end))
    grid = empty()
    draw_line(grid, start, end, "a")
    drawn = dots(grid, "a")
    reached = {min(drawn, key=lambda dot: (dot[0], abs(dot[1] - 4 * start[1])))}
    waiting = list(reached)
    while waiting:
        x, y = waiting.pop()
        near = {(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)} & drawn - reached
        reached |= near
        waiting += near
    assert reached == drawn
    assert {x // 2 for x, _ in drawn} == set(range(start[0], end[0] + 1))
    for column, row in (start, end):
        assert any(x // 2 == column and abs(y - (4 * row + 1.5)) <= 0.5 + 1e-9 for x, y in drawn)


def test_a_line_that_crosses_another_has_its_cells_to_itself() -> None:
    grid = empty()
    draw_line(grid, (0, 0), (WIDTH - 1, HEIGHT - 1), "a")
    whole = dots(grid, "a")
    draw_line(grid, (0, HEIGHT - 1), (WIDTH - 1, 0), "b")
    alone = empty()
    draw_line(alone, (0, HEIGHT - 1), (WIDTH - 1, 0), "b")
    assert dots(grid, "b") == dots(alone, "b")
    assert dots(grid, "a") < whole


def test_ascii_has_a_mark_in_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "_chosen", glyphs.ASCII)
    grid = empty()
    draw_line(grid, (3, 0), (20, HEIGHT - 1), "a")
    marked = {
        column for cells in grid for column, (text, role) in enumerate(cells) if role == "a" and text == "."
    }
    assert marked == set(range(3, 21))
