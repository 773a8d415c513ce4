"""The tables of a comparison."""

from __future__ import annotations

from spectui.store.analysis.compare import Comparison, GroupContrast
from spectui.store.analysis.contrast import Contrast
from spectui.store.analysis.predictors import TITLES
from spectui.tui.report.grid import Cell, Column, Grid, grid
from spectui.tui.report.tables import DEFINITIONS, models
from spectui.tui.terminal.cells import counted

_FIGURES = {
    **{key: f"α, {name}" for key, name in DEFINITIONS.items()},
    "expected_length_formula": "E[L] formula, overlap",
    "accepted_length": "accepted length",
    "tokens_per_round": "tokens per round",
    "draft_entropy": "draft entropy",
    "target_entropy": "target entropy",
    "rho_match": "ρ draft entropy, match",
    "rho_overlap": "ρ draft entropy, overlap",
}


def contrast_tables(comparison: Comparison) -> list[Grid]:
    """One table for each task, one for all prompts, one for the predictors; none before the first rounds."""
    if comparison.overall is None:
        return []
    groups = list(comparison.tasks.values())
    if len(groups) != 1:
        groups.append(comparison.overall)
    tables = [_group(group) for group in groups]
    if comparison.predictors:
        rows = [_row(TITLES[name], each) for name, each in comparison.predictors.items()]
        tables.append(
            grid(
                "predictors",
                "R² of what tells which nodes match, all prompts",
                _columns("predictor", 4),
                rows,
            )
        )
    return tables


def contrast_subject(comparison: Comparison) -> list[str]:
    """The two sessions, a line each."""
    return [
        f"{letter}  session {models(each)}" for letter, each in (("A", comparison.a), ("B", comparison.b))
    ]


def _group(group: GroupContrast) -> Grid:
    of_a, of_b = group.prompts
    of_them = counted(of_a, "prompt")
    shared = f"{of_them} of both" if group.paired else f"{of_them} of A, {of_b} of B"
    rows = [_row(_name(key), each) for key, each in group.figures.items()]
    return grid(
        f"task_{group.name}",
        f"{group.name}: {shared}",
        _columns("figure", 3),
        [row for row in rows if row[1] is not None or row[3] is not None],
    )


def _columns(first: str, digits: int) -> tuple[Column, ...]:
    return (
        Column(first, first, "text"),
        Column("a", "A", digits=digits),
        Column("a_ci", "95 %", "interval", digits),
        Column("b", "B", digits=digits),
        Column("b_ci", "95 %", "interval", digits),
        Column("difference", "B - A", digits=digits, sign=True),
        Column("difference_ci", "95 %", "interval", digits, sign=True),
    )


def _row(name: str, value: Contrast) -> tuple[Cell, ...]:
    named = name if value.comparable else f"{name} (other nodes)"
    return (named, value.a, value.ci_a, value.b, value.ci_b, value.difference, value.ci)


def _name(key: str) -> str:
    what, _, depth = key.rpartition("_")
    return _FIGURES.get(key) or (
        f"reached depth {depth}" if what == "survival" else f"{what} at depth {depth}"
    )
