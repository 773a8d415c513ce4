"""The charts of a report as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spectui.store.analysis.report import OVERALL, Report
from spectui.tui.report import svg
from spectui.tui.report.pictures import Mark, Picture, pictures
from spectui.tui.report.svg import Drawing

WIDTH = 920
_NAMES, _ROW, _TOP, _BOTTOM, _GAP = 110, 22, 44, 26, 18
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def charts(report: Report) -> list[Drawing]:
    """The pictures of a report, each drawn."""
    draw = {"panels": _panels, "lines": _lines, "bars": _bars}
    return [draw[picture.form](picture) for picture in pictures(report)]


def _panels(picture: Picture) -> Drawing:
    """Panels that share their rows."""
    marks = picture.panels[0].marks
    parts = [_title(picture.title), *_row_names(marks)]
    width = (WIDTH - _NAMES - _GAP * (len(picture.panels) - 1)) / len(picture.panels)
    for place, panel in enumerate(picture.panels):
        left = _NAMES + place * (width + _GAP)
        x = svg.scale(0, panel.high, left + 6, left + width - 6)
        parts.append(svg.text(left + width / 2, 34, panel.title, anchor="middle", kind="muted"))
        parts += _axis(x, panel.ticks, len(marks))
        for row, mark in enumerate(panel.marks):
            y, tip = _middle(row), f"{mark.name}, {panel.title}"
            if mark.value is None:
                parts.append(svg.text(left + width / 2, y + 4, "–", anchor="middle", kind="muted"))
            parts.append(_whisker(x, y, mark, tip))
            if mark.published is not None:
                parts.append(
                    svg.diamond(x(mark.published), y, f"{mark.name}, {picture.note}: {mark.published}")
                )
    height = _TOP + _ROW * len(marks) + _BOTTOM
    if picture.note:
        parts.append(svg.diamond(7, height + 4, picture.note))
        parts.append(svg.text(20, height + 8, picture.note, kind="muted"))
        height += 16
    return Drawing(picture.title, WIDTH, height, "".join(parts))


def _lines(picture: Picture) -> Drawing:
    """A line for each panel, over its marks in order; all panels on one scale from 0 to 1."""
    height, left, right = 260.0, 46.0, WIDTH - 140.0
    deepest = max(len(panel.marks) for panel in picture.panels)
    x = svg.scale(0, deepest, left, right)
    y = svg.scale(0, 1, height - 30, 34)
    parts = [_title(picture.title)]
    for tick in _TICKS:
        parts.append(svg.line(left, y(tick), right, y(tick)))
        parts.append(svg.text(left - 6, y(tick) + 4, f"{tick:g}", anchor="end", kind="muted"))
    step = max(1, round(deepest / 20))
    parts += [
        svg.text(x(place), height - 12, str(place), anchor="middle", kind="muted")
        for place in range(0, deepest + 1, step)
    ]
    for index, panel in enumerate(picture.panels):
        colour = panel.marks[0].role
        before = (x(0), y(1.0))
        shift = (index - (len(picture.panels) - 1) / 2) * 5  # so that intervals do not hide each other
        for place, mark in enumerate(panel.marks, start=1):
            if mark.value is None:
                continue
            if mark.ci is not None:
                at = x(place) + shift
                interval = svg.line(at, y(mark.ci[0]), at, y(mark.ci[1]), colour=colour)
                parts.append(f'<g opacity=".6">{interval}</g>')
            here = (x(place), y(mark.value))
            parts.append(svg.line(*before, *here, colour=colour, dashed=panel.title == OVERALL))
            tip = f"{panel.title}, {mark.name}: {mark.value:.3f}{_interval_text(mark.ci)}"
            parts.append(svg.dot(*here, colour, tip))
            before = here
        parts.append(svg.dot(right + 20, 44 + 20 * index, colour))
        parts.append(svg.text(right + 30, 48 + 20 * index, panel.title, cut=15))
    return Drawing(picture.title, WIDTH, max(height, 44 + 20 * len(picture.panels)), "".join(parts))


def _bars(picture: Picture) -> Drawing:
    """Bars, the whisker a bar's interval, the tick what chance explains."""
    (panel,) = picture.panels
    x = svg.scale(0, panel.high, _NAMES + 20, WIDTH - 60)
    title = f"{picture.title}; dashed: {picture.note}"
    parts = [_title(title), *_axis(x, panel.ticks, len(panel.marks))]
    for row, mark in enumerate(panel.marks):
        y, value = _middle(row), mark.value or 0.0
        parts.append(svg.text(_NAMES + 10, y + 4, mark.name, anchor="end"))
        tip = f"{mark.name}: {value:.{panel.digits}f}{_interval_text(mark.ci, panel.digits)}"
        parts.append(svg.bar(x(0), y - 6, x(max(value, 0.0)) - x(0), 12, mark.role, tip))
        if mark.ci is not None:
            parts.append(svg.line(x(mark.ci[0]), y, x(mark.ci[1]), y, colour="text"))
        if mark.chance is not None:
            at = x(mark.chance)
            parts.append(svg.line(at, y - 9, at, y + 9, colour="muted", dashed=True))
    return Drawing(title, WIDTH, _TOP + _ROW * len(panel.marks) + _BOTTOM, "".join(parts))


def _title(title: str) -> str:
    return svg.text(0, 14, title, kind="title", cut=120)


def _row_names(marks: Sequence[Mark]) -> list[str]:
    return [
        svg.text(_NAMES - 8, _middle(row) + 4, mark.name, anchor="end", cut=15)
        for row, mark in enumerate(marks)
    ]


def _middle(row: int) -> float:
    return _TOP + _ROW * (row + 0.5)


def _axis(x: Callable[[float], float], marks: Sequence[float], rows: int) -> list[str]:
    bottom = _TOP + _ROW * rows
    return [
        part
        for mark in marks
        for part in (
            svg.line(x(mark), _TOP, x(mark), bottom),
            svg.text(x(mark), bottom + 15, f"{mark:g}", anchor="middle", kind="muted"),
        )
    ]


def _whisker(x: Callable[[float], float], y: float, mark: Mark, what: str) -> str:
    if mark.value is None:
        return ""
    drawn = svg.line(x(mark.ci[0]), y, x(mark.ci[1]), y, colour=mark.role) if mark.ci else ""
    return drawn + svg.dot(x(mark.value), y, mark.role, f"{what}: {mark.value:.3f}{_interval_text(mark.ci)}")


def _interval_text(ci: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ci is None else f", 95 % {ci[0]:.{digits}f} to {ci[1]:.{digits}f}"
