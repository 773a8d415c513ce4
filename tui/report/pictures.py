"""The charts of a report as data; `tui.report.charts` draws them as SVG, `tui.widgets.whiskers` in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from spectui.store.analysis import published
from spectui.store.analysis.counts import ALPHAS
from spectui.store.analysis.figures import Estimate, GroupFigures
from spectui.store.analysis.predictors import TITLES
from spectui.store.analysis.report import OVERALL, Report
from spectui.tui.report.svg import ticks
from spectui.tui.report.tables import DEFINITIONS, report_groups
from spectui.tui.terminal.theme import task_slots

Pair = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """A value with its 95 % interval; None is what cannot be known."""

    name: str
    role: str
    """Its colour: a task's ("task-2"), or "text" for all tasks together."""
    value: float | None
    ci: Pair | None
    published: float | None = None
    """The value in the published study."""
    chance: float | None = None
    """The value that chance alone gives."""


@dataclass(frozen=True)
class Panel:
    """Marks on one scale, which goes from the first tick to the last."""

    title: str
    ticks: tuple[float, ...]
    marks: tuple[Mark, ...]
    digits: int = 3

    @property
    def high(self) -> float:
        """The end of the scale; it begins at 0."""
        return self.ticks[-1]


@dataclass(frozen=True)
class Picture:
    """Panels beside each other."""

    key: str
    """The table that says the same in numbers."""
    title: str
    panels: tuple[Panel, ...]
    note: str = ""
    """The meaning of its signs."""
    form: Literal["panels", "lines", "bars"] = "panels"
    """The form on a page: marks in panels, a line for each panel, or bars."""


def pictures(report: Report) -> list[Picture]:
    """Acceptance, accepted length, survival and predictors; those without data are left out."""
    groups = report_groups(report)
    if not groups or not groups[-1].nodes:
        return []
    roles = task_roles(groups)
    drawn = [_alphas(groups, roles), _lengths(groups, roles), _survival(groups, roles), _predictors(report)]
    return [picture for picture in drawn if picture.panels]


def task_roles(groups: Sequence[GroupFigures]) -> dict[str, str]:
    """The colour of each group."""
    slots = task_slots(group.name for group in groups if group.name != OVERALL)
    return {name: f"task-{slot}" for name, slot in slots.items()} | {OVERALL: "text"}


def _alphas(groups: Sequence[GroupFigures], roles: dict[str, str]) -> Picture:
    """A panel for each definition, a mark for each task."""

    def panel(key: str) -> Panel:
        figures = published.ALPHA if key == published.DEFINITION else {}
        marks = (_mark(g.name, roles[g.name], g.alpha[key], figures.get(g.name)) for g in groups)
        return Panel(DEFINITIONS[key], (0.0, 0.5, 1.0), tuple(marks))

    shown = [panel(key) for key in ALPHAS if any(group.alpha[key].mean is not None for group in groups)]
    return Picture(
        "alpha", "Acceptance α under each definition, 95 % intervals", tuple(shown), _published(shown)
    )


def _lengths(groups: Sequence[GroupFigures], roles: dict[str, str]) -> Picture:
    chosen: list[tuple[str, Callable[[GroupFigures], Estimate], dict[str, float]]] = [
        (
            "E[L] = α + α² + ...",
            lambda g: g.expected_length[published.DEFINITION],
            published.EXPECTED_LENGTH,
        ),
        ("accepted length", lambda g: g.accepted_length, {}),
        ("tokens per round", lambda g: g.tokens_per_round, {}),
    ]
    figures = [
        (title, tuple(_mark(g.name, roles[g.name], pick(g), study.get(g.name)) for g in groups))
        for title, pick, study in chosen
    ]
    marks = tuple(ticks(max(_ends(mark for _, marks in figures for mark in marks), default=1.0), 4))
    shown = [Panel(title, marks, each) for title, each in figures]
    title = "Accepted length: the chain formula of overlap, and as measured"
    return Picture("length", title, tuple(shown), _published(shown))


def _survival(groups: Sequence[GroupFigures], roles: dict[str, str]) -> Picture:
    """A panel for each task, a mark for each depth."""
    panels = [
        Panel(
            group.name,
            (0.0, 0.5, 1.0),
            tuple(
                Mark(f"depth {step.depth}", roles[group.name], step.survival, step.survival_ci)
                for step in group.on_path
            ),
        )
        for group in groups
        if group.on_path
    ]
    title = "Survival: share of rounds whose accepted path reaches a depth"
    return Picture("hazard_on_path", title, tuple(panels), form="lines")


def _predictors(report: Report) -> Picture:
    """McFadden's R2, the best predictor first."""
    known = [(name, each) for name, each in report.predictors.items() if each is not None]
    known.sort(key=lambda item: -item[1].mcfadden_r2_corrected)
    marks = tuple(
        Mark(TITLES[name], "accent", each.mcfadden_r2_corrected, each.ci, chance=each.null_r2)
        for name, each in known
    )
    title = "What tells which nodes match: McFadden's R², 95 % intervals"
    panels = (Panel("", tuple(ticks(max(_ends(marks)))), marks, digits=4),) if marks else ()
    return Picture("predictors", title, panels, "what chance explains", form="bars")


def _mark(name: str, role: str, value: Estimate, study: float | None) -> Mark:
    return Mark(name, role, value.mean, value.ci, study)


def _ends(marks: Sequence[Mark] | Iterator[Mark]) -> Iterator[float]:
    """The highest that each mark needs room for."""
    for mark in marks:
        if mark.value is not None:
            known = (mark.value, mark.ci[1] if mark.ci else 0.0, mark.published or 0.0, mark.chance or 0.0)
            yield max(known)


def _published(panels: Sequence[Panel]) -> str:
    some = any(mark.published is not None for panel in panels for mark in panel.marks)
    return f"published ({published.SOURCE})" if some else ""
