"""The charts of a report as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spectui.store.analysis.figures import GroupFigures
from spectui.store.analysis.report import OVERALL, Report
from spectui.tui.report import svg
from spectui.tui.report.pictures import Mark, Picture, pictures, task_roles
from spectui.tui.report.svg import Chart
from spectui.tui.report.tables import report_groups

WIDTH = 920
_NAMES, _ROW, _TOP, _BOTTOM, _GAP = 110, 22, 44, 26, 18
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def charts(report: Report) -> list[Chart]:
    """The pictures of a report, each drawn."""
    return [_chart(picture, report) for picture in pictures(report)]


def _chart(picture: Picture, report: Report) -> Chart:
    if picture.key == "hazard_on_path":
        return _survival(picture.title, report_groups(report))
    return _bars(picture) if picture.key == "predictors" else _panels(picture)


def _panels(picture: Picture) -> Chart:
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
    return Chart(picture.title, WIDTH, height, "".join(parts))


def _survival(title: str, groups: Sequence[GroupFigures]) -> Chart:
    """A line for each task: the share of rounds whose path reaches each depth."""
    colours = task_roles(groups)
    height, left, right = 260.0, 46.0, WIDTH - 140.0
    deepest = max((len(group.on_path) for group in groups), default=1) or 1
    x = svg.scale(0, deepest, left, right)
    y = svg.scale(0, 1, height - 30, 34)
    parts = [_title(title)]
    for mark in _TICKS:
        parts.append(svg.line(left, y(mark), right, y(mark)))
        parts.append(svg.text(left - 6, y(mark) + 4, f"{mark:g}", anchor="end", kind="muted"))
    step = max(1, round(deepest / 20))
    parts += [
        svg.text(x(depth), height - 12, str(depth), anchor="middle", kind="muted")
        for depth in range(0, deepest + 1, step)
    ]
    for index, group in enumerate(groups):
        colour = colours[group.name]
        known = [
            (each.depth, each.survival, each.survival_ci)
            for each in group.on_path
            if each.survival is not None
        ]
        before = (0, 1.0)
        shift = (index - (len(groups) - 1) / 2) * 5  # so that intervals do not hide each other
        for depth, value, ci in known:
            if ci is not None:
                at = x(depth) + shift
                parts.append(f'<g opacity=".6">{svg.line(at, y(ci[0]), at, y(ci[1]), colour=colour)}</g>')
            parts.append(
                svg.line(
                    x(before[0]),
                    y(before[1]),
                    x(depth),
                    y(value),
                    colour=colour,
                    dashed=group.name == OVERALL,
                )
            )
            parts.append(
                svg.dot(x(depth), y(value), colour, f"{group.name}, depth {depth}: {value:.3f}{_said(ci)}")
            )
            before = (depth, value)
        parts.append(svg.dot(right + 20, 44 + 20 * index, colour))
        parts.append(svg.text(right + 30, 48 + 20 * index, group.name, cut=15))
    return Chart(title, WIDTH, max(height, 44 + 20 * len(groups)), "".join(parts))


def _bars(picture: Picture) -> Chart:
    """Bars, the whisker a bar's interval, the tick what chance explains."""
    (panel,) = picture.panels
    x = svg.scale(0, panel.high, _NAMES + 20, WIDTH - 60)
    title = f"{picture.title}; dashed: {picture.note}"
    parts = [_title(title), *_axis(x, panel.ticks, len(panel.marks))]
    for row, mark in enumerate(panel.marks):
        y, value = _middle(row), mark.value or 0.0
        parts.append(svg.text(_NAMES + 10, y + 4, mark.name, anchor="end"))
        tip = f"{mark.name}: {value:.{panel.digits}f}{_said(mark.ci, panel.digits)}"
        parts.append(svg.bar(x(0), y - 6, x(max(value, 0.0)) - x(0), 12, mark.role, tip))
        if mark.ci is not None:
            parts.append(svg.line(x(mark.ci[0]), y, x(mark.ci[1]), y, colour="text"))
        if mark.chance is not None:
            at = x(mark.chance)
            parts.append(svg.line(at, y - 9, at, y + 9, colour="muted", dashed=True))
    return Chart(title, WIDTH, _TOP + _ROW * len(panel.marks) + _BOTTOM, "".join(parts))


def _title(said: str) -> str:
    return svg.text(0, 14, said, kind="title", cut=120)


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
    return drawn + svg.dot(x(mark.value), y, mark.role, f"{what}: {mark.value:.3f}{_said(mark.ci)}")


def _said(ci: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ci is None else f", 95 % {ci[0]:.{digits}f} to {ci[1]:.{digits}f}"
