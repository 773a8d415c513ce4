"""The state of a session as it was at a moment, in the values that a live one is shown by. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from spectui.store.counts import metrics
from spectui.store.counts.sums import GENERATION_SUMS, NODE_SQL, TIMES, plus
from spectui.store.rows import GenerationRow, TaskFigures
from spectui.tui.model.progress import DONE
from spectui.tui.model.state import RunState


def waiting(row: GenerationRow) -> GenerationRow:
    """A prompt before its turn."""
    columns: dict[str, Any] = dict.fromkeys(GENERATION_SUMS, 0)
    return replace(
        row,
        status="pending",
        output="",
        error=None,
        finish_reason=None,
        started_at=None,
        ended_at=None,
        **columns,
    )


def underway(row: GenerationRow, number: int, within: TaskFigures) -> GenerationRow:
    """A prompt of which `number` rounds are known, whose figures are `within`."""
    columns: dict[str, Any] = {name: getattr(within, name) for name in (*NODE_SQL, *TIMES)}
    return replace(
        row,
        status="running",
        output="",
        error=None,
        finish_reason=None,
        round_count=number,
        token_count=within.tokens,
        node_count=within.nodes,
        ended_at=None,
        **columns,
    )


def state_at(
    base: RunState,
    status: str,
    generations: Sequence[GenerationRow],
    figures: Sequence[TaskFigures],
    at_ms: float,
) -> RunState:
    """The session as it was: `generations` and `figures` are those of the moment, `at_ms` its decoding time."""
    rounds, tokens = sum(f.rounds for f in figures), sum(f.tokens for f in figures)
    accepted = sum(f.accepted_count for f in figures)
    nodes = sum(f.nodes for f in figures)
    zero: float | None = 0.0
    times: dict[str, Any] = {name: reduce(plus, (getattr(f, name) for f in figures), zero) for name in TIMES}
    if base.summary.devices > 1:  # times of different classes are nothing together
        times = dict.fromkeys(TIMES)
    summary = replace(
        base.summary,
        status=status,
        stage="",
        cpu_percent=None,
        rss_bytes=None,
        gpu=None,
        started_at=base.summary.started_at or base.summary.created_at,
        ended_at=_later(base.summary.started_at or base.summary.created_at, at_ms),
        prompts_done=sum(g.status in DONE for g in generations),
        prompts_failed=sum(g.status == "failed" for g in generations),
        silent_seconds=None,
        tokens=tokens,
        rounds=rounds,
        nodes=nodes,
        match_rate=metrics.match_rate(
            sum(f.match_count for f in figures), nodes, sum(f.unjudged_count for f in figures)
        ),
        accepted_at_risk=metrics.accepted_at_risk(accepted, sum(f.at_risk_count for f in figures)),
        mean_accepted_length=metrics.mean_accepted_length(accepted, rounds),
        tokens_per_round=metrics.tokens_per_round(tokens, rounds),
        **times,
    )
    return RunState(summary, tuple(generations), base.prompts, ())


def _later(start: str, ms: float) -> str:
    try:
        return (datetime.fromisoformat(start) + timedelta(milliseconds=ms)).isoformat()
    except ValueError:
        return start
