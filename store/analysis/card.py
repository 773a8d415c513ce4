"""The table that model cards of drafters have: acceptance by subset and position, here with intervals.

Figures are by the field's definitions, those of vLLM's counters, over all verifications with a draft of a subset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectui.store.analysis.resampling import SHARE
from spectui.store.counts.intervals import Floats, Pair, pair, ratio_interval
from spectui.store.counts.metrics import ratio_range
from spectui.store.errors import StoreError
from spectui.store.reading.columns import Ints
from spectui.store.reading.reader import Reader
from spectui.store.reading.steps import Steps, read_steps
from spectui.store.rows import SessionSummary

OVERALL = "all"


@dataclass(frozen=True)
class CardFigure:
    """A figure and its 95 % interval over prompts; None with too few prompts for one."""

    value: float
    ci: Pair | None


@dataclass(frozen=True)
class CardRow:
    """The figures of one subset, which is a task, or of all."""

    subset: str
    prompts: int
    steps: int
    """Verifications with a draft."""
    acceptance_length: CardFigure
    """Tokens a step: the accepted ones, and the target's own."""
    positions: tuple[CardFigure, ...]
    """The share of steps that accepted the token at each position from 0, and those before it."""


@dataclass(frozen=True)
class Card:
    """The table of one session."""

    session: SessionSummary
    rows: tuple[CardRow, ...]
    left_out: int
    """Prompts with steps that had not finished."""
    undrafted: int
    """Finished prompts of which no step had a draft; they are in no row."""
    undrafted_tasks: tuple[str, ...]
    """Tasks that have no row, as nothing was drafted in any of their finished prompts."""


def build_card(reader: Reader, ref: int | str) -> Card:
    """The card of a session, given by id, name or "last". Raises `StoreError` where nothing was drafted."""
    with reader.snapshot():
        summary = reader.session(ref)
        every = list(read_steps(reader, summary.id))
        finished = reader.fetch(
            "SELECT task, count(*) FROM generation WHERE session_id = ? AND status = 'finished' GROUP BY task"
            " ORDER BY min(position)",
            summary.id,
        )
        ((depth,),) = reader.fetch("SELECT max(depth) FROM rollup_depth WHERE session_id = ?", summary.id)
    prompts = [each for each in every if each.finished] or every
    if not prompts:
        raise StoreError(
            f"session '{summary.name}' has no round with a draft: there is no acceptance to table"
        )
    # A tree has more nodes than levels; a chain without nodes has as many tokens.
    positions = depth or max(max(each.drafted) for each in prompts)
    subsets = list(dict.fromkeys(each.task for each in prompts))
    rows = [_row(name, [each for each in prompts if each.task == name], positions) for name in subsets]
    if len(subsets) > 1:
        rows.append(_row(OVERALL, prompts, positions))
    drafted = sum(each.finished for each in every)
    return Card(
        summary,
        tuple(rows),
        len(every) - len(prompts),
        sum(number for _, number in finished) - drafted,
        tuple(task for task, _ in finished if task not in subsets),
    )


def _row(subset: str, prompts: list[Steps], positions: int) -> CardRow:
    places = {task: place for place, task in enumerate(dict.fromkeys(each.task for each in prompts))}
    task = np.array([places[each.task] for each in prompts], dtype=np.int64)
    steps = np.array([len(each.accepted) for each in prompts], dtype=np.float64)
    accepted = [np.array(each.accepted) for each in prompts]
    emitted = np.array([each.sum() for each in accepted]) + steps
    return CardRow(
        subset,
        len(prompts),
        int(steps.sum()),
        _figure(emitted, steps, ratio_range("tokens_per_round", positions), task),
        tuple(
            _figure(np.array([(each > place).sum() for each in accepted]), steps, SHARE, task)
            for place in range(positions)
        ),
    )


def _figure(top: Ints | Floats, bottom: Floats, within: Pair, task: Ints) -> CardFigure:
    interval = ratio_interval(top.astype(np.float64), bottom, within, task)
    return CardFigure(float(top.sum() / bottom.sum()), pair(interval))
