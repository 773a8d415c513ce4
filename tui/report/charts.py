"""The charts of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from store.report import published
from store.report.counts import ALPHAS
from store.report.figures import Estimate, GroupFigures
from store.report.predictors import TITLES
from store.report.report import OVERALL, Report
from tui.report import svg
from tui.report.svg import Chart
from tui.report.tables import DEFINITIONS, report_groups
from tui.theme import task_slots

WIDTH = 920
_NAMES, _ROW, _TOP, _BOTTOM, _GAP = 110, 22, 44, 26, 18
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def charts(report: Report) -> list[Chart]:
    """Acceptance, accepted length, survival and predictors; those without data are left out."""
    groups = report_groups(report)
    if not groups or not groups[-1].nodes:
        return []
    colours = _colours(groups)
    found = [_alphas(groups, colours), _lengths(groups, colours), _survival(groups, colours)]
    if any(report.predictors.values()):
        found.append(_predictors(report))
    return found


def _colours(groups: Sequence[GroupFigures]) -> dict[str, str]:
    slots = task_slots(group.name for group in groups if group.name != OVERALL)
    return {name: f"task-{slot}" for name, slot in slots.items()} | {OVERALL: "text"}


def _alphas(groups: Sequence[GroupFigures], colours: dict[str, str]) -> Chart:
    """A panel for each definition, a row for each task."""
    title = "Acceptance α under each definition, 95 % intervals"
    shown = [key for key in ALPHAS if any(group.alpha[key].mean is not None for group in groups)]
    parts = [svg.text(0, 14, title, kind="title"), *_row_names(groups)]
    panel = (WIDTH - _NAMES - _GAP * (len(ALPHAS) - 1)) / len(ALPHAS)
    for place, key in enumerate(shown):
        left = _NAMES + place * (panel + _GAP)
        x = svg.scale(0, 1, left + 6, left + panel - 6)
        parts.append(svg.text(left + panel / 2, 34, DEFINITIONS[key], anchor="middle", kind="muted"))
        parts += _axis(x, (0, 0.5, 1), len(groups))
        for row, group in enumerate(groups):
            y = _middle(row)
            parts.append(
                _whisker(x, y, group.alpha[key], colours[group.name], f"{group.name}, {DEFINITIONS[key]}")
            )
            if key == published.DEFINITION and group.name in published.ALPHA:
                value = published.ALPHA[group.name]
                parts.append(svg.diamond(x(value), y, f"{group.name}: {value} ({published.SOURCE})"))
    height = _TOP + _ROW * len(groups) + _BOTTOM
    if published.DEFINITION in shown and any(group.name in published.ALPHA for group in groups):
        parts.append(svg.diamond(7, height + 4, published.SOURCE))
        parts.append(svg.text(20, height + 8, f"published ({published.SOURCE})", kind="muted"))
        height += 16
    return Chart(title, WIDTH, height, "".join(parts))


def _lengths(groups: Sequence[GroupFigures], colours: dict[str, str]) -> Chart:
    title = "Accepted length: the chain formula of overlap, and as measured"
    panels: list[tuple[str, Callable[[GroupFigures], Estimate]]] = [
        ("E[L] = α + α² + ...", lambda group: group.expected_length[published.DEFINITION]),
        ("accepted length", lambda group: group.accepted_length),
        ("tokens per round", lambda group: group.tokens_per_round),
    ]
    ends = [
        max(value.mean, value.ci[1] if value.ci else 0.0)
        for group in groups
        for _, pick in panels
        for value in (pick(group),)
        if value.mean is not None
    ]
    marks = svg.ticks(max(ends, default=1.0), 4)
    parts = [svg.text(0, 14, title, kind="title"), *_row_names(groups)]
    width = (WIDTH - _NAMES - _GAP * (len(panels) - 1)) / len(panels)
    for place, (name, pick) in enumerate(panels):
        left = _NAMES + place * (width + _GAP)
        x = svg.scale(0, marks[-1], left + 6, left + width - 6)
        parts.append(svg.text(left + width / 2, 34, name, anchor="middle", kind="muted"))
        parts += _axis(x, marks, len(groups))
        for row, group in enumerate(groups):
            value = pick(group)
            if value.mean is None:
                parts.append(svg.text(left + width / 2, _middle(row) + 4, "–", anchor="middle", kind="muted"))
            parts.append(_whisker(x, _middle(row), value, colours[group.name], f"{group.name}, {name}"))
            if place == 0 and group.name in published.EXPECTED_LENGTH:
                said = published.EXPECTED_LENGTH[group.name]
                parts.append(svg.diamond(x(said), _middle(row), f"{group.name}: {said} ({published.SOURCE})"))
    return Chart(title, WIDTH, _TOP + _ROW * len(groups) + _BOTTOM, "".join(parts))


def _survival(groups: Sequence[GroupFigures], colours: dict[str, str]) -> Chart:
    """A line for each task: the share of rounds whose path reaches each depth."""
    title = "Survival: share of rounds whose accepted path reaches a depth"
    height, left, right = 260.0, 46.0, WIDTH - 140.0
    deepest = max((len(group.on_path) for group in groups), default=1) or 1
    x = svg.scale(0, deepest, left, right)
    y = svg.scale(0, 1, height - 30, 34)
    parts = [svg.text(0, 14, title, kind="title")]
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
        shift = (index - (len(groups) - 1) / 2) * 3  # so that intervals do not hide each other
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


def _predictors(report: Report) -> Chart:
    """Bars of McFadden's R2, the whisker its interval, the tick what chance explains."""
    title = "What tells which nodes match: McFadden's R², 95 % intervals; dashed: what chance explains"
    known = [(name, each) for name, each in report.predictors.items() if each is not None]
    known.sort(key=lambda item: -item[1].mcfadden_r2_corrected)
    ends = [
        max(each.mcfadden_r2_corrected, each.ci[1] if each.ci else 0, each.null_r2 or 0) for _, each in known
    ]
    marks = svg.ticks(max(ends))
    x = svg.scale(0, marks[-1], _NAMES + 20, WIDTH - 60)
    parts = [svg.text(0, 14, title, kind="title", cut=120), *_axis(x, marks, len(known))]
    for row, (name, each) in enumerate(known):
        y = _middle(row)
        value = each.mcfadden_r2_corrected
        parts.append(svg.text(_NAMES + 10, y + 4, TITLES[name], anchor="end"))
        tip = f"{TITLES[name]}: {value:.4f}{_said(each.ci, 4)}"
        parts.append(svg.bar(x(0), y - 6, x(max(value, 0.0)) - x(0), 12, "accent", tip))
        if each.ci is not None:
            parts.append(svg.line(x(each.ci[0]), y, x(each.ci[1]), y, colour="text"))
        if each.null_r2 is not None:
            parts.append(
                svg.line(x(each.null_r2), y - 9, x(each.null_r2), y + 9, colour="muted", dashed=True)
            )
    return Chart(title, WIDTH, _TOP + _ROW * len(known) + _BOTTOM, "".join(parts))


def _row_names(groups: Sequence[GroupFigures]) -> list[str]:
    return [
        svg.text(_NAMES - 8, _middle(row) + 4, g.name, anchor="end", cut=15) for row, g in enumerate(groups)
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


def _whisker(x: Callable[[float], float], y: float, value: Estimate, colour: str, what: str) -> str:
    if value.mean is None:
        return ""
    drawn = svg.line(x(value.ci[0]), y, x(value.ci[1]), y, colour=colour) if value.ci else ""
    return drawn + svg.dot(x(value.mean), y, colour, f"{what}: {value.mean:.3f}{_said(value.ci)}")


def _said(ci: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ci is None else f", 95 % {ci[0]:.{digits}f} to {ci[1]:.{digits}f}"
