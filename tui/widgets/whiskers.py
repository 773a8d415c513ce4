"""The pictures of a report as rows of a terminal: a mark for each value, a line for its interval."""

from __future__ import annotations

from itertools import groupby

from spectui.tui.report.pictures import Mark, Panel, Picture
from spectui.tui.terminal.cells import NOTHING, fit
from spectui.tui.terminal.glyphs import glyphs
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Cell, Row

NAMES, VALUES, GAP = 10, 7, 3
"""Cells of a mark's name at most, of its value, and between panels."""
LEAST, MOST = 18, 60
"""Cells of a scale."""


def picture_rows(picture: Picture, width: int) -> list[Row]:
    """The picture in rows of `width` cells: as many panels abreast as have room."""
    names = min(max(len(mark.name) for panel in picture.panels for mark in panel.marks), 17)
    names = names if len(picture.panels) == 1 else min(names, NAMES)
    abreast = _abreast(len(picture.panels), width, names + VALUES + LEAST)
    each = min((width - GAP * (abreast - 1)) // abreast, names + VALUES + MOST)
    rows: list[Row] = [((picture.title[:width], "strong"),)]
    for start in range(0, len(picture.panels), abreast):
        blocks = [panel_rows(panel, each, names) for panel in picture.panels[start : start + abreast]]
        height = max(map(len, blocks))
        blank: Row = ((" " * each, "text"),)
        rows += [_joined([block[y] if y < len(block) else blank for block in blocks]) for y in range(height)]
    if picture.note:
        chance = any(mark.chance is not None for panel in picture.panels for mark in panel.marks)
        sign = glyphs().axis if chance else glyphs().reference
        rows.append(((f"{sign} ", "text"), (picture.note, "note")))
    return rows


def panel_rows(panel: Panel, width: int, names: int) -> list[Row]:
    """A heading where there is one, a row a mark, the scale: each of exactly `width` cells."""
    room = max(width - names - 1 - VALUES, 1)
    rows: list[Row] = []
    if panel.title:
        title = fit(sanitize_line(panel.title), width - names - 1)
        rows.append(((" " * (names + 1), "text"), (title, "muted")))
    for mark in panel.marks:
        value = NOTHING if mark.value is None else f"{mark.value:.{panel.digits}f}"
        name = (
            fit(sanitize_line(mark.name), names) + " ",
            f"{mark.role}-name" if "-" in mark.role else "text",
        )
        rows.append((name, *mark_cells(mark, panel.high, room), (value.rjust(VALUES), "text")))
    rows.append(
        ((" " * (names + 1), "text"), (_scale(panel, room), "muted"), (" " * VALUES, "text")),
    )
    return rows


def mark_cells(mark: Mark, high: float, width: int) -> list[Cell]:
    """One mark on a scale from 0 to `high` of `width` cells."""
    signs = glyphs()

    def place(value: float) -> int:
        return round(min(max(value / high, 0.0), 1.0) * (width - 1))

    cells = [(" ", "text")] * width
    if mark.ci is not None:
        low, end = (place(value) for value in mark.ci)
        cells[low : end + 1] = [(signs.floor, mark.role)] * (end + 1 - low)
    for value, sign in ((mark.chance, signs.axis), (mark.published, signs.reference)):
        if value is not None:
            cells[place(value)] = (sign, "text")
    if mark.value is not None:
        cells[place(mark.value)] = (signs.dots[0], mark.role)
    return [("".join(sign for sign, _ in same), role) for role, same in _runs(cells)]


def _runs(cells: list[Cell]) -> list[tuple[str, list[Cell]]]:
    return [(role, list(same)) for role, same in groupby(cells, key=lambda cell: cell[1])]


def _scale(panel: Panel, width: int) -> str:
    """The ticks, each below its place; those that would touch another are left out."""
    text = [" "] * width
    free = 0
    for tick in panel.ticks:
        label = f"{tick:g}"
        start = round(tick / panel.high * (width - 1)) - len(label) // 2
        start = min(max(start, 0), max(width - len(label), 0))
        if start >= free:
            text[start : start + len(label)] = label
            free = start + len(label) + 1
    return "".join(text)[:width]


def _abreast(panels: int, width: int, least: int) -> int:
    """The number of panels beside each other: such that the last line is as full as can be."""
    most = max(min(panels, (width + GAP) // (least + GAP)), 1)
    lines = -(-panels // most)
    return -(-panels // lines)


def _joined(rows: list[Row]) -> Row:
    joined: list[Cell] = []
    for row in rows:
        joined += [*([(" " * GAP, "text")] if joined else []), *row]
    return tuple(joined)
