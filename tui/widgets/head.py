"""The header of a screen that shows one session."""

from __future__ import annotations

from collections.abc import Iterator

from spectui.store.rows import SessionSummary
from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Cell, Row, row_width

SHORTEST_NAME = 6
"""Cells below which the beginning of a name says nothing."""
PANES = ("text", "tree", "charts", "prompts")


def head_row(summary: SessionSummary, width: int, *, pane: int = 0, mode: str = "") -> Row:
    """``spectui  name`` on the left; on the right models and device, or the panes that are stacked.

    A `mode` is named, and the whole row is marked.
    """
    before: list[Cell] = [(" spectui  ", "accent"), (sanitize_line(summary.name), "strong")]
    if mode:
        before.insert(1, (f"{mode}  ", "warning"))
    for right in [_pane_cells(pane)] if pane else _model_cells(summary):
        if row_width((*before, *right)) + 2 <= width:
            break
    else:
        right = _pane_cells(pane) if pane else []
        before = _shorter(before, width - row_width(tuple(right)) - 2)
    gap = width - row_width((*before, *right))
    row: Row = (*before, (" " * max(gap, 0), "text"), *right)
    return tuple((text, f"{role} cursor") for text, role in row) if mode else row


def _shorter(cells: list[Cell], room: int) -> list[Cell]:
    """Mode and name in less room: the name is cut, and goes before the mode does."""
    *before, (name, role) = cells
    spare = room - row_width(tuple(before))
    if spare >= SHORTEST_NAME:
        return [*before, (fit(name, spare).rstrip(), role)]
    return [(f" {text}", role) for text, role in before[1:] if len(text) < room]


def _model_cells(summary: SessionSummary) -> Iterator[list[Cell]]:
    """Models, tree and device in ever less room: the drafter and its tree stay longest."""
    target, drafter, tree, device = (
        sanitize_line(text) for text in (summary.target, summary.drafter, summary.tree, summary.device)
    )
    models: Cell = (f"{target} ← {drafter} ", "text")
    yield [models, (f" {'  '.join(part for part in (tree, device) if part)} ", "muted")]
    yield [models, (f" {tree} ", "muted")]
    yield [(f"← {drafter} ", "text"), (f" {tree} ", "muted")]
    yield [(f"← {drafter} ", "text")]


def _pane_cells(pane: int) -> list[Cell]:
    cells: list[Cell] = []
    for index, name in enumerate(PANES, start=1):
        current = index == pane
        cells += [(f" {index} ", "key"), (name, "strong marked" if current else "muted")]
    return [*cells, (" ", "text")]
